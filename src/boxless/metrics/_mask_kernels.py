"""The loop over the pixels of one map and its mask, compiled as those of `boxless.ops` are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxless.ops._numba import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@compiled
def histograms(values: Floats, kinds: NDArray[np.uint8], edges: Floats) -> Counts:
    """How many pixels of each kind reach just so many edges, (3, len(edges) + 1).

    As in `boxless.ops._pixel_kernels.rank`, edges and pixels are put into cells by one monotone function, so that a
    pixel is compared with the edges of its own cell alone: it reaches all in lower cells and none in higher ones.

    Args:
        values: The pixels of a map in [0, 1], in a row.
        kinds: The kind of each, 0, 1 or 2.
        edges: Strictly ascending, in [0, 1].
    """
    cells = 4 * len(edges)
    below = np.zeros(cells + 1, dtype=np.int64)  # below[i]: number of edges in cells lower than i
    for edge in edges:
        below[min(int(edge * cells), cells - 1) + 1] += 1
    for cell in range(cells):
        below[cell + 1] += below[cell]
    padded = np.append(edges, 2.0)  # which no pixel reaches
    counts = np.zeros(3 * len(padded), dtype=np.int64)
    for place in range(len(values)):
        value = values[place]
        own = np.uint64(min(int(value * cells), cells - 1))  # unsigned, as numba then asks nothing of an index
        low = below[own]
        low += padded[low] <= value  # mostly all that is to be done, and without a branch
        if padded[low] <= value:
            high = below[own + np.uint64(1)]
            while low < high:
                middle = (low + high) >> 1
                if edges[middle] <= value:
                    low = middle + 1
                else:
                    high = middle
        counts[np.uint64(3 * low + kinds[place])] += 1
    return counts.reshape(-1, 3).T
