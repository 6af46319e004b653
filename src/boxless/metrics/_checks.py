"""What every metric refuses, and the arrays that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Labels = Sequence[int] | Sequence[Sequence[int]] | NDArray[np.int64]


def check_iou(iou: float) -> float:
    """An IoU from which on a box is right: in (0, 1]; at 0 every box would be."""
    if not 0 < iou <= 1:
        raise DataError(f"iou: got {iou}; a box is right from an IoU in (0, 1] on.")
    return float(iou)


def check_thresholds(thresholds: ArrayLike) -> NDArray[np.float64]:
    """Thresholds as float64 (t,), strictly ascending, at least one."""
    checked = np.array(thresholds, dtype=np.float64)
    if checked.ndim != 1 or not checked.size or not (np.diff(checked) > 0).all():
        raise DataError(
            f"thresholds: got shape {checked.shape}, {checked.reshape(-1)[:5].tolist()} ...; "
            "give a strictly ascending row of them."
        )
    return checked


def check_predicted(boxes: ArrayLike, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Predicted boxes as finite float64 of just this shape."""
    checked = np.asarray(boxes, dtype=np.float64)
    if checked.shape != shape:
        raise DataError(f"{where}: got shape {checked.shape}; the true boxes and thresholds ask for {shape}.")
    if not np.isfinite(checked).all():
        place = tuple(np.argwhere(~np.isfinite(checked))[0].tolist())
        raise DataError(
            f"{where}: got {checked[place]} at {place}; boxes are finite, and all zeros where there is none."
        )
    return checked


def check_truth(truth: Sequence[ArrayLike], *, last_pixel_counts: bool = False) -> list[NDArray[np.float64]]:
    """True boxes of each image as float64 (n_i, 4), each finite and with an area.

    Args:
        truth: The boxes.
        last_pixel_counts: Whether a box may end in the column and row in which it begins.
    """
    checked = []
    for i, each in enumerate(truth):
        boxes = np.asarray(each, dtype=np.float64)
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DataError(f"truth[{i}]: got shape {boxes.shape}; true boxes are (n, 4), each x0, y0, x1, y1.")
        sides = boxes[:, 2:] - boxes[:, :2]
        wrong = ~(np.isfinite(boxes) & np.tile((sides > 0) | (last_pixel_counts & (sides == 0)), 2)).all(axis=1)
        if wrong.any():
            raise DataError(
                f"truth[{i}]: got the box {boxes[wrong.argmax()].tolist()}; a true box is x0, y0, x1, y1 "
                "with x0 < x1 and y0 < y1. An image without a box has an empty list."
            )
        checked.append(boxes)
    return checked


def check_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """Class scores as finite float64 (n, classes)."""
    checked = np.asarray(logits, dtype=np.float64)
    if checked.ndim != 2:
        raise DataError(f"logits: got shape {checked.shape}; class scores are (images, classes).")
    finite = np.isfinite(checked).all(axis=1)
    if not finite.all():
        raise DataError(f"logits: row {int(finite.argmin())} is not finite: the network's output cannot be ranked.")
    return checked


def check_labels(labels: Labels, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """The class indices of each image, at least one, for logits of this shape."""
    count, classes = shape
    if len(labels) != count:
        raise DataError(f"labels: got {len(labels)} for {count} rows of logits; give the labels of each image.")
    checked = [np.atleast_1d(np.asarray(each)) for each in labels]
    for i, each in enumerate(checked):
        if not each.size:
            raise DataError(f"labels[{i}]: got none; leave images of unknown class out of an evaluation.")
        if each.dtype.kind not in "iu" or each.min() < 0 or each.max() >= classes:
            raise DataError(f"labels[{i}]: got {each.tolist()}; the {classes} classes are 0 to {classes - 1}.")
    return [each.astype(np.int64) for each in checked]
