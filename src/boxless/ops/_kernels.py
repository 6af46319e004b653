"""The pixel loops behind `components` and `otsu`, compiled by numba on first use and then read from its cache.

They stand in one file because numba's cache sees a change of a function's own file only, not of a file that it calls.
All arrays are float64 or int32 and contiguous, so that each loop is compiled once. Nothing here checks its input.

A forest is four arrays over a map that is padded by one pixel on every side, flattened, with rows of ``stride``:
``parent`` (-1 where no pixel was added yet, so that borders need no test), and, valid at roots only, ``area``, ``left``
and ``right`` (padded columns, inclusive) and ``last`` (the last pixel in raster order). A root is always its
component's first pixel in raster order: it gives the top row, as ``last`` gives the bottom row, and breaks ties.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

# The eight neighbours of a pixel, clockwise from the upper left one.
_ROWS = np.array([-1, -1, -1, 0, 1, 1, 1, 0], dtype=np.int32)
_COLUMNS = np.array([-1, 0, 1, 1, 1, 0, -1, -1], dtype=np.int32)


class Forest(NamedTuple):
    """Disjoint sets of pixels with what is kept for each; see the module's first lines."""

    parent: Integers
    area: Integers
    left: Integers
    right: Integers
    last: Integers


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
    return pixel


@_compiled
def _unite(forest: Forest, one: int, other: int) -> int:
    root, child = min(one, other), max(one, other)
    forest.parent[child] = root
    forest.area[root] += forest.area[child]
    forest.left[root] = min(forest.left[root], forest.left[child])
    forest.right[root] = max(forest.right[root], forest.right[child])
    forest.last[root] = max(forest.last[root], forest.last[child])
    return root


@_compiled
def _add(forest: Forest, pixel: int, stride: int) -> int:
    """Add one pixel, join it with the neighbours that are there, and return the root of its component."""
    mask = 0
    for place in range(8):
        if forest.parent[pixel + _ROWS[place] * stride + _COLUMNS[place]] >= 0:
            mask |= 1 << place
    forest.parent[pixel], forest.area[pixel], forest.last[pixel] = pixel, 1, pixel
    forest.left[pixel] = forest.right[pixel] = pixel % stride
    root = pixel
    for place in _REPRESENTATIVES[mask]:
        if place < 0:
            break
        other = _find(forest.parent, pixel + _ROWS[place] * stride + _COLUMNS[place])
        if other != root:
            root = _unite(forest, root, other)
    return root


@_compiled
def _new_forest(pixels: int) -> Forest:
    empty = np.full(pixels, -1, dtype=np.int32)
    kept = np.empty((4, pixels), dtype=np.int32)
    return Forest(empty, kept[0], kept[1], kept[2], kept[3])


@_compiled
def _write_box(forest: Forest, root: int, stride: int, box: Floats) -> None:
    """Half-open, in pixels of the map without its padding."""
    box[0], box[2] = forest.left[root] - 1, forest.right[root]
    box[1], box[3] = root // stride - 1, forest.last[root] // stride


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
    """Write the box and area of the largest component above each cut; ``boxes`` and ``areas`` come as zeros.

    Components only grow as the cut falls. So the largest one is either the largest one before, or one that a pixel was
    just added to: one comparison for each pixel keeps it known.
    """
    height, width = image.shape
    stride, count = width + 2, len(cuts)
    order, starts = _descending(_rank(image, cuts, peak), width, count)
    forest = _new_forest((height + 2) * stride)
    largest, area = -1, 0
    for level in range(count - 1, -1, -1):
        for pixel in order[starts[count - 1 - level] : starts[count - level]]:
            root = _add(forest, pixel, stride)
            if forest.area[root] > area or (forest.area[root] == area and root < largest):
                largest, area = root, forest.area[root]
        if area > 0:
            _write_box(forest, largest, stride, boxes[level])
            areas[level] = area


@_compiled
def label(image: Floats, cut: float) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Boxes, areas, highest values and sums of all components above ``cut``, by their first pixel in raster order."""
    height, width = image.shape
    stride = width + 2
    forest = _new_forest((height + 2) * stride)
    for row in range(height):
        for column in range(width):
            if image[row, column] > cut:
                _add(forest, (row + 1) * stride + column + 1, stride)
    number = np.empty(len(forest.parent), dtype=np.int32)  # of each root
    count = 0
    for pixel in range(len(forest.parent)):
        if forest.parent[pixel] == pixel:
            number[pixel] = count
            count += 1
    boxes, areas = np.empty((count, 4)), np.empty(count, dtype=np.int64)
    peaks, sums = np.zeros(count), np.zeros(count)
    for pixel in range(len(forest.parent)):
        if forest.parent[pixel] >= 0:
            root = _find(forest.parent, pixel)
            place, value = number[root], image[pixel // stride - 1, pixel % stride - 1]
            peaks[place], sums[place] = max(peaks[place], value), sums[place] + value
            if root == pixel:
                areas[place] = forest.area[root]
                _write_box(forest, root, stride, boxes[place])
    return boxes, areas, peaks, sums
