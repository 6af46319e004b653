"""How well one box for each image and its classes were found: box accuracy, mean IoU, top-1 and top-5 localization.

A box is right if its IoU with any of the image's true boxes is ``iou`` or more. Boxes are half-open xyxy in original
pixels. Accuracies are per cent; mean IoU is in [0, 1]. An image without a true box takes no part in figures about
boxes. A figure of no image at all is nan. For the boxes of all thresholds see `boxless.metrics.iou_curves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import check_iou, check_labels, check_logits, check_predicted, check_truth
from boxless.metrics._overlap import best_overlaps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Labels = Sequence[int] | Sequence[Sequence[int]] | NDArray[np.int64]


def box_accuracy(boxes: ArrayLike, truth: Sequence[ArrayLike], iou: float = 0.5) -> float:
    """Per cent of the images whose one box (n, 4) is right."""
    scores = image_ious(boxes, truth)
    return _percent(int(np.sum(scores >= check_iou(iou))), int(np.sum(~np.isnan(scores))))


def mean_iou(boxes: ArrayLike, truth: Sequence[ArrayLike]) -> float:
    """The mean over images of `image_ious`, in [0, 1]."""
    scores = image_ious(boxes, truth)
    return float(np.nanmean(scores)) if (~np.isnan(scores)).any() else float("nan")


def image_ious(boxes: ArrayLike, truth: Sequence[ArrayLike]) -> Floats:
    """For each image the IoU of its one box (n, 4) with the true box that it fits best; nan without a true box."""
    predicted = check_predicted(boxes, (len(truth), 4), "boxes")
    pairs = zip(predicted, check_truth(truth), strict=True)
    found = [best_overlaps(box[None], own, 0.0)[0] if len(own) else np.nan for box, own in pairs]
    return np.array(found, dtype=np.float64)


def top_k_class(logits: ArrayLike, labels: Labels, k: int) -> NDArray[np.bool_]:
    """Whether one of an image's labels is among its ``k`` highest logits, (n,).

    Of equal logits the class with the lower index ranks first. With no more than ``k`` classes every image is right.

    Args:
        logits: (n, classes).
        labels: For each image its class index, or several of them where images show several classes.
        k: How many classes may be named.

    Raises:
        DataError: An image without a label, a label that is no class, or logits that are not finite.
    """
    return np.asarray(_hits(logits, labels, k).any(axis=1))


def top_k_localization(logits: ArrayLike, labels: Labels, correct: ArrayLike, k: int) -> float:
    """Per cent of the images whose class is among the ``k`` highest and whose box is right.

    The field has two conventions. Where one map stands for all classes (DiPS, TeD-Loc), or the box is that of the one
    class that is shown to a user, an image has one box: give ``correct`` as (n,). Where each class has its own map
    (TS-CAM), any of the ``k`` boxes counts whose own class is right: give ``correct`` as (n, classes).

    Args:
        logits: (n, classes).
        labels: As for `top_k_class`.
        correct: bool, (n,) whether the image's box is right, or (n, classes) whether each class's box is. Leave images
            without a true box out of all three.
        k: How many classes may be named.

    Raises:
        DataError: Lengths that do not match, or what `top_k_class` refuses.
    """
    hits, right = _hits(logits, labels, k), np.asarray(correct, dtype=np.bool_)
    if right.shape not in (hits.shape[:1], hits.shape):
        raise DataError(
            f"correct: got shape {right.shape} for {hits.shape[0]} images of {hits.shape[1]} classes; give one for "
            "each image, or one for each image and class."
        )
    found = hits & (right if right.ndim == 2 else right[:, None])
    return _percent(int(found.any(axis=1).sum()), len(found))


def _hits(logits: ArrayLike, labels: Labels, k: int) -> NDArray[np.bool_]:
    """(n, classes): whether a class is one of the image's labels and among its ``k`` highest logits."""
    scores = check_logits(logits)
    named = check_labels(labels, scores.shape)
    hits = np.zeros(scores.shape, dtype=np.bool_)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    for row, first, own in zip(hits, ranked, named, strict=True):
        row[np.intersect1d(first, own)] = True
    return hits


def _percent(number: int, total: int) -> float:
    """The share of ``total``, in per cent; nan if there is nothing to share."""
    return float(100 * number / total) if total else float("nan")
