"""How good boxes are where an image holds several objects: average precision, as object detection has it.

Boxes of one class compete in one list over all images, highest score first. Each takes, of the true boxes of its class
and image that none before it took, the one that it fits best, if their IoU reaches the level asked for; else it is
false. Precision at a recall is the best at that recall or any higher one, and average precision is its mean over the
recalls 0, 0.01, ..., 1, as COCO's evaluation has it (Lin et al., "Microsoft COCO", ECCV 2014; pycocotools).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import check_iou, check_truth
from boxless.ops.boxes import iou

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RECALLS = np.linspace(0, 1, 101)


class Detections(NamedTuple):
    """Boxes of one image: predicted ones with scores, or true ones without."""

    boxes: ArrayLike  # (n, 4) xyxy
    classes: ArrayLike  # (n,)
    scores: ArrayLike = ()  # (n,)


def average_precision(
    predicted: Sequence[Detections], truth: Sequence[Detections], *, level: float = 0.5
) -> dict[int, float]:
    """Average precision, in [0, 1], of each class that has a true box.

    Args:
        predicted: Of each image.
        truth: Of the same images.
        level: The IoU from which on a box is right, in (0, 1].

    Raises:
        DataError: Not the same number of images, or of boxes, classes and scores.
    """
    check_iou(level)
    if len(predicted) != len(truth):
        raise DataError(f"average_precision: got {len(predicted)} images of boxes and {len(truth)} of true boxes.")
    trues = check_truth([each.boxes for each in truth])
    kinds = [_row(each.classes, len(boxes), "truth", "classes") for each, boxes in zip(truth, trues, strict=True)]
    scores, classes, right = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.bool_)]
    for given, boxes, known in zip(predicted, trues, kinds, strict=True):
        found = np.asarray(given.boxes, np.float64).reshape(-1, 4)
        own, named = (
            _row(each, len(found), "predicted", what)
            for each, what in ((given.scores, "scores"), (given.classes, "classes"))
        )
        scores.append(own)
        classes.append(named)
        right.append(_right(found, named, own, boxes, known, level))
    value, kind, good = (np.concatenate(each) for each in (scores, classes, right))
    counted, counts = np.unique(np.concatenate([np.zeros(0), *kinds]), return_counts=True)
    return {
        int(each): _area(value[kind == each], good[kind == each], int(count))
        for each, count in zip(counted, counts, strict=True)
    }


def _right(
    found: NDArray[np.float64],
    classes: NDArray[np.float64],
    scores: NDArray[np.float64],
    true: NDArray[np.float64],
    known: NDArray[np.float64],
    level: float,
) -> NDArray[np.bool_]:
    """Which boxes of one image take a true box, (n,)."""
    overlap = np.where(classes[:, None] == known, iou(found, true), 0)
    right = np.zeros(len(found), np.bool_)
    for place in np.argsort(-scores, kind="stable"):
        if len(true) and overlap[place].max() >= level:
            right[place] = True
            overlap[:, overlap[place].argmax()] = 0
    return right


def _area(scores: NDArray[np.float64], right: NDArray[np.bool_], count: int) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = right[order].cumsum()
    recall, precision = hits / count, hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(best[np.searchsorted(recall, RECALLS)].mean())


def _row(values: ArrayLike, count: int, whose: str, what: str) -> NDArray[np.float64]:
    row = np.asarray(values, np.float64)
    if row.shape != (count,):
        raise DataError(f"{whose}: got {what} of shape {row.shape} for {count} boxes; give one for each.")
    return row
