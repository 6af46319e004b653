from __future__ import annotations

import json
from xml.etree import ElementTree

from boxless.formats import write


def test_boxes_are_corners_with_two_decimals_and_a_declared_score(make, classes, tmp_path):
    predictions = [make("empty.jpg"), make("б/é ñ.jpg", (333, 77), [(0, 0.126, 1, 76.999, 1, 0.5)])]
    path = write("cvat", predictions, classes, tmp_path / "out")
    assert path == tmp_path / "out" / "cvat" / "annotations.xml"
    root = ElementTree.parse(path).getroot()
    assert root.findtext("version") == "1.1"
    labels = root.findall("meta/task/labels/label")
    assert [label.findtext("name") for label in labels] == list(classes)
    assert [label.findtext("attributes/attribute/name") for label in labels] == ["score"] * 3
    images = root.findall("image")
    assert [image.attrib for image in images] == [
        {"id": "0", "name": "empty.jpg", "width": "333", "height": "77"},
        {"id": "1", "name": "б/é ñ.jpg", "width": "333", "height": "77"},
    ]
    assert list(images[0]) == []
    (box,) = images[1]
    assert box.attrib == {
        **{"label": classes[1], "source": "auto", "occluded": "0", "z_order": "0"},
        **{"xtl": "0.00", "ytl": "0.13", "xbr": "1.00", "ybr": "77.00"},
    }
    assert (box[0].get("name"), box[0].text) == ("score", "0.500000")


def test_labels_for_the_task_match_the_annotations(make, classes, tmp_path):
    path = write("cvat", [make()], classes, tmp_path)
    raw = json.loads(path.with_name("labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in raw] == list(classes)
    assert {attribute["name"] for label in raw for attribute in label["attributes"]} == {"score"}
