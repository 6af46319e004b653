"""The pixel loops behind `components` and `otsu`, compiled by numba on first use and then read from its cache.

They stand in one file because numba's cache sees a change of a function's own file only, not of a file that it calls.
All arrays are float64 or int32 and contiguous, so that each loop is compiled once. Nothing here checks its input.

A forest is two arrays over the pixels of a map, padded by one pixel on every side and flattened to rows of ``stride``:
``parent`` (-1 where no pixel was added yet, so that borders need no test) and ``kept``, five columns that are valid for
roots only: area, first and last pixel in raster order (hence the top and bottom rows), leftmost and rightmost column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

# The eight neighbours of a pixel, in raster order.
_ROWS = np.array([-1, -1, -1, 0, 0, 1, 1, 1], dtype=np.int64)
_COLUMNS = np.array([-1, 0, 1, -1, 1, -1, 0, 1], dtype=np.int64)


AREA, FIRST, LAST, LEFT, RIGHT = range(5)


def _compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile on first call, keep the result on disk, and release the interpreter lock while running."""
    return cast(Callable[Parameters, Result], njit(cache=True, nogil=True)(function))


def _representatives() -> NDArray[np.int8]:
    """For each set of neighbours (a bit mask), one neighbour of each group that is connected already; -1 fills up.

    Neighbours that touch each other are in one component before the pixel between them is added. So at most four of
    the eight, and for most pixels one, must be looked up.
    """
    steps = np.maximum(abs(_ROWS[:, None] - _ROWS), abs(_COLUMNS[:, None] - _COLUMNS))
    touching = [sum(1 << other for other in range(8) if steps[one, other] <= 1) for one in range(8)]
    table = np.full((256, 4), -1, dtype=np.int8)
    for mask in range(256):
        rest, found = mask, 0
        while rest:
            group, grown = 0, rest & -rest
            while group != grown:
                group = grown
                for one in range(8):
                    if group >> one & 1:
                        grown |= touching[one] & mask
            table[mask, found] = (group & -group).bit_length() - 1
            rest, found = rest & ~group, found + 1
    return table


_REPRESENTATIVES = _representatives()


@_compiled
def _find(parent: Integers, pixel: int) -> int:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]  # path halving
        pixel = parent[pixel]
    return int(pixel)


@_compiled
def _neighbours(parent: Integers, pixel: int, stride: int) -> int:
    """A bit mask of the neighbours that were added, in raster order."""
    above, below = pixel - stride - 1, pixel + stride - 1
    mask: int = (parent[pixel - 1] >= 0) << 3 | (parent[pixel + 1] >= 0) << 4
    for place in range(3):
        mask |= (parent[above + place] >= 0) << place | (parent[below + place] >= 0) << (place + 5)
    return mask


@_compiled
def _unite(parent: Integers, kept: Integers, one: int, other: int) -> int:
    """Join two components under the root of the larger one, which keeps the trees flat."""
    root: int
    root, child = (one, other) if kept[one, AREA] >= kept[other, AREA] else (other, one)
    parent[child] = root
    kept[root, AREA] += kept[child, AREA]
    kept[root, FIRST] = min(kept[root, FIRST], kept[child, FIRST])
    kept[root, LAST] = max(kept[root, LAST], kept[child, LAST])
    kept[root, LEFT] = min(kept[root, LEFT], kept[child, LEFT])
    kept[root, RIGHT] = max(kept[root, RIGHT], kept[child, RIGHT])
    return int(root)


@_compiled
def grow(parent: Integers, kept: Integers, pixels: Integers, stride: int, largest: int) -> int:
    """Add pixels one by one, each joined with the neighbours that are there already.

    Components only grow. So the largest one is either the largest one before, or one that a pixel was just added to:
    one comparison for each pixel keeps it known.

    Args:
        parent: The forest.
        kept: The forest.
        pixels: What to add, in any order. The loop over them stands here, and not in the caller, because a call for
            each pixel costs three times the work that is done in it.
        stride: The padded width.
        largest: The root of the largest component so far; -1 if there is none.

    Returns:
        The root of the largest component now; of several, that with the first pixel in raster order.
    """
    for pixel in pixels:
        mask, column = _neighbours(parent, pixel, stride), pixel % stride
        neighbour = _REPRESENTATIVES[mask, 0]
        if neighbour < 0:
            root = pixel
            kept[root, AREA], kept[root, FIRST], kept[root, LAST] = 0, pixel, pixel
            kept[root, LEFT] = kept[root, RIGHT] = column
        else:
            root = _find(parent, pixel + _ROWS[neighbour] * stride + _COLUMNS[neighbour])
        parent[pixel] = root
        kept[root, AREA] += 1
        kept[root, FIRST], kept[root, LAST] = min(kept[root, FIRST], pixel), max(kept[root, LAST], pixel)
        kept[root, LEFT], kept[root, RIGHT] = min(kept[root, LEFT], column), max(kept[root, RIGHT], column)
        for place in range(1, 4):
            neighbour = _REPRESENTATIVES[mask, place]
            if neighbour < 0:
                break
            other = _find(parent, pixel + _ROWS[neighbour] * stride + _COLUMNS[neighbour])
            if other != root:
                root = _unite(parent, kept, other, root)
        if largest < 0 or _is_larger(kept, root, largest):
            largest = root
    return largest


@_compiled
def _is_larger(kept: Integers, one: int, other: int) -> bool:
    more = kept[one, AREA] - kept[other, AREA]
    return bool(more > 0 or (more == 0 and kept[one, FIRST] < kept[other, FIRST]))


@_compiled
def write_box(component: Integers, stride: int, box: Floats) -> None:
    """Half-open, in pixels of the map without its padding."""
    box[0], box[2] = component[LEFT] - 1, component[RIGHT]
    box[1], box[3] = component[FIRST] // stride - 1, component[LAST] // stride


@_compiled
def _rank(image: Floats, cuts: Floats, peak: float) -> Integers:
    """For each pixel the number of cuts that it exceeds.

    Cuts and pixels are put into bins by one and the same monotone function, so every cut in a lower bin is below the
    pixel and every cut in a higher bin is above it; only the cuts of its own bin (mostly one or none) are compared.
    """
    bins = 4 * len(cuts)
    below = np.zeros(bins + 1, dtype=np.int32)  # below[i]: number of cuts in bins lower than i
    for cut in cuts:
        below[min(int(cut / peak * bins), bins - 1) + 1] += 1
    for place in range(bins):
        below[place + 1] += below[place]
    ranks = np.empty(image.size, dtype=np.int32)
    for pixel, value in enumerate(image.flat):
        place = min(int(value / peak * bins), bins - 1)
        low, high = below[place], below[place + 1]
        while low < high:
            middle = (low + high) >> 1
            if cuts[middle] < value:
                low = middle + 1
            else:
                high = middle
        ranks[pixel] = low
    return ranks


@_compiled
def histogram(image: Floats, lowest: float, highest: float, bins: int) -> NDArray[np.int64]:
    """How many pixels lie in each of ``bins`` equal bins from ``lowest`` to ``highest``, which is in the last."""
    counts = np.zeros(bins, dtype=np.int64)
    for value in image.flat:
        counts[min(int((value - lowest) / (highest - lowest) * bins), bins - 1)] += 1
    return counts


@_compiled
def _descending(ranks: Integers, width: int, highest: int) -> tuple[Integers, Integers]:
    """Counting sort: padded pixels by descending rank, then in raster order, those of rank 0 left out.

    The pixels of rank ``r`` are ``order[starts[highest - r] : starts[highest - r + 1]]``.
    """
    starts = np.zeros(highest + 2, dtype=np.int32)
    for rank in ranks:
        starts[highest - rank + 1] += 1
    for place in range(highest + 1):
        starts[place + 1] += starts[place]
    following = starts.copy()
    order = np.empty(starts[highest], dtype=np.int32)
    for pixel, rank in enumerate(ranks):
        if rank > 0:
            row = pixel // width
            order[following[highest - rank]] = (row + 1) * (width + 2) + pixel - row * width + 1
            following[highest - rank] += 1
    return order, starts


@_compiled
def sweep(image: Floats, cuts: Floats, peak: float, boxes: Floats, areas: NDArray[np.int64]) -> None:
    """Write the box and area of the largest component above each cut; ``boxes`` and ``areas`` come as zeros."""
    height, width = image.shape
    stride, count = width + 2, len(cuts)
    order, starts = _descending(_rank(image, cuts, peak), width, count)
    parent = np.full((height + 2) * stride, -1, dtype=np.int32)
    kept = np.empty((len(parent), 5), dtype=np.int32)
    largest = -1
    for level in range(count - 1, -1, -1):
        largest = grow(parent, kept, order[starts[count - 1 - level] : starts[count - level]], stride, largest)
        if largest >= 0:
            write_box(kept[largest], stride, boxes[level])
            areas[level] = kept[largest, AREA]


@_compiled
def label(
    image: Floats, parent: Integers, kept: Integers, foreground: Integers
) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Boxes, areas, highest values and sums of all components of a forest, by their first pixel in raster order.

    Args:
        image: The map.
        parent: The forest.
        kept: The forest.
        foreground: The pixels that were added, in raster order.
    """
    stride = image.shape[1] + 2
    number = np.full(len(parent), -1, dtype=np.int32)  # of each root's component
    count = 0
    boxes, areas = np.empty((len(foreground), 4)), np.empty(len(foreground), dtype=np.int64)
    peaks, sums = np.zeros(len(foreground)), np.zeros(len(foreground))
    for pixel in foreground:
        root = _find(parent, pixel)
        if number[root] < 0:
            number[root] = count
            areas[count] = kept[root, AREA]
            write_box(kept[root], stride, boxes[count])
            count += 1
        value = image[pixel // stride - 1, pixel % stride - 1]
        peaks[number[root]] = max(peaks[number[root]], value)
        sums[number[root]] += value
    return boxes[:count], areas[:count], peaks[:count], sums[:count]


def cut_at(image: Floats, cut: float) -> tuple[Integers, Integers, Integers, int]:
    """The forest of what is above one cut: ``parent``, ``kept``, the foreground in raster order, the largest root."""
    width = image.shape[1]
    flat = np.flatnonzero(image > cut)
    foreground = (flat + 2 * (flat // width) + width + 3).astype(np.int32)  # padded
    parent = np.full((image.shape[0] + 2) * (width + 2), -1, dtype=np.int32)
    kept = np.empty((len(parent), 5), dtype=np.int32)
    return parent, kept, foreground, grow(parent, kept, foreground, width + 2, -1)
