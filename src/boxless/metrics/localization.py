"""How well boxes and classes were found: MaxBoxAcc, top-1 and top-5 localization, class accuracy, mean IoU.

MaxBoxAcc is that of Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020. A box is
right if its IoU with any of the image's true boxes is ``iou`` or more. Boxes are half-open xyxy in original pixels.
All accuracies are per cent; mean IoU is in [0, 1].

An image without a true box takes no part in any figure about boxes and is counted in ``without_box``; its class counts.
A figure of no image at all is nan.

Whatever is "oracle" was chosen by looking at the very boxes that it is measured on: an upper bound, not what a user
gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import (
    check_iou,
    check_labels,
    check_logits,
    check_predicted,
    check_thresholds,
    check_truth,
)
from boxless.ops.boxes import iou as pairwise_iou

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Labels = Sequence[int] | Sequence[Sequence[int]] | NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class MaxBoxAccuracy:
    """Box accuracy against the threshold, and its highest value."""

    curve: Floats  # (t,) per cent
    best: float  # per cent
    best_threshold: float  # the lowest of those that reach it: an oracle


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationScores:
    """Every figure of one evaluation. ``own`` boxes are those of the run's own threshold, which saw no true box."""

    count: int  # images
    without_box: int  # of these, without a true box
    iou: float  # from which on a box is right
    top1_class: float
    top5_class: float
    box_accuracy: float  # own boxes
    mean_iou: float  # own boxes
    top1_localization: float  # own boxes
    top5_localization: float  # own boxes
    max_box_accuracy: float  # at the oracle threshold
    oracle_threshold: float
    oracle_mean_iou: float  # at the oracle threshold
    oracle_top1_localization: float  # at the oracle threshold
    oracle_top5_localization: float  # at the oracle threshold
    thresholds: Floats  # (t,)
    curve: Floats  # (t,) box accuracy at each threshold


def best_ious(boxes: ArrayLike, truth: ArrayLike) -> Floats:
    """For each box (n, 4) of one image its IoU with the true box that it fits best; 0 for an empty box."""
    best: Floats = pairwise_iou(boxes, truth).max(axis=1)
    return best


def max_box_acc(
    boxes: NDArray[np.float64], truth: Sequence[ArrayLike], thresholds: ArrayLike, iou: float = 0.5
) -> MaxBoxAccuracy:
    """The accuracy of boxes at each threshold, over a data set, and the best threshold.

    Args:
        boxes: (n, t, 4), a box for each image and threshold.
        truth: For each image its true boxes, (n_i, 4); none leaves the image out.
        thresholds: (t,), strictly ascending.
        iou: From this IoU on a box is right.

    Raises:
        DataError: Lengths that do not match, or true boxes that are none.
    """
    levels = check_thresholds(thresholds)
    correct, boxed = np.zeros(len(levels)), 0
    swept = check_predicted(boxes, (len(truth), len(levels), 4), "boxes")
    for candidates, own in zip(swept, check_truth(truth), strict=True):
        if len(own):
            correct += best_ious(candidates, own) >= check_iou(iou)
            boxed += 1
    curve = _percent(correct, boxed)
    return MaxBoxAccuracy(curve, float(curve.max()), float(levels[curve.argmax()]) if boxed else float("nan"))


def box_accuracy(boxes: ArrayLike, truth: Sequence[ArrayLike], iou: float = 0.5) -> float:
    """Per cent of the images whose one box (n, 4) is right."""
    scores = image_ious(boxes, truth)
    return float(_percent(np.sum(scores >= check_iou(iou)), np.sum(~np.isnan(scores))))


def mean_iou(boxes: ArrayLike, truth: Sequence[ArrayLike]) -> float:
    """The mean over images of `image_ious`, in [0, 1]."""
    scores = image_ious(boxes, truth)
    return float(np.nanmean(scores)) if (~np.isnan(scores)).any() else float("nan")


def image_ious(boxes: ArrayLike, truth: Sequence[ArrayLike]) -> Floats:
    """For each image the IoU of its one box (n, 4) with the true box that it fits best; nan without a true box."""
    predicted = check_predicted(boxes, (len(truth), 4), "boxes")
    pairs = zip(predicted, check_truth(truth), strict=True)
    return np.array([best_ious(box[None], own)[0] if len(own) else np.nan for box, own in pairs], dtype=np.float64)


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
    scores = check_logits(logits)
    named = check_labels(labels, scores.shape)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.array([bool(np.isin(each, own).any()) for each, own in zip(ranked, named, strict=True)], dtype=np.bool_)


def top_k_localization(logits: ArrayLike, labels: Labels, correct: ArrayLike, k: int) -> float:
    """Per cent of the images whose class is among the ``k`` highest and whose box is right.

    Args:
        logits: (n, classes).
        labels: As for `top_k_class`.
        correct: (n,) bool, whether the image's box is right. Leave images without a true box out of all three.
        k: How many classes may be named.

    Raises:
        DataError: Lengths that do not match, or what `top_k_class` refuses.
    """
    named, right = top_k_class(logits, labels, k), np.asarray(correct, dtype=np.bool_)
    if right.shape != named.shape:
        raise DataError(f"correct: got shape {right.shape} for {len(named)} images; give one for each.")
    return float(_percent(np.sum(named & right), len(named)))


@final
class LocalizationAccumulator:
    """All figures of `LocalizationScores`, from batch after batch: it keeps sums for each threshold and no image.

    Accumulators of parts of a data set are added up by ``merge``, in any order.
    """

    def __init__(self, thresholds: ArrayLike, iou: float = 0.5) -> None:
        self.thresholds, self.iou = check_thresholds(thresholds), check_iou(iou)
        self.count = self.without_box = 0
        self._classes = np.zeros(2, dtype=np.int64)  # images whose class is right: top-1, top-5
        # Columns: the own box, then the box at each threshold. Rows: box right; also top-1 class right; also top-5.
        self._correct = np.zeros((3, 1 + len(self.thresholds)), dtype=np.int64)
        self._ious = np.zeros(1 + len(self.thresholds))

    def update(
        self,
        swept: ArrayLike,
        own: ArrayLike,
        logits: ArrayLike,
        labels: Labels,
        truth: Sequence[ArrayLike],
    ) -> None:
        """Add a batch of images. If it is refused nothing of it is added.

        Args:
            swept: (b, t, 4), the box at each threshold.
            own: (b, 4), the box at the run's own threshold.
            logits: (b, classes).
            labels: For each image its class index, or several of them.
            truth: For each image its true boxes, (n_i, 4); possibly none.

        Raises:
            DataError: Lengths that do not match, or values that make no figure.
        """
        trues = check_truth(truth)
        size, levels = len(trues), len(self.thresholds)
        boxes = np.concatenate(
            [
                check_predicted(own, (size, 4), "own")[:, None],
                check_predicted(swept, (size, levels, 4), "swept"),
            ],
            axis=1,
        )
        named = np.stack([top_k_class(logits, labels, 1), top_k_class(logits, labels, 5)])
        if named.shape[1] != size:
            raise DataError(f"logits: got {named.shape[1]} rows for {size} images; give one for each.")
        for candidates, true, classes in zip(boxes, trues, named.T, strict=True):
            if len(true):
                scores = best_ious(candidates, true)
                self._ious += scores
                self._correct += (scores >= self.iou) & np.array([True, *classes])[:, None]
        self._classes += named.sum(axis=1)
        self.count += size
        self.without_box += sum(not len(true) for true in trues)

    def merge(self, other: LocalizationAccumulator) -> None:
        """Add what another accumulator saw.

        Raises:
            DataError: It has other thresholds or another IoU.
        """
        if self.iou != other.iou or not np.array_equal(self.thresholds, other.thresholds):
            raise DataError("merge: got an accumulator of other thresholds or another IoU; merge only equal ones.")
        self.count += other.count
        self.without_box += other.without_box
        self._classes += other._classes
        self._correct += other._correct
        self._ious += other._ious

    def compute(self) -> LocalizationScores:
        """The figures of all images so far; nan where there was none."""
        boxed = self.count - self.without_box
        right, top1, top5 = _percent(self._correct, boxed)
        overlap = _percent(self._ious, boxed) / 100
        top1_class, top5_class = _percent(self._classes, self.count).tolist()
        best = int(right[1:].argmax())
        return LocalizationScores(
            count=self.count,
            without_box=self.without_box,
            iou=self.iou,
            top1_class=top1_class,
            top5_class=top5_class,
            box_accuracy=float(right[0]),
            mean_iou=float(overlap[0]),
            top1_localization=float(top1[0]),
            top5_localization=float(top5[0]),
            max_box_accuracy=float(right[1 + best]),
            oracle_threshold=float(self.thresholds[best]) if boxed else float("nan"),
            oracle_mean_iou=float(overlap[1 + best]),
            oracle_top1_localization=float(top1[1 + best]),
            oracle_top5_localization=float(top5[1 + best]),
            thresholds=self.thresholds,
            curve=right[1:],
        )


def evaluate_localization(
    swept: ArrayLike,
    own: ArrayLike,
    logits: ArrayLike,
    labels: Labels,
    truth: Sequence[ArrayLike],
    thresholds: ArrayLike,
    iou: float = 0.5,
) -> LocalizationScores:
    """All figures of a data set that is at hand as a whole; arguments as for `LocalizationAccumulator.update`."""
    accumulator = LocalizationAccumulator(thresholds, iou)
    accumulator.update(swept, own, logits, labels, truth)
    return accumulator.compute()


def _percent(number: ArrayLike, total: int | np.integer) -> Floats:
    """The share of ``total``, in per cent; nan if there is nothing to share."""
    numbers = np.asarray(number, dtype=np.float64)
    return 100 * numbers / total if total else np.full(numbers.shape, np.nan)
