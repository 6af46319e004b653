"""Which figures an evaluation gives: what each is called, and how it is made from means over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.metrics.baselines import SIDES
from boxless.metrics.masks import piou_of, pxap_of
from boxless.protocol.pixels import BACKGROUND, FOREGROUND, IMAGE_AP
from boxless.protocol.scoring import FIELD_LEVEL, LEVELS, WRONG_KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.scoring import Scoring
    from boxless.protocol.threshold import Threshold

    Means = Mapping[str, NDArray[Any]]
    Statistic = Callable[[Means], NDArray[Any]]

CENTRED_SIDE = 0.7  # of the baseline that saw no box

PER_CENT, FRACTION = "%", ""
NEAR = 5  # points of box accuracy below the best at which a threshold still serves

CORLOC, CORLOC_OWN = "corloc", "corloc_own_thresholds"
ABSENT_GIVEN_BOX, OBJECT_KEPT_BOX = "absent_given_box", "object_kept_box"
AUROC_PRESENCE, AUROC_CLASS = "auroc_presence", "auroc_class_probability"

AT_THRESHOLD: dict[str, tuple[str, str]] = {
    "box_accuracy": (f"box accuracy, IoU {FIELD_LEVEL} (GT-known)", PER_CENT),
    **{f"box_accuracy_{level}": (f"box accuracy, IoU {level}", PER_CENT) for level in LEVELS if level != FIELD_LEVEL},
    "threshold_width": (f"part of thresholds within {NEAR} points of the best", FRACTION),
    "box_accuracy_v2": ("mean over IoU " + ", ".join(map(str, LEVELS)) + " (V2)", PER_CENT),
    "mean_iou": ("mean IoU", FRACTION),
    "highest_mean_iou": ("mean IoU, highest of all thresholds", FRACTION),
    "top1_localization": ("top-1 localization", PER_CENT),
    "top5_localization": ("top-5 localization, true class's box", PER_CENT),
    "top5_localization_agnostic": ("top-5 localization, named class's box", PER_CENT),
    "named_box_accuracy": ("box accuracy, named class's map", PER_CENT),
    "error_class": ("error: wrong class", PER_CENT),
    "error_multi_instance": ("error: several objects in box (MIns)", PER_CENT),
    "error_part": ("error: part of the object (LPE)", PER_CENT),
    "error_more": ("error: more than the object (LME)", PER_CENT),
    "error_other": ("error: anything else", PER_CENT),
    "random_map": ("baseline: random map", PER_CENT),
    CORLOC: ("CorLoc, mean over classes", PER_CENT),
    CORLOC_OWN: ("CorLoc, ORACLE: each class's own threshold", PER_CENT),
}
"""Title and unit of each figure that depends on the threshold."""

OF_ALL: dict[str, tuple[str, str]] = {
    "class_accuracy": ("class accuracy", PER_CENT),
    "class_accuracy_boxed": ("class accuracy, of those with a true box", PER_CENT),
    "class_accuracy_top5": ("class accuracy, top-5", PER_CENT),
    ABSENT_GIVEN_BOX: ("no object there, given a box all the same", PER_CENT),
    OBJECT_KEPT_BOX: ("object there, box not withheld", PER_CENT),
    AUROC_PRESENCE: ("AUROC of presence, object there or not", FRACTION),
    AUROC_CLASS: ("AUROC of the class's probability, likewise", FRACTION),
    "pixel_average_precision": ("PxAP", PER_CENT),
    "pixel_iou": ("pixel IoU, ORACLE: best threshold", PER_CENT),
    "image_average_precision": ("average precision, mean of images", PER_CENT),
    "centred_box": (f"baseline: centred box, side {CENTRED_SIDE}", PER_CENT),
    "centred_box_best": ("baseline: centred, ORACLE: best side", PER_CENT),
    "whole_image": ("baseline: whole image", PER_CENT),
    "centred_box_mean_iou": (f"baseline: mean IoU, centred {CENTRED_SIDE}", FRACTION),
}
"""Title and unit of each figure that does not."""

_FIELDS = {
    "mean_iou": "iou",
    "top1_localization": "top1",
    "top5_localization": "top5",
    "top5_localization_agnostic": "top5 agnostic",
    "named_box_accuracy": "shown",
    "random_map": "random",
    **{f"error_{kind}": kind for kind in WRONG_KINDS},
}


def at_threshold(scoring: Scoring, threshold: Threshold) -> dict[str, Statistic]:
    """How each figure of `AT_THRESHOLD` is made; box accuracies at the oracle threshold choose it in each replicate."""
    begin = len(scoring.own)
    columns = {level: scoring.column(threshold, level) for level in LEVELS}

    def accuracy(level: float) -> Statistic:
        if threshold.is_best_here:
            return _highest(f"right {level}", begin)
        return _entry(f"right {level}", columns[level])

    each = {level: accuracy(level) for level in LEVELS}
    found = {f"box_accuracy_{level}": each[level] for level in LEVELS if level != FIELD_LEVEL}
    found["box_accuracy"] = each[FIELD_LEVEL]
    found["box_accuracy_v2"] = lambda means: np.mean([each[level](means) for level in LEVELS], axis=0)
    found |= {key: _entry(field, columns[FIELD_LEVEL]) for key, field in _FIELDS.items()}
    if not scoring.compat and scoring.contours == "largest":
        found["error_class"] = lambda means: 100 - means["class right"]
    if threshold.is_best_here:
        found["highest_mean_iou"] = _highest("iou", begin)
        found["threshold_width"] = _near_highest(f"right {FIELD_LEVEL}", begin)
        found["random_map"] = _highest("random", begin)
    return found


def of_all() -> dict[str, Statistic]:
    """How each figure of `OF_ALL` is made."""
    field = f"centred {FIELD_LEVEL}"
    side = int(np.abs(np.asarray(SIDES) - CENTRED_SIDE).argmin())
    return {
        "class_accuracy": lambda means: means["class1"],
        "class_accuracy_boxed": lambda means: means["class right"],
        ABSENT_GIVEN_BOX: lambda means: means[ABSENT_GIVEN_BOX],
        OBJECT_KEPT_BOX: lambda means: means[OBJECT_KEPT_BOX],
        "pixel_average_precision": lambda means: pxap_of(means[FOREGROUND], means[BACKGROUND]),
        "pixel_iou": lambda means: 100 * piou_of(means[FOREGROUND], means[BACKGROUND]).max(-1),
        "image_average_precision": lambda means: means[IMAGE_AP],
        "class_accuracy_top5": lambda means: means["class5"],
        "centred_box": _entry(field, side),
        "centred_box_best": _highest(field, 0),
        "whole_image": _entry(field, len(SIDES) - 1),
        "centred_box_mean_iou": _entry("centred iou", side),
    }


def _entry(field: str, column: int) -> Statistic:
    return lambda means: means[field][..., column]


def _highest(field: str, begin: int) -> Statistic:
    return lambda means: means[field][..., begin:].max(-1)


def _near_highest(field: str, begin: int) -> Statistic:
    """The part of all thresholds at which the figure is near its highest."""

    def part(means: Means) -> NDArray[Any]:
        curve = means[field][..., begin:]
        best = curve.max(-1)
        near: NDArray[Any] = np.where(np.isnan(best), np.nan, (curve >= best[..., None] - NEAR).mean(-1))
        return near

    return part
