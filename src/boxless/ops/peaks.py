"""The separate objects of a map: its foreground, parted where a valley runs between two clear peaks.

Pixels are added from the highest to the lowest. One that touches nothing begins a basin with its own value as peak;
where two basins meet, the one with the lower peak ends in the other unless it stands out: its peak is by a given amount
above the level at which they meet (its persistence; Edelsbrunner, Letscher and Zomorodian, "Topological persistence and
simplification", 2002), and it is large enough. What stands out stays a basin of its own, and further pixels join that
of their highest neighbour, as in a watershed. Pixels connect by their corners too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boxless.errors import DataError
from boxless.ops._checks import check_map, check_thresholds
from boxless.ops._neighbourhood import COLUMNS, ROWS
from boxless.ops._numba import compiled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Basins:
    """The parts of a map's foreground, highest peak first; equally high ones by their first pixel."""

    labels: NDArray[np.int64]  # (h, w): 1 for the first basin, 2 for the second ...; 0 is background
    boxes: Floats  # (n, 4) half-open xyxy in pixels of the map
    areas: Places  # (n,) pixels
    peaks: Floats  # (n,) highest value


def basins(map: ArrayLike, threshold: float, prominence: float, least: int = 1) -> Basins:  # noqa: A002
    """The foreground of a map, ``value > threshold * maximum``, parted between peaks that stand out.

    Args:
        map: (h, w), finite, in [0, 1].
        threshold: A fraction of the map's maximum, in [0, 1).
        prominence: How far a peak must stand above the valley, as a fraction of the map's maximum; at 1 and above
            nothing is parted, and basins are the connected components.
        least: A part with fewer pixels than this is not parted off. Components of their own may be smaller.

    Raises:
        DataError: A map or threshold that is not as said above, or a negative prominence.
    """
    values = check_map(map)
    highest, cut = float(values.max()), float(check_thresholds([threshold])[0])
    if not prominence >= 0:
        raise DataError(f"prominence: got {prominence}; expected a fraction of the map's maximum, 0 or more.")
    framed = np.pad(values, 1)
    inside = np.flatnonzero(framed.ravel() > cut * highest)
    order = inside[np.argsort(-framed.ravel()[inside], kind="stable")]
    stride = framed.shape[1]
    labels, count = _flood(framed.ravel(), order, ROWS * stride + COLUMNS, prominence * highest, least)
    boxes, areas = _bounds(labels, order, stride, count)
    peaks = np.zeros(count)
    np.maximum.at(peaks, labels[order] - 1, framed.ravel()[order])
    return Basins(labels.reshape(framed.shape)[1:-1, 1:-1], boxes, areas, peaks)


@compiled
def _find(parent: Places, start: int) -> int:
    while parent[start] != start:
        parent[start] = parent[parent[start]]
        start = parent[start]
    return start


@compiled
def _flood(values: Floats, order: Places, steps: Places, prominence: float, least: int) -> tuple[Places, int]:
    """Number the pixels of a flat, framed map by basin, in the order of their peaks; and how many there are."""
    labels = np.zeros(len(values), dtype=np.int64)
    room = len(order) + 1
    parent, sizes, peaks = np.arange(room), np.zeros(room, dtype=np.int64), np.zeros(room)
    count = 0
    for place in order:
        best, nearest, height = 0, 0, -1.0
        for step in steps:
            if labels[place + step]:
                root = _find(parent, labels[place + step])
                if best == 0 or peaks[root] > peaks[best]:
                    best = root
                if values[place + step] > height:
                    nearest, height = labels[place + step], values[place + step]
        if best == 0:
            count += 1
            best = nearest = count
            peaks[count] = values[place]
        for step in steps:
            root = _find(parent, labels[place + step])
            if root != 0 and root != best and (peaks[root] - values[place] < prominence or sizes[root] < least):
                parent[root] = best
                sizes[best] += sizes[root]
        root = _find(parent, nearest)
        labels[place] = root
        sizes[root] += 1
    return labels, _number(labels, order, parent)


@compiled
def _number(labels: Places, order: Places, parent: Places) -> int:
    """Give each pixel the number of its basin, in the order of their peaks; how many there are."""
    numbers, found = np.zeros(len(parent), dtype=np.int64), 0
    for place in order:
        root = _find(parent, labels[place])
        if numbers[root] == 0:
            found += 1
            numbers[root] = found
        labels[place] = numbers[root]
    return found


@compiled
def _bounds(labels: Places, order: Places, stride: int, count: int) -> tuple[Floats, Places]:
    """The box, in a map without its frame, and the size of each basin."""
    boxes, areas = np.zeros((count, 4)), np.zeros(count, dtype=np.int64)
    for place in order:
        row, column, basin = place // stride - 1, place % stride - 1, labels[place] - 1
        if areas[basin] == 0:
            boxes[basin] = np.array([column, row, column + 1, row + 1])
        boxes[basin, 0], boxes[basin, 1] = min(boxes[basin, 0], column), min(boxes[basin, 1], row)
        boxes[basin, 2], boxes[basin, 3] = max(boxes[basin, 2], column + 1), max(boxes[basin, 3], row + 1)
        areas[basin] += 1
    return boxes, areas
