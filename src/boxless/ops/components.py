"""Maps to boxes: connected components above a threshold, at one threshold or at all of them in one pass.

Components are 8-connected. Foreground is ``value > threshold * maximum``, where the maximum is the map's own and the
product and the comparison are made in float64, whatever the map's type: nothing is quantised. Area is the number of
pixels. Of several largest components the one counts whose first pixel in raster order (row by row) comes first. Boxes
are half-open xyxy in pixels of the map; where nothing is foreground the box is all zeros and the area 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError
from boxless.ops import _kernels, _pixel_kernels
from boxless.ops._checks import check_ascending, check_map, check_maps, check_thresholds
from boxless.ops._neighbourhood import EIGHT, ONE_EACH

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Sweep:
    """The largest component of a map at each threshold."""

    thresholds: NDArray[np.float64]  # (t,) fractions of the map's maximum, ascending
    boxes: NDArray[np.float64]  # (t, 4)
    areas: NDArray[np.int64]  # (t,) pixels, never rising


@dataclass(frozen=True, slots=True)
class ComponentSweep:
    """Every component of a map at every threshold, in no order that is promised."""

    thresholds: NDArray[np.float64]  # (t,) fractions of the map's maximum, ascending
    boxes: NDArray[np.float64]  # (n, 4)
    areas: NDArray[np.int64]  # (n,) pixels
    lowest: NDArray[np.int64]  # (n,) the first threshold's index at which there is just this component
    highest: NDArray[np.int64]  # (n,) the last one's


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a map at one threshold, largest first; equally large ones by their first pixel."""

    boxes: NDArray[np.float64]  # (n, 4)
    areas: NDArray[np.int64]  # (n,) pixels
    peaks: NDArray[np.float64]  # (n,) highest value
    means: NDArray[np.float64]  # (n,) mean value


def default_thresholds() -> NDArray[np.float64]:
    """0, 0.001, ..., 0.999: the 1,000 thresholds at which the field reports MaxBoxAcc."""
    return np.arange(0, 1, 0.001)


def sweep_boxes(map: ArrayLike, thresholds: ArrayLike | None = None) -> Sweep:  # noqa: A002
    """The largest component's box at every threshold, from one pass over the map.

    Pixels are added from the highest to the lowest to a forest of components that know their box and area (a component
    tree; Najman and Couprie, "Building the component tree in quasi-linear time", 2006), so the time is almost linear
    in pixels plus thresholds, and not their product.

    Args:
        map: (h, w), finite, in [0, 1].
        thresholds: Strictly ascending, in [0, 1); by default `default_thresholds`.

    Raises:
        DataError: A map or thresholds that are not as said above.
    """
    levels = _levels(thresholds)
    boxes, areas = sweep_batch(check_map(map)[None], levels)
    return Sweep(levels, boxes[0], areas[0])


def sweep_batch(maps: ArrayLike, thresholds: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`sweep_boxes` of each map of a batch (b, h, w): boxes (b, t, 4) and areas (b, t).

    The interpreter lock is released inside, so threads that share out the maps run side by side.
    """
    batch, levels = check_maps(maps), _levels(thresholds)
    boxes = np.zeros((len(batch), len(levels), 4))
    areas = np.zeros((len(batch), len(levels)), dtype=np.int64)
    for i, each in enumerate(batch):
        sweep_checked(check_map(each, f"maps[{i}]"), levels, boxes[i], areas[i])
    return boxes, areas


def sweep_checked(
    values: NDArray[np.float64],
    levels: NDArray[np.float64],
    boxes: NDArray[np.float64],
    areas: NDArray[np.int64],
) -> None:
    """`sweep_boxes` of a map and thresholds that were checked, into boxes (t, 4) and areas (t,) of zeros."""
    peak = float(values.max())
    if peak > 0:
        _kernels.sweep(_pixel_kernels.rank(values, levels * peak, peak), ONE_EACH, False, boxes, areas)


def largest_boxes(maps: ArrayLike, thresholds: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest component of each map at that map's own threshold.

    Args:
        maps: (b, h, w), finite, in [0, 1].
        thresholds: (b,), one for each map, in [0, 1).

    Returns:
        Boxes (b, 4) and areas (b,).

    Raises:
        DataError: Maps or thresholds that are not as said above.
    """
    batch, levels = check_maps(maps), check_thresholds(thresholds)
    if len(levels) != len(batch):
        raise DataError(f"thresholds: got {len(levels)} for {len(batch)} maps; give one for each map.")
    boxes, areas = np.zeros((len(batch), 4)), np.zeros(len(batch), dtype=np.int64)
    for i, each in enumerate(batch):
        values = check_map(each, f"maps[{i}]")
        _kernels.sweep(_above(values, levels[i] * values.max()), ONE_EACH, False, boxes[i : i + 1], areas[i : i + 1])
    return boxes, areas


def sweep_components(map: ArrayLike, thresholds: ArrayLike | None = None) -> ComponentSweep:  # noqa: A002
    """Every component at every threshold, from one pass over the map: arguments and errors as of `sweep_boxes`.

    The list is as long as components change over the thresholds, at most twice the number of pixels.
    """
    levels, values = _levels(thresholds), check_map(map)
    peak = float(values.max())
    rows = np.zeros((0, 8), dtype=np.int32)
    if peak > 0:
        rows = _kernels.trace(_pixel_kernels.rank(values, levels * peak, peak), len(levels), EIGHT)
    return ComponentSweep(
        levels, _boxes(rows), _column(rows, _kernels.SIZE), _column(rows, _kernels.UNTIL), _column(rows, _kernels.SINCE)
    )


def components(map: ArrayLike, threshold: float, min_area: int = 1) -> Components:  # noqa: A002
    """All components above one threshold that have ``min_area`` pixels or more, largest first.

    Raises:
        DataError: A map that is not (h, w), finite and in [0, 1], or a threshold that is not in [0, 1).
    """
    values = check_map(map)
    cut = float(check_thresholds([threshold])[0] * values.max())
    rows, peaks, sums = _kernels.label(_above(values, cut), values)
    areas = _column(rows, _kernels.SIZE)
    order = np.argsort(-areas, kind="stable")  # stable: the kernel lists components by their first pixel
    order = order[areas[order] >= min_area]
    return Components(_boxes(rows)[order], areas[order], peaks[order], sums[order] / areas[order])


def _above(values: NDArray[np.float64], cut: float) -> NDArray[np.int16]:
    """Ranks for one cut: 1 above it, else 0."""
    ranks = np.zeros((values.shape[0] + 2, values.shape[1] + 2), dtype=np.int16)
    ranks[1:-1, 1:-1] = values > cut
    return ranks


def _boxes(rows: NDArray[np.int32]) -> NDArray[np.float64]:
    """Half-open boxes of a kernel's components, whose rows and columns count from 1."""
    boxes = rows[:, [_kernels.LEFT, _kernels.TOP, _kernels.RIGHT, _kernels.BOTTOM]].astype(np.float64)
    boxes[:, :2] -= 1
    return boxes


def _column(rows: NDArray[np.int32], column: np.uint64) -> NDArray[np.int64]:
    return rows[:, column].astype(np.int64)


def _levels(thresholds: ArrayLike | None) -> NDArray[np.float64]:
    return default_thresholds() if thresholds is None else check_ascending(thresholds)
