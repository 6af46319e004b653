"""Average precision, by hand and beside pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics import Detections, average_precision

SQUARE, OTHER = [0, 0, 10, 10], [20, 20, 30, 30]


def test_a_false_box_before_a_right_one_halves_precision() -> None:
    truth = [Detections([SQUARE], [0])]
    assert average_precision([Detections([SQUARE], [0], [0.2])], truth) == {0: 1.0}
    assert average_precision([Detections([OTHER, SQUARE], [0, 0], [0.9, 0.2])], truth) == {0: 0.5}
    assert average_precision([Detections([OTHER, SQUARE], [0, 0], [0.1, 0.2])], truth) == {0: 1.0}
    assert average_precision([Detections([], [], [])], truth) == {0: 0.0}


def test_a_true_box_is_taken_once_and_by_its_own_class_alone() -> None:
    truth = [Detections([SQUARE, OTHER], [0, 1])]
    twice = [Detections([SQUARE, [0, 0, 10, 9], OTHER], [0, 0, 0], [0.9, 0.8, 0.7])]
    assert average_precision(twice, truth) == {0: 1.0, 1: 0.0}
    both = [Detections([SQUARE, OTHER], [0, 0])]
    # Recall 1/2 at precision 1 (51 of the 101 recalls), then 1 at precision 2/3 (50 of them).
    assert average_precision(twice, both)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_classes_without_a_true_box_do_not_count_and_the_level_is_asked_for() -> None:
    found = [Detections([[0, 0, 10, 6], SQUARE], [0, 5], [0.9, 0.8])]
    assert average_precision(found, [Detections([SQUARE], [0])]) == {0: 1.0}
    assert average_precision(found, [Detections([SQUARE], [0])], level=0.7) == {0: 0.0}


def test_it_equals_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    random = np.random.default_rng(1)
    truth, found = [], []
    for _ in range(12):
        count = int(random.integers(0, 4))
        corners = random.integers(0, 60, (count, 2)).astype(float)
        boxes = np.hstack([corners, corners + random.integers(8, 40, (count, 2))])
        classes = random.integers(0, 3, count)
        truth.append(Detections(boxes, classes))
        moved = np.vstack([boxes + random.normal(0, 4, (count, 4)), [[5.0, 5, 30, 40]], boxes + 1])
        kinds = np.concatenate([classes, random.integers(0, 3, 1), classes])
        found.append(Detections(moved, kinds, random.random(2 * count + 1)))
    ours = average_precision(found, truth)
    assert len(ours) == 3
    assert ours == pytest.approx(_pycocotools(found, truth), abs=1e-9)


def test_images_and_rows_must_match() -> None:
    with pytest.raises(DataError, match="1 images of boxes and 0"):
        average_precision([Detections([], [], [])], [])
    with pytest.raises(DataError, match="scores"):
        average_precision([Detections([SQUARE], [0], [])], [Detections([SQUARE], [0])])
    with pytest.raises(DataError, match="iou"):
        average_precision([], [], level=0)


def _pycocotools(found: list[Detections], truth: list[Detections]) -> dict[int, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(images: list[Detections]) -> list[dict[str, Any]]:
        made = []
        for number, image in enumerate(images, start=1):
            for place, (box, kind) in enumerate(zip(np.asarray(image.boxes), np.asarray(image.classes), strict=True)):
                x0, y0, x1, y1 = box.tolist()
                sides = [x0, y0, x1 - x0, y1 - y0]
                row = {"image_id": number, "category_id": int(kind) + 1, "bbox": sides, "iscrowd": 0}
                row |= {"id": len(made) + 1, "area": sides[2] * sides[3]}
                made.append(row | ({"score": float(image.scores[place])} if len(image.scores) else {}))
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": number} for number in range(1, len(truth) + 1)],
            "categories": [{"id": number} for number in (1, 2, 3)],
            "annotations": rows(truth),
        }
        known.createIndex()
        judged = COCOeval(known, known.loadRes(rows(found)), "bbox")
        judged.evaluate()
        judged.accumulate()
    return {kind: float(judged.eval["precision"][0, :, kind, 0, 2].mean()) for kind in range(3)}
