"""The neighbourhood of a pixel, as tables over masks of its eight neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Groups = NDArray[np.int8]

# The eight neighbours, in raster order: bit i of a mask is neighbour i.
ROWS = np.array([-1, -1, -1, 0, 0, 1, 1, 1], dtype=np.int64)
COLUMNS = np.array([-1, 0, 1, -1, 1, -1, 0, 1], dtype=np.int64)


def _groups(diagonals: bool) -> Groups:
    """For each mask of neighbours, one neighbour of each group that is connected already; -1 fills up.

    Neighbours that touch each other are in one component before the pixel between them is added. So at most four of
    the eight, and for most pixels one, must be looked up.

    Args:
        diagonals: Whether pixels connect by their corners too.
    """
    steps = abs(ROWS[:, None] - ROWS) + abs(COLUMNS[:, None] - COLUMNS)
    if diagonals:
        steps = np.maximum(abs(ROWS[:, None] - ROWS), abs(COLUMNS[:, None] - COLUMNS))
    touching = [sum(1 << other for other in range(8) if steps[one, other] <= 1) for one in range(8)]
    adjacent = 0b11111111 if diagonals else 0b01011010
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
            rest &= ~group
            if group & adjacent:  # else a corner that the pixel does not touch
                table[mask, found] = (group & adjacent & -(group & adjacent)).bit_length() - 1
                found += 1
    return table


def _half_squares() -> Bytes:
    """In how many of the four squares of 2 x 2 pixels around a pixel two others are there already.

    The outline of a component without holes is a polygon through pixel centres. It covers of each such square the
    whole if all four pixels are in, half if three are (they form a triangle), and nothing if fewer are.
    """
    squares = (0b00001011, 0b00010110, 0b01101000, 0b11010000)
    counts = [sum((mask & square).bit_count() >= 2 for square in squares) for mask in range(256)]
    return np.array(counts, dtype=np.uint8)


EIGHT, FOUR = _groups(True), _groups(False)
# What a pixel adds to the size of its component, by the mask of the neighbours that are there already.
ONE_EACH = np.ones(256, dtype=np.uint8)  # size is the number of pixels
HALF_SQUARES = _half_squares()  # size is twice the area of the outline through the outer pixels' centres
