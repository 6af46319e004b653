"""Whether a map can be what it should be: plain sentences about maps from which no box should be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WHOLE = 0.95  # part of the image that is foreground
BORDER = 0.9  # part of the foreground that lies in the outermost ring
RING = 0.1  # width of that ring, as a part of each side
SAME = 1e-3  # largest difference of maps in [0, 1] that no box could show
_LEAST_CELLS = 5  # on a smaller grid nearly each cell is at the border


def warnings(maps: ArrayLike, thresholds: ArrayLike | None = None) -> list[str | None]:
    """For each map (b, h, w) in [0, 1] a sentence that says what is wrong and what it means, or None.

    Only one thing is said of a map, the first of: it is not finite; flat; foreground nearly everywhere; foreground
    along the border alone.

    Args:
        maps: As `boxless.maps.extract` or a method gives them.
        thresholds: Of each map, as fractions of its maximum: what is above is foreground. By default Otsu's.

    Raises:
        DataError: Finite maps that are not in [0, 1].
    """
    from boxless.ops.otsu import otsu_thresholds

    values = np.asarray(maps, np.float32)
    finite = np.array([np.isfinite(each).all() for each in values], bool)
    usable = np.where(finite[:, None, None], values, np.float32(0))
    cuts = otsu_thresholds(usable) if thresholds is None else np.broadcast_to(thresholds, len(usable))
    return [
        _one(each, float(cut)) if sound else _NOT_FINITE for each, cut, sound in zip(usable, cuts, finite, strict=True)
    ]


def same_for_all_classes(maps: ArrayLike) -> str | None:
    """A sentence if the maps (n, h, w) of several classes of one image, or (b, n, h, w) of a batch, are all one map.

    One class alone, or flat maps, say nothing of that.
    """
    values = np.asarray(maps, np.float32)
    if values.shape[-3] < 2 or not np.isfinite(values).all() or values.max() - values.min() <= SAME:
        return None
    return SAME_MAP if np.ptp(values, axis=-3).max() <= SAME else None


_NOT_FINITE = (
    "the map holds values that are not finite: the network overflows or its weights are broken, so there is no box; "
    "use float32, or other weights."
)
_FLAT = (
    "the map is flat: the class score depends on no place more than on another, so there is no box; take another layer "
    "or another map."
)
_WHOLE = (
    "the map is high nearly everywhere ({part:.0%} of the image), so the box is the whole image and says nothing of "
    "where the object is; take a later layer, another map or a higher threshold."
)
_BORDER = (
    "the map is high along the border of the image alone, as networks are that react to padding, so the box is likely "
    "not on the object; take another layer or another map."
)
SAME_MAP = (
    "the maps of all classes are the same, so they show what is conspicuous and not where a class is; for an answer by "
    "class take another map."
)


def _one(values: NDArray[np.float32], threshold: float) -> str | None:
    highest = float(values.max())
    if highest - float(values.min()) <= SAME:
        return _FLAT
    foreground = values > threshold * highest
    part = float(foreground.mean())
    if part >= WHOLE:
        return _WHOLE.format(part=part)
    return _BORDER if _hugs_border(foreground) else None


def _hugs_border(foreground: NDArray[np.bool_]) -> bool:
    """Whether nearly all of the foreground is in the outer ring, and on at least two sides of it.

    An object that is cut off by one side of the image lies at the border too, and is no reason to warn.
    """
    height, width = foreground.shape
    if min(height, width) < _LEAST_CELLS:
        return False
    rows, columns = max(1, round(RING * height)), max(1, round(RING * width))
    inner = foreground[rows:-rows, columns:-columns].sum()
    sides = (foreground[:rows], foreground[-rows:], foreground[:, :columns], foreground[:, -columns:])
    opposite = (sides[0].any() and sides[1].any()) or (sides[2].any() and sides[3].any())
    return bool(opposite and inner <= (1 - BORDER) * foreground.sum())
