from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from boxless.errors import ConfigError
from boxless.formats import write


def test_boxes_are_percent_of_each_side_in_one_prediction(make, classes, tmp_path):
    # 200 x 50 pixels: x 50/200, y 10/50, width 100/200, height 5/50
    prediction = make("a.jpg", (200, 50), [(50, 10, 150, 15, 1, 0.5), (0, 0, 200, 50, 2, 0.25)])
    path = write("labelstudio", [prediction], classes, tmp_path / "out")
    assert path == tmp_path / "out" / "labelstudio" / "tasks.json"
    (task,) = json.loads(path.read_text(encoding="utf-8"))
    assert "annotations" not in task
    (made,) = task["predictions"]
    assert made["score"] == 0.75
    assert made["model_version"].startswith("boxless ")
    first, second = made["result"]
    assert first["value"] == {
        **{"x": 25.0, "y": 20.0, "width": 50.0, "height": 10.0, "rotation": 0},
        "rectanglelabels": [classes[1]],
    }
    assert [second["value"][key] for key in ("x", "y", "width", "height")] == [0, 0, 100, 100]
    assert (first["original_width"], first["original_height"], first["image_rotation"]) == (200, 50, 0)
    assert (first["score"], second["score"]) == (0.5, 0.25)
    assert first["id"] != second["id"]


def test_regions_name_the_tags_of_the_config_which_escapes_labels(make, classes, tmp_path):
    path = write("labelstudio", [make(boxes=[(0, 0, 1, 1, 0, 0.5)])], classes, tmp_path)
    (region,) = json.loads(path.read_text(encoding="utf-8"))[0]["predictions"][0]["result"]
    view = ElementTree.parse(path.with_name("config.xml")).getroot()
    image, control = view
    assert (region["to_name"], region["from_name"]) == (image.get("name"), control.get("name"))
    assert control.get("toName") == image.get("name")
    assert region["type"] == control.tag.lower() == "rectanglelabels"
    assert [label.get("value") for label in control] == list(classes)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "/data/local-files/?d=%D0%B0/b%20%26%2B%3F%23c.jpg"),
        ({"image_prefix": "https://host/i/"}, "https://host/i/%D0%B0/b%20%26%2B%3F%23c.jpg"),
        ({"image_prefix": "s3://bucket/"}, "s3://bucket/а/b &+?#c.jpg"),
    ],
)
def test_image_address_has_the_prefix_and_is_encoded_where_it_is_an_address(make, classes, tmp_path, options, expected):
    path = write("labelstudio", [make("а/b &+?#c.jpg")], classes, tmp_path, **options)
    assert json.loads(path.read_text(encoding="utf-8"))[0]["data"] == {"image": expected, "name": "а/b &+?#c.jpg"}


def test_no_box_is_a_prediction_with_an_empty_result(make, classes, tmp_path):
    (task,) = json.loads(write("labelstudio", [make()], classes, tmp_path).read_text(encoding="utf-8"))
    assert [made["result"] for made in task["predictions"]] == [[]]


def test_unknown_option_is_refused_with_the_known_one(make, classes, tmp_path):
    with pytest.raises(ConfigError, match="no option 'image_prefx'; did you mean 'image_prefix'"):
        write("labelstudio", [make()], classes, tmp_path, image_prefx="x")
