"""Otsu's threshold: the cut that best parts a map into two groups of values.

Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 1979: it maximises the variance
between the groups (equation 18), over a histogram of 256 equal bins from the map's lowest value to its highest, as
scikit-image does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.ops import _pixel_kernels
from boxless.ops._checks import check_map, check_maps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINS = 256


def otsu_thresholds(maps: ArrayLike) -> NDArray[np.float64]:
    """Otsu's threshold of each map (b, h, w), as a fraction of that map's own maximum: (b,), in [0, 1).

    The threshold is the centre of the last bin of the lower group; of several best ones the lowest is taken. A
    constant map has no two groups and gets 0: then all of a positive map is foreground, and nothing of a map of zeros.

    Raises:
        DataError: Maps that are not (b, h, w), finite and in [0, 1].
    """
    batch = check_maps(maps)
    return np.array([_otsu(check_map(each, f"maps[{i}]")) for i, each in enumerate(batch)], dtype=np.float64)


def _otsu(values: NDArray[np.float64]) -> float:
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        return 0.0
    # Not numpy.histogram: it refuses a range that holds fewer than 256 floats, and is slower.
    counts = _pixel_kernels.histogram(values, lowest, highest, BINS)
    # With bin numbers in place of values all sums are whole numbers, so equally good cuts compare as equal.
    weight = counts.cumsum()[:-1]
    moment = (counts * np.arange(BINS)).cumsum()
    total, moment_total, moment = values.size, int(moment[-1]), moment[:-1]
    between = (moment * float(total) - float(moment_total) * weight) ** 2 / (
        weight * (total - weight).astype(np.float64)
    )
    threshold = lowest + (float(between.argmax()) + 0.5) * (highest - lowest) / BINS
    return min(threshold / highest, float(np.nextafter(1, 0)))  # rounds to 1 if lowest and highest are neighbours
