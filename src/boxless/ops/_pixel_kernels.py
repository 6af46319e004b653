"""Loops over the pixels of one map: its ranks, its histogram, its holes filled. Compiled as in `_kernels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxless.ops._numba import compiled

Floats = NDArray[np.float64]
Ranks = NDArray[np.int16]


@compiled
def rank(image: Floats, cuts: Floats, peak: float) -> Ranks:
    """The number of cuts that each pixel exceeds, and a frame of 0.

    Cuts and pixels are put into bins by one and the same monotone function, so every cut in a lower bin is below the
    pixel and every cut in a higher bin is above it; only the cuts of its own bin (mostly one or none) are compared.
    """
    height, width = image.shape
    bins = 4 * len(cuts)
    below = np.zeros(bins + 1, dtype=np.int16)  # below[i]: number of cuts in bins lower than i
    scale = min(bins / peak, 1e300)  # finite for the smallest peaks too: all then lies in the first bin
    for cut in cuts:
        below[min(int(cut * scale), bins - 1) + 1] += 1
    for place in range(bins):
        below[place + 1] += below[place]
    ranks = np.zeros((height + 2, width + 2), dtype=np.int16)
    for row in range(height):
        for column in range(width):
            value = image[row, column]
            place = min(int(value * scale), bins - 1)
            low, high = below[np.uint64(place)], below[np.uint64(place + 1)]
            while low < high:
                middle = (low + high) >> 1
                if cuts[np.uint64(middle)] < value:
                    low = middle + 1
                else:
                    high = middle
            ranks[row + 1, column + 1] = low
    return ranks


@compiled
def histogram(image: Floats, lowest: float, highest: float, bins: int) -> NDArray[np.int64]:
    """How many pixels lie in each of ``bins`` equal bins from ``lowest`` to ``highest``, which is in the last."""
    counts = np.zeros(bins, dtype=np.int64)
    for value in image.flat:
        counts[min(int((value - lowest) / (highest - lowest) * bins), bins - 1)] += 1
    return counts


@compiled
def fill(ranks: Ranks) -> None:
    """Fill the holes of the foreground at every level at once, in place: the frame, of rank 0, is what lies outside.

    A pixel gets the lowest level at which the background around it reaches the frame by steps to its four neighbours:
    morphological reconstruction by erosion, in passes down and up while they are worth it, then by a queue for the
    windings that they leave (Vincent, "Morphological grayscale reconstruction in image analysis", IEEE Trans. Image
    Processing 1993, section IV-D).
    """
    filled = np.full(ranks.shape, 32767, dtype=np.int16)
    filled[0], filled[-1], filled[:, 0], filled[:, -1] = 0, 0, 0, 0
    unsettled = ranks.size
    while unsettled > ranks.size // 50:
        _scan(ranks, filled)
        unsettled = _unsettled(ranks, filled)
    if unsettled > 0:
        _flood(ranks, filled)
    ranks[:] = filled


@compiled
def _scan(ranks: Ranks, filled: Ranks) -> None:
    """One pass down, to the right, and one up, to the left."""
    height, width = ranks.shape
    for row in range(1, height - 1):
        beside = filled[row, 0]
        for column in range(1, width - 1):
            lowest = min(min(filled[row, column], filled[row - 1, column]), beside)
            beside = max(ranks[row, column], lowest)
            filled[row, column] = beside
    for row in range(height - 2, 0, -1):
        beside = filled[row, width - 1]
        for column in range(width - 2, 0, -1):
            lowest = min(min(filled[row, column], filled[row + 1, column]), beside)
            beside = max(ranks[row, column], lowest)
            filled[row, column] = beside


@compiled
def _unsettled(ranks: Ranks, filled: Ranks) -> int:
    """How many pixels are higher than one of their neighbours asks for; written so that it compiles to vectors."""
    count = 0
    for row in range(1, ranks.shape[0] - 1):
        for column in range(1, ranks.shape[1] - 1):
            vertical = min(filled[row - 1, column], filled[row + 1, column])
            horizontal = min(filled[row, column - 1], filled[row, column + 1])
            count += filled[row, column] > max(ranks[row, column], min(vertical, horizontal))
    return count


@compiled
def _flood(ranks: Ranks, filled: Ranks) -> None:
    """Lower what is unsettled, and around it, until nothing is."""
    queue = [0 for _ in range(0)]
    for row in range(1, ranks.shape[0] - 1):
        for column in range(1, ranks.shape[1] - 1):
            vertical = min(filled[row - 1, column], filled[row + 1, column])
            horizontal = min(filled[row, column - 1], filled[row, column + 1])
            lower = max(ranks[row, column], min(vertical, horizontal))
            if lower < filled[row, column]:
                filled[row, column] = lower
                queue.append(row << 16 | column)
    head = 0
    while head < len(queue):
        row, column = queue[head] >> 16, queue[head] & 0xFFFF
        head += 1
        own = filled[row, column]
        for step in range(4):
            one, other = row + (step == 1) - (step == 0), column + (step == 3) - (step == 2)
            if filled[one, other] > own and filled[one, other] > ranks[one, other]:
                filled[one, other] = max(own, ranks[one, other])
                queue.append(one << 16 | other)
