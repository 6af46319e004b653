from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from boxless.formats import write
from boxless.ops.run_lengths import encode


def test_box_is_corner_and_size_in_pixels_with_ids_from_one(make, classes, tmp_path):
    prediction = make("b/фото é.jpg", (333, 77), [(10.5, 2, 333, 77, 2, 0.875), (0, 0, 1, 1, 0, 0.25)])
    path = write("coco", [make("empty.jpg", (5, 9)), prediction], classes, tmp_path / "out")
    assert path == tmp_path / "out" / "coco" / "predictions.json"
    dataset = json.loads(path.read_text(encoding="utf-8"))
    assert dataset["images"] == [
        {"id": 1, "width": 5, "height": 9, "file_name": "empty.jpg"},
        {"id": 2, "width": 333, "height": 77, "file_name": "b/фото é.jpg"},
    ]
    assert [(each["id"], each["name"]) for each in dataset["categories"]] == [(1, "cat"), (2, classes[1]), (3, "чайка")]
    first = {"image_id": 2, "category_id": 3, "bbox": [10.5, 2.0, 322.5, 75.0], "score": 0.875}
    second = {"image_id": 2, "category_id": 1, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.25}
    assert dataset["annotations"] == [
        {"id": 1, **first, "area": 24187.5, "iscrowd": 0},
        {"id": 2, **second, "area": 1.0, "iscrowd": 0},
    ]
    assert json.loads(path.with_name("results.json").read_text(encoding="utf-8")) == [first, second]


def test_no_image_and_no_box_are_valid_files(make, classes, tmp_path):
    for predictions in ([], [make()]):
        path = write("coco", predictions, classes, tmp_path)
        dataset = json.loads(path.read_text(encoding="utf-8"))
        assert len(dataset["images"]) == len(predictions)
        assert dataset["annotations"] == []
        assert json.loads(path.with_name("results.json").read_text(encoding="utf-8")) == []


def test_float_noise_is_not_written_and_edges_stay_in_the_image(make, classes, tmp_path):
    path = write(
        "coco", [make(size=(333, 77), boxes=[(0.1 + 0.2, 1 / 3, 333.0000001, 76.9999, 0, 0.5)])], classes, tmp_path
    )
    (annotation,) = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    assert annotation["bbox"] == [0.3, 0.333, 332.7, 76.667]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_masks_are_written_as_run_lengths_that_pycocotools_reads(make, classes, tmp_path):
    coco, masks = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.mask")
    mask = np.zeros((77, 333), dtype=bool)
    mask[10:20, 5:9] = mask[12, 9:30] = True
    prediction = make(boxes=[(5, 10, 30, 20, 2, 0.9), (0, 0, 4, 5, 0, 0.3)])
    first, second = prediction.boxes
    prediction = replace(prediction, boxes=(replace(first, mask=encode(mask)), second))
    path = write("coco", [prediction], classes, tmp_path)
    dataset = coco.COCO(str(path))
    results = dataset.loadRes(str(path.with_name("results.json")))
    for read in (dataset, results):
        np.testing.assert_array_equal(masks.decode(read.anns[1]["segmentation"]), mask)
    assert [dataset.anns[number]["area"] for number in (1, 2)] == [61, 20]
    assert "segmentation" not in json.loads(path.read_text(encoding="utf-8"))["annotations"][1]
