"""MaxBoxAcc and MaxBoxAccV2 as a torchmetrics metric, whose few states are added up over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boxless.errors import DataError
from boxless.metrics._checks import check_iou
from boxless.metrics._counting import CountingMetric, plain, thresholds_of
from boxless.metrics.boxes import Compat, Contours, Size, check_rules, iou_curves

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

FIELD_IOU = 0.5  # of MaxBoxAcc, GT-known localization and CorLoc


class BoxScores(NamedTuple):  # torchmetrics looks for tensors in what is computed, and refuses frozen dataclasses
    """Box accuracy at every threshold. All that is called best was chosen on the very boxes it is measured with."""

    images: int  # images with a true box
    without_box: int  # images without one, which take no part
    iou: tuple[float, ...]  # the levels from which on a box is right
    thresholds: Floats  # (t,)
    accuracy: Floats  # (levels, t) per cent
    mean_iou: Floats  # (t,) in [0, 1]
    best_thresholds: tuple[float, ...]  # of each level, the lowest of those that reach its highest accuracy
    max_box_acc: float  # per cent, the highest accuracy at IoU 0.5; nan if that is no level
    best_threshold: float  # where it is reached
    max_box_acc_v2: float  # per cent, the mean over levels of each one's highest accuracy
    max_mean_iou: float  # in [0, 1]


class BoxAccuracy(CountingMetric):
    """Box accuracy of maps at every threshold: MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020).

    MaxBoxAcc is the highest share of images, over one threshold for all, whose box has an IoU of 0.5 or more with a
    true box: the field's GT-known localization, and CorLoc at the best threshold. MaxBoxAccV2 is the mean over several
    IoU levels, each at its own best threshold; the field computes it with ``contours="all"``.

    It keeps counts for each level and threshold, and no map. On several processes ``compute`` gives the figures of all.

    Args:
        iou: The levels, each in (0, 1].
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        thresholds: How many, evenly from 0 on, or a strictly ascending row in [0, 1).
        compat: None for boxless' own rule (half-open boxes in original pixels), ``wsolevaluation`` for figures that
            equal its figures; see `boxless.metrics.iou_curves`.
        kwargs: Those of `torchmetrics.Metric`.

    Raises:
        DataError: Levels or thresholds that are not as said above.
        ConfigError: An unknown rule.
    """

    correct: Tensor
    overlap: Tensor
    images: Tensor
    without: Tensor

    def __init__(
        self,
        iou: Sequence[float] = (0.3, 0.5, 0.7),
        contours: Contours = "largest",
        thresholds: int | ArrayLike = 1000,
        compat: Compat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_rules(contours, compat)
        if not len(iou):
            raise DataError("iou: got no level; give at least one, such as 0.5.")
        self.iou = tuple(check_iou(level) for level in iou)
        self.contours, self.compat = contours, compat
        self.thresholds = thresholds_of(thresholds)
        count = len(self.thresholds)
        self.add_state("correct", torch.zeros(len(self.iou), count, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("overlap", torch.zeros(count, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("without", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: Tensor | ArrayLike, boxes: Sequence[Any], sizes: Sequence[Size]) -> None:
        """Add a batch of images. If it is refused nothing of it is added.

        Args:
            maps: (b, h, w), in [0, 1], on any device.
            boxes: For each image its true boxes, (n_i, 4) xyxy in original pixels; possibly none.
            sizes: (width, height) of each original image.

        Raises:
            DataError: What `boxless.metrics.iou_curves` refuses.
        """
        curves = iou_curves(
            plain(maps),
            [plain(each) for each in boxes],
            sizes,
            self.thresholds,
            contours=self.contours,
            compat=self.compat,
        )
        known = curves[~np.isnan(curves[:, 0])]
        right = np.stack([(known >= level).sum(axis=0) for level in self.iou])
        device = self.correct.device
        self.correct += torch.from_numpy(right).to(device)
        self.overlap += torch.from_numpy(known.sum(axis=0)).to(device)
        self.images += len(known)
        self.without += len(curves) - len(known)

    def compute(self) -> BoxScores:
        """The figures of all images so far; nan where there was none."""
        count = int(self.images)
        correct, overlap = self.correct.cpu().numpy(), self.overlap.cpu().numpy()
        with np.errstate(invalid="ignore"):
            accuracy, mean_iou = correct * 100.0 / np.float64(count), overlap / np.float64(count)
        best = accuracy.max(axis=1)
        chosen = [float(self.thresholds[each.argmax()]) if count else float("nan") for each in accuracy]
        field = self.iou.index(FIELD_IOU) if FIELD_IOU in self.iou else None
        return BoxScores(
            images=count,
            without_box=int(self.without),
            iou=self.iou,
            thresholds=self.thresholds,
            accuracy=accuracy,
            mean_iou=mean_iou,
            best_thresholds=tuple(chosen),
            max_box_acc=float("nan") if field is None else float(best[field]),
            best_threshold=float("nan") if field is None else chosen[field],
            max_box_acc_v2=float(np.average(best)),
            max_mean_iou=float(mean_iou.max()),
        )
