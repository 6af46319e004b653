"""Whether pseudo-boxes say more than one box in the middle of every image would: what selects must tell runs apart.

In the thesis' table 4.2 a threshold that was found on boxes of Selective Search costs CAM on CUB 42 points (BT-TT
69.89, BT-VT 27.97), while those of RPN and CLIP cost less than one. The published boxes tell why: their mean IoU with
the true ones of CUB is .40, and one centred box of .6 of each side, the same for every image, has .47. That boxes are
much alike can be seen without any label; whether they are better than a constant, with true boxes only.

All functions take boxes as half-open xyxy in pixels of the original images, one for each image where one was found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import check_predicted
from boxless.metrics.baselines import SIDES, centred_sides
from boxless.metrics.bootstrap import Difference, Tally, paired
from boxless.metrics.localization import image_ious

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CONSTANT_LIMIT = 0.55
"""From this mean IoU with one box for all images on, pseudo-boxes are taken for a constant.

The weakest trained localizer of the thesis' table 4.3 reaches as much with *true* boxes (NL-CCAM, .548 on CUB and .550
on ILSVRC; CAM .567 and .579). Where a box that looked at nothing does so, a high figure is no sign that a localizer
found anything. True boxes stay clear of it: the best centred box has .47 with those of CUB, .46 with those of ILSVRC,
and .46 with those of the bundled sample.
"""
DEVIATIONS = 1.96  # of a mean: what chance alone reaches in 2.5 % of all cases


@dataclass(frozen=True, slots=True)
class Centred:
    """The centred box that agrees best with boxes."""

    sides: tuple[float, float]  # its width and height, as fractions of the image's
    mean_iou: float
    error: float  # the standard error of that mean; nan of a single image


@dataclass(frozen=True, slots=True)
class Guard:
    """One sign, and what to say of it."""

    sign: str  # what was compared, a few words
    value: float  # a mean IoU
    limit: float  # what the value is held to
    centred: Centred
    images: int
    warning: str | None  # a sentence; None if all is well
    difference: Difference | None = None  # where true boxes were looked at: pseudo-boxes less centred boxes

    def to_dict(self) -> Mapping[str, Any]:
        """As plain values, for JSON; what is not known is null."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items()}
            return None if isinstance(value, float) and math.isnan(value) else value

        return dict(plain(asdict(self)))


def best_centred(boxes: ArrayLike, sizes: ArrayLike) -> Centred:
    """Of all centred boxes, 20 widths by 20 heights, the one with the highest mean IoU with ``boxes`` (n, 4).

    Args:
        boxes: One of each image.
        sizes: (n, 2), width and height of the images.

    Raises:
        DataError: No box, shapes that do not match, or a box without area.
    """
    fractions = _fractions(boxes, sizes)
    # The overlap of a centred box of side s with the span (a, b) of an axis: both axes apart, then their products.
    sides = np.array(SIDES)
    low, high = (1 - sides) / 2, (1 + sides) / 2
    common = [
        np.maximum(np.minimum(fractions[:, axis + 2, None], high) - np.maximum(fractions[:, axis, None], low), 0)
        for axis in (0, 1)
    ]
    shared = common[0][:, :, None] * common[1][:, None, :]
    area = np.prod(fractions[:, 2:] - fractions[:, :2], axis=1)
    overlaps = shared / (area[:, None, None] + sides[:, None] * sides - shared)
    means = overlaps.mean(axis=0)
    wide, tall = np.unravel_index(means.argmax(), means.shape)
    count = len(fractions)
    error = float(overlaps[:, wide, tall].std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return Centred((SIDES[wide], SIDES[tall]), float(means[wide, tall]), error)


def like_a_constant(boxes: ArrayLike, sizes: ArrayLike) -> Guard:
    """Without any label: whether one box for all images agrees with pseudo-boxes as well as localizers do with truth.

    Args:
        boxes: (n, 4), one of each image.
        sizes: (n, 2), width and height of the images.

    Raises:
        DataError: As `best_centred`.
    """
    found = best_centred(boxes, sizes)
    warning = None
    if found.mean_iou >= CONSTANT_LIMIT:
        warning = (
            f"The pseudo-boxes are much alike: {_said(found)} has a mean IoU of {found.mean_iou:.2f} with them "
            f"(limit {CONSTANT_LIMIT}), so that what they select may look at nothing. Where objects do not fill the "
            "middle of your images, take another annotator."
        )
    return Guard(
        "pseudo-boxes and one centred box", found.mean_iou, CONSTANT_LIMIT, found, len(np.asarray(boxes)), warning
    )


def no_better_than_centred(map_iou: float, boxes: ArrayLike, sizes: ArrayLike) -> Guard:
    """Without any label: whether a trained localizer agrees with pseudo-boxes better than a box that looks at nothing.

    Either the localizer found nothing or the pseudo-boxes show nothing: in both cases neither the epoch nor the
    threshold that they choose is worth more than a guess. The localizer has to be ahead by more than chance gives.

    Args:
        map_iou: Mean IoU with the pseudo-boxes of the localizer's boxes at their best threshold.
        boxes: (n, 4), the pseudo-boxes, one of each image.
        sizes: (n, 2), width and height of the images.

    Raises:
        DataError: As `best_centred`.
    """
    found = best_centred(boxes, sizes)
    # The centred box is chosen on these boxes, as the threshold is: neither is favoured. The mean of another sample of
    # images would differ by about the standard error.
    limit = found.mean_iou + (0 if math.isnan(found.error) else DEVIATIONS * found.error)
    warning = None
    if not map_iou > limit:
        warning = (
            f"The localizer agrees with the pseudo-boxes no better (mean IoU {map_iou:.2f} at the best threshold) than "
            f"{_said(found)} does ({found.mean_iou:.2f}, with chance up to {limit:.2f}): the epoch and the threshold "
            "that they choose may be a guess. Look at the boxes ('boxless annotate --overlays'), or take other ones."
        )
    return Guard("localizer and pseudo-boxes", float(map_iou), limit, found, len(np.asarray(boxes)), warning)


def worse_than_centred(
    names: Sequence[str],
    boxes: ArrayLike,
    sizes: ArrayLike,
    truth: Sequence[ArrayLike],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Guard:
    """With true boxes: whether pseudo-boxes fit them better than the best centred box of one side.

    True boxes were looked at: it is oracle knowledge, of which nothing may be chosen in a realistic protocol. The side
    of the centred box is chosen on them, and chosen anew in each replicate.

    Args:
        names: Of the images.
        boxes: (n, 4), the pseudo-boxes.
        sizes: (n, 2), width and height of the images.
        truth: For each image its true boxes, (m, 4); an image without any takes no part.
        replicates: Of the paired bootstrap; 0 leaves its interval out.
        seed: Of the bootstrap.

    Raises:
        DataError: As `best_centred`, or no image has a true box.
    """
    _fractions(boxes, sizes)
    found = image_ious(boxes, truth)
    if np.isnan(found).all():
        raise DataError("truth: none of the images with a pseudo-box has a true box to compare with.")
    centred = centred_sides(sizes)
    overlaps = np.stack([image_ious(centred[:, place], truth) for place in range(len(SIDES))], axis=1)
    pseudo, middle = Tally(replicates, seed), Tally(replicates, seed)
    pseudo.update(names, {"iou": found})
    middle.update(names, {"iou": overlaps})
    difference = paired(middle, pseudo, lambda means: means["iou"].max(-1), lambda means: means["iou"])
    best = int(np.nanmean(overlaps, axis=0).argmax())
    known = overlaps[~np.isnan(found), best]
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    box = Centred((SIDES[best], SIDES[best]), difference.first, error)
    return Guard(
        "ORACLE: pseudo-boxes and the best centred box, against true boxes",
        difference.second,
        difference.first,
        box,
        len(known),
        _of_truth(difference, box),
        difference,
    )


def _of_truth(difference: Difference, box: Centred) -> str | None:
    ahead = difference.value if math.isnan(difference.low) else difference.low
    if ahead > 0:
        return None
    behind = difference.high < 0 if not math.isnan(difference.high) else difference.value < 0
    interval = "" if math.isnan(difference.low) else f" [{difference.low:+.3f}, {difference.high:+.3f}]"
    return (
        f"ORACLE: the pseudo-boxes are {'worse' if behind else 'not clearly better'} than {_said(box)}: mean IoU with "
        f"true boxes {difference.second:.3f} and {difference.first:.3f}, difference {difference.value:+.3f}{interval}. "
        "What they select may be no better than chance; take another annotator."
    )


def _said(box: Centred) -> str:
    wide, tall = box.sides
    if wide == tall:
        return f"one centred box of {wide:g} of each side"
    return f"one centred box of {wide:g} of the width and {tall:g} of the height"


def _fractions(boxes: ArrayLike, sizes: ArrayLike) -> Floats:
    """Boxes as fractions of their images' sides.

    Raises:
        DataError: No box, shapes that do not match, or a box without area inside its image.
    """
    given = np.asarray(sizes, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given) or not (given > 0).all():
        raise DataError(f"sizes: got shape {given.shape}; give (n, 2), the positive width and height of each image.")
    checked = check_predicted(boxes, (len(given), 4), "boxes")
    fractions: Floats = np.clip(checked / np.tile(given, 2), 0, 1)
    empty = (fractions[:, 2:] <= fractions[:, :2]).any(axis=1)
    if empty.any():
        raise DataError(
            f"boxes: {checked[empty.argmax()].tolist()} has no area inside its image; leave images out where nothing "
            "was found."
        )
    return fractions
