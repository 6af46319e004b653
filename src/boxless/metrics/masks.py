"""How well maps match true masks, pixel by pixel: PxAP (Choe et al., CVPR 2020), pixel IoU, and both of single images.

The field's rule (https://github.com/clovaai/wsolevaluation): a map's values are taken as they are, and not as fractions
of its maximum as for boxes, so that stretching a map to [0, 1] changes its figures. A pixel is foreground at a
threshold if its value *reaches* it. PxAP pools the pixels of all images, so that large objects weigh more.

All figures come from two histograms over values, of the pixels on the object and of those beside it. For thresholds
``t_0 < t_1 < ... < t_n-1`` they have n + 2 bins: below ``t_0``; then ``[t_i, t_i+1)``, the last of which ends before 1;
then the value 1 alone. Histograms add up over images, and figures of their sums and of their means are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from boxless.errors import DataError
from boxless.metrics._mask_kernels import histograms
from boxless.ops._checks import check_ascending, check_map, check_maps
from boxless.ops.components import default_thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

BESIDE, ON, IGNORED = 0, 1, 2  # kinds of pixels


class PixelCounts(NamedTuple):
    """How many pixels of each image lie in each bin of values, (b, bins) each; ignored pixels are in neither."""

    foreground: NDArray[np.int64]  # on the object
    background: NDArray[np.int64]  # beside it


def pixel_counts(
    maps: ArrayLike,
    masks: ArrayLike | Sequence[ArrayLike],
    ignore: ArrayLike | Sequence[ArrayLike | None] | None = None,
    thresholds: ArrayLike | None = None,
) -> PixelCounts:
    """The histograms of each image.

    Args:
        maps: (b, h, w), in [0, 1]; float32 is compared as the float64 that it is.
        masks: (b, h, w), or one (h, w) for each map: true, or 1, on the object.
        ignore: The same for pixels that do not count; None for none, in all images or in one. What is marked as object
            too counts all the same, as wsolevaluation has it.
        thresholds: Strictly ascending, in [0, 1); by default 0, 0.001, ..., 0.999. Where the first is above 0, pixels
            below it stay in the first bin and count as missed (wsolevaluation, which only has rows from 0 on, would
            forget them).

    Raises:
        DataError: Maps, masks or thresholds that are not as said above, or of numbers or sizes that differ.
    """
    batch = check_maps(maps)
    levels = default_thresholds() if thresholds is None else check_ascending(thresholds)
    edges = np.append(levels, 1.0)
    true = _one_each(masks, len(batch), "masks")
    left_out: list[Any] = [None] * len(batch) if ignore is None else _one_each(ignore, len(batch), "ignore")
    found = np.zeros((len(batch), 3, len(edges) + 1), dtype=np.int64)
    for i, each in enumerate(batch):
        values = check_map(each, f"maps[{i}]")
        mask = check_mask(true[i], values.shape, f"masks[{i}]")
        kinds = mask.astype(np.uint8) * np.uint8(ON)
        if left_out[i] is not None:
            kinds += (check_mask(left_out[i], values.shape, f"ignore[{i}]") & ~mask) * np.uint8(IGNORED)
        found[i] = histograms(values.ravel(), kinds.ravel(), edges)
    return PixelCounts(found[:, ON], found[:, BESIDE])


def check_mask(mask: ArrayLike, shape: tuple[int, ...], where: str) -> Bools:
    """A mask as bool (h, w) of the size of its map.

    Raises:
        DataError: Of another shape, neither bool nor integers, or with a number that is neither 0 nor 1.
    """
    given = np.asarray(mask)
    if given.shape != shape:
        raise DataError(
            f"{where}: got shape {given.shape} for a map of shape {shape}; resize the mask (nearest) to its map's size."
        )
    if given.dtype == np.bool_:
        return given
    if given.dtype.kind not in "iu":
        raise DataError(f"{where}: got an array of type {given.dtype}; a mask is bool or 0 and 1: give mask > 0.5.")
    wrong = (given != 0) & (given != 1)
    if wrong.any():
        got = given[wrong][0]
        raise DataError(f"{where}: got the value {got}; a mask is bool or 0 and 1: of one in 0 and 255 give mask > 0.")
    return given.astype(np.bool_)


def pxap_of(foreground: ArrayLike, background: ArrayLike) -> Floats:
    """Average precision in per cent: of pooled histograms PxAP, of one image's its own average precision.

    It is the sum of precision times the gain in recall, from the value 1 through all thresholds down, with no
    interpolation between them: scikit-learn's ``average_precision_score`` of values rounded down to thresholds.

    Args:
        foreground: (..., bins) of `pixel_counts`, or their sums or means over images.
        background: The same.

    Returns:
        (...); nan where there is no foreground pixel, of which no recall is defined.

    Raises:
        DataError: Arrays of different shapes.
    """
    on, _ = _checked(foreground, background)
    precision, _ = _precision_recall(foreground, background)
    with np.errstate(invalid="ignore"):
        total: Floats = 100 * (np.nan_to_num(precision) * on[..., 1:]).sum(axis=-1) / on.sum(axis=-1)
    return total


def precision_recall_of(foreground: ArrayLike, background: ArrayLike) -> tuple[Floats, Floats]:
    """Precision and recall at each threshold, (..., t) each, in [0, 1].

    Precision is nan where no pixel reaches the threshold, recall where there is no foreground pixel. The arguments and
    what is refused are those of `pxap_of`, which takes the value 1 as one more threshold.
    """
    precision, recall = _precision_recall(foreground, background)
    return precision[..., :-1], recall[..., :-1]


def piou_of(foreground: ArrayLike, background: ArrayLike) -> Floats:
    """Intersection over union at each threshold, (..., t) in [0, 1]: of pooled histograms the field's pIoU.

    It is nan where there is no foreground pixel. The highest of a row is an oracle: its threshold is chosen with the
    very masks that it is measured against. The arguments and what is refused are those of `pxap_of`.
    """
    on, beside = _checked(foreground, background)
    with np.errstate(invalid="ignore"):
        share: Floats = _from_above(on) / (on.sum(axis=-1, keepdims=True) + _from_above(beside))
    share = np.where(on.sum(axis=-1, keepdims=True) > 0, share, np.nan)
    return share[..., 1:-1]


def _precision_recall(foreground: ArrayLike, background: ArrayLike) -> tuple[Floats, Floats]:
    """At each threshold and at 1."""
    on, beside = _checked(foreground, background)
    right, wrong = _from_above(on)[..., 1:], _from_above(beside)[..., 1:]
    with np.errstate(invalid="ignore"):
        precision: Floats = right / (right + wrong)
        recall: Floats = right / on.sum(axis=-1, keepdims=True)
    return precision, recall


def _from_above(counts: Floats) -> Floats:
    """How many pixels lie in each bin or in a higher one."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _checked(foreground: ArrayLike, background: ArrayLike) -> tuple[Floats, Floats]:
    on, beside = np.asarray(foreground, dtype=np.float64), np.asarray(background, dtype=np.float64)
    if on.shape != beside.shape or not on.ndim or on.shape[-1] < 3:
        raise DataError(
            f"foreground, background: got shapes {on.shape} and {beside.shape}; give the two histograms of "
            "pixel_counts, or their sums or means over images: of the same shape, bins last."
        )
    return on, beside


def _one_each(given: Any, count: int, where: str) -> list[Any]:
    """What is given for each of ``count`` maps."""
    try:
        rows = list(given)
    except TypeError:
        raise DataError(f"{where}: got {given!r}; give one (height, width) array for each map.") from None
    if len(rows) != count:
        raise DataError(f"{where}: got {len(rows)} for {count} maps; give one for each map.")
    return rows
