"""The pixel loops behind `components`, `otsu` and the compatible metrics, compiled by numba on first use, then cached.

They stand in one file because numba's cache sees a change of a function's own file only, not of a file that it calls.
All arrays are contiguous and of the types named here, so that each loop is compiled once. Nothing checks its input.

Ranks are int16 over the pixels of a map and a frame of one pixel around it: a pixel is foreground at level ``l`` if its
rank is above ``l``. So a pixel of rank 0 never is, and levels run from 0 to the highest rank less one. Growing a
forest adds pixels by falling rank, those of one rank in raster order. Which neighbours of a pixel are there before it
is thus known from the ranks alone, and one fast pass over the map, `neighbours`, finds it for all pixels.

A pixel with no such neighbour starts a component; any other joins that of a neighbour. The forest is over these
starts, which are few: ``labels`` gives each pixel the start that it joined, ``parent`` leads from a start to its root,
and ``kept`` holds, valid for roots only, the columns named below. Rows and columns count from 1, since the frame has 0.

Maps have at most 32,000 rows and columns, so that a pixel's two coordinates fit into one int32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxless.ops._neighbourhood import COLUMNS, EIGHT, ONE_EACH, ROWS
from boxless.ops._numba import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]
Ranks = NDArray[np.int16]
Bytes = NDArray[np.uint8]
Groups = NDArray[np.int8]

Place = int | np.uint64
Index = np.uint64  # what indexes an array in the inner loops: of a signed number numba asks at each access if it counts
# from the end, which costs a third of the time.

# Columns of a forest's `kept` and of the components that `trace` lists. A component is what it is from the level SINCE
# down to the level UNTIL, which stands in lists only.
SIZE, TOP, LEFT, BOTTOM, RIGHT, FIRST, SINCE, UNTIL = map(Index, range(8))


class Forest(NamedTuple):
    """The state of growing, and what it goes by."""

    masks: Bytes  # what `neighbours` found, flat
    steps: NDArray[np.int64]  # from a pixel to each neighbour, in the flat map
    stride: int
    groups: Groups  # ``EIGHT`` or ``FOUR``
    sizes: Bytes  # what a pixel adds to its component's size, by its mask
    labels: Integers
    parent: Integers
    kept: Integers
    table: Integers  # ``kept``, flat


@compiled
def neighbours(ranks: Ranks) -> Bytes:
    """For each pixel a mask of the neighbours that are added before it; written so that it compiles to vectors."""
    masks = np.zeros(ranks.shape, dtype=np.uint8)
    for row in range(1, ranks.shape[0] - 1):
        for column in range(1, ranks.shape[1] - 1):
            own = ranks[row, column]
            masks[row, column] = (
                (ranks[row - 1, column - 1] >= own) * 1
                | (ranks[row - 1, column] >= own) * 2
                | (ranks[row - 1, column + 1] >= own) * 4
                | (ranks[row, column - 1] >= own) * 8
                | (ranks[row, column + 1] > own) * 16
                | (ranks[row + 1, column - 1] > own) * 32
                | (ranks[row + 1, column] > own) * 64
                | (ranks[row + 1, column + 1] > own) * 128
            )
    return masks


@compiled
def descending(ranks: Ranks, highest: int) -> tuple[Integers, Integers]:
    """Counting sort: pixels as ``row << 16 | column``, by falling rank, then in raster order; rank 0 is left out.

    Those that level ``l`` adds are ``order[starts[highest - 1 - l] : starts[highest - l]]``.
    """
    height, width = ranks.shape
    starts = np.zeros(highest + 2, dtype=np.int32)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            starts[Index(highest - ranks[row, column] + 1)] += 1
    for place in range(highest + 1):
        starts[place + 1] += starts[place]
    following = starts.copy()
    order = np.empty(starts[highest], dtype=np.int32)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            if ranks[row, column] > 0:
                which = Index(highest - ranks[row, column])
                order[Index(following[which])] = row << 16 | column
                following[which] += 1
    return order, starts


@compiled
def plant(ranks: Ranks, groups: Groups, sizes: Bytes) -> Forest:
    """A forest of no pixel yet, with room for all starts and one more."""
    masks = neighbours(ranks)
    room = 1
    for row in range(1, ranks.shape[0] - 1):
        for column in range(1, ranks.shape[1] - 1):
            room += ranks[row, column] > 0 and groups[masks[row, column], 0] < 0
    stride = ranks.shape[1]
    kept = np.empty((room, 8), dtype=np.int32)
    labels, parent = np.zeros(masks.size, dtype=np.int32), np.empty(room, dtype=np.int32)
    return Forest(masks.ravel(), ROWS * stride + COLUMNS, stride, groups, sizes, labels, parent, kept, kept.ravel())


@compiled
def _find(parent: Integers, start: int) -> Index:
    root = Index(start)
    above = Index(parent[root])
    while above != root:
        parent[root] = parent[above]  # path halving
        root = Index(parent[above])
        above = Index(parent[root])
    return root


@compiled
def _absorb(kept: Integers, root: Place, other: Place) -> None:
    kept[root, SIZE] += kept[other, SIZE]
    kept[root, TOP] = min(kept[root, TOP], kept[other, TOP])
    kept[root, LEFT] = min(kept[root, LEFT], kept[other, LEFT])
    kept[root, BOTTOM] = max(kept[root, BOTTOM], kept[other, BOTTOM])
    kept[root, RIGHT] = max(kept[root, RIGHT], kept[other, RIGHT])
    kept[root, FIRST] = min(kept[root, FIRST], kept[other, FIRST])


@compiled
def _begin(kept: Integers, root: Place, row: int, column: int, place: int, level: int) -> None:
    """A component of no pixel yet, where its first one will be."""
    kept[root, SIZE], kept[root, FIRST], kept[root, SINCE] = 0, place, level
    kept[root, TOP] = kept[root, BOTTOM] = row
    kept[root, LEFT] = kept[root, RIGHT] = column


@compiled
def _list(listed: Integers, count: int, kept: Integers, root: Place, level: int) -> int:
    """List what a component was before ``level``, where it is about to change, and begin anew."""
    if kept[root, SINCE] > level:
        for column in range(7):
            listed[count, column] = kept[root, column]
        listed[count, UNTIL] = level + 1
        kept[root, SINCE] = level
        return count + 1
    return count


@compiled
def grow(pixels: Integers, level: int, forest: Forest, count: int, listed: Integers, lines: int) -> tuple[int, int]:
    """Add the pixels of one level, each joined with the neighbours that are there already.

    Args:
        pixels: What to add, as `descending` orders it. The loop over them stands here, and not in the caller, because
            a call for each pixel costs three times the work that is done in it.
        level: The level.
        forest: The forest.
        count: How many starts there are.
        listed: Where components are listed before they change; of no rows if they are not to be.
        lines: How many are listed.

    Returns:
        ``count`` and ``lines`` now.
    """
    labels, parent, kept, table, groups = forest.labels, forest.parent, forest.kept, forest.table, forest.groups
    listing = len(listed) > 0
    for pixel in pixels:
        row, column = pixel >> 16, pixel & 0xFFFF
        place = row * forest.stride + column
        mask = Index(forest.masks[Index(place)])
        neighbour = groups[mask, 0]
        if neighbour < 0:
            root = Index(count)
            count += 1
            parent[root] = root
            _begin(kept, root, row, column, place, level)
        else:
            root = _find(parent, labels[Index(place + forest.steps[Index(neighbour)])])
            if listing:
                lines = _list(listed, lines, kept, root, level)
        labels[Index(place)] = root
        at = root << Index(3)  # of the root's row in the flat table
        table[at + SIZE] += forest.sizes[mask]
        table[at + TOP], table[at + BOTTOM] = min(table[at + TOP], row), max(table[at + BOTTOM], row)
        table[at + LEFT], table[at + RIGHT] = min(table[at + LEFT], column), max(table[at + RIGHT], column)
        table[at + FIRST] = min(table[at + FIRST], place)
        for which in range(1, 4):
            neighbour = groups[mask, which]
            if neighbour < 0:
                break
            other = _find(parent, labels[Index(place + forest.steps[Index(neighbour)])])
            if other != root:
                if listing:
                    lines = _list(listed, lines, kept, other, level)
                if kept[other, SIZE] > kept[root, SIZE]:  # the larger one keeps its root, so that trees stay flat
                    root, other = other, root
                parent[other] = root
                _absorb(kept, root, other)
    return count, lines


@compiled
def largest(kept: Integers, parent: Integers, live: Integers, count: int, last: bool) -> tuple[int, int]:
    """The largest of the roots ``live[:count]``, and how many are still roots: the others are dropped from it.

    Of equally large ones, that whose first pixel comes first in raster order; or last, if ``last``.
    """
    best, left = -1, 0
    for place in range(count):
        root = live[place]
        if parent[root] != root:
            continue
        live[left] = root
        left += 1
        more = 1 if best < 0 else kept[root, SIZE] - kept[best, SIZE]
        if more > 0 or (more == 0 and (kept[root, FIRST] > kept[best, FIRST]) == last):
            best = root
    return best, left


@compiled
def sweep(ranks: Ranks, sizes: Bytes, last: bool, boxes: Floats, areas: NDArray[np.int64]) -> None:
    """Write the half-open box and the size of the largest component at each level; both come as zeros."""
    highest = len(boxes)
    order, starts = descending(ranks, highest)
    forest = plant(ranks, EIGHT, sizes)
    kept, listed = forest.kept, np.empty((0, 8), dtype=np.int32)
    live = np.empty(len(kept), dtype=np.int32)
    count, alive, best = 0, 0, -1
    for level in range(highest - 1, -1, -1):
        pixels = order[starts[highest - 1 - level] : starts[highest - level]]
        if len(pixels):
            before = count
            count, _ = grow(pixels, level, forest, count, listed, 0)
            for root in range(before, count):
                live[alive] = root
                alive += 1
            best, alive = largest(kept, forest.parent, live, alive, last)
        if best >= 0:
            boxes[level, 0], boxes[level, 1] = kept[best, LEFT] - 1, kept[best, TOP] - 1
            boxes[level, 2], boxes[level, 3] = kept[best, RIGHT], kept[best, BOTTOM]
            areas[level] = kept[best, SIZE]


@compiled
def trace(ranks: Ranks, highest: int, groups: Groups) -> Integers:
    """Every component at every level: rows of the columns above, from level ``SINCE`` down to ``UNTIL`` unchanged.

    A frame of ranks above all others is one component from the start, and is listed too, with a ``TOP`` of 0.
    """
    height, width = ranks.shape
    order, starts = descending(ranks, highest)
    forest = plant(ranks, groups, ONE_EACH)
    parent, kept = forest.parent, forest.kept
    # Each pixel changes one component and may end others.
    listed = np.empty((len(order) + len(kept), 8), dtype=np.int32)
    count, lines = 0, 0
    if ranks[0, 0] > highest:
        parent[0], count = 0, 1
        kept[0] = np.array([0, 0, 0, height - 1, width - 1, 0, highest - 1, 0])
    for level in range(highest - 1, -1, -1):
        pixels = order[starts[highest - 1 - level] : starts[highest - level]]
        count, lines = grow(pixels, level, forest, count, listed, lines)
    for root in range(count):
        if parent[root] == root:
            lines = _list(listed, lines, kept, root, -1)
    return listed[:lines].copy()


@compiled
def label(ranks: Ranks, image: Floats) -> tuple[Integers, Floats, Floats]:
    """The components of the pixels of rank 1, by their first pixel in raster order.

    Returns:
        Rows of the columns above, and each component's highest value and sum of values.
    """
    order, _ = descending(ranks, 1)
    forest = plant(ranks, EIGHT, ONE_EACH)
    room = len(forest.kept)
    grow(order, 0, forest, 0, np.empty((0, 8), dtype=np.int32), 0)
    number, count = np.full(room, -1, dtype=np.int32), 0  # of each root's component
    found, peaks, sums = np.empty((room, 8), dtype=np.int32), np.zeros(room), np.zeros(room)
    for pixel in order:
        row, column = pixel >> 16, pixel & 0xFFFF
        root = _find(forest.parent, forest.labels[row * forest.stride + column])
        if number[root] < 0:
            number[root] = count
            found[count] = forest.kept[root]
            count += 1
        peaks[number[root]] = max(peaks[number[root]], image[row - 1, column - 1])
        sums[number[root]] += image[row - 1, column - 1]
    return found[:count].copy(), peaks[:count].copy(), sums[:count].copy()
