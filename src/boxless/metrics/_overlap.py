"""Loops over boxes, compiled as those of `boxless.ops` are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxless.ops._numba import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@compiled
def best_overlaps(boxes: Floats, truth: Floats, extra: float) -> Floats:
    """The IoU of each box (n, 4) with the true box (m, 4) that it fits best; 0 for one without an area.

    Args:
        boxes: Predicted boxes.
        truth: True boxes, at least one.
        extra: What is added to every width and height: 0, or 1 where the last pixel counts.
    """
    best = np.zeros(len(boxes))
    for i in range(len(boxes)):
        width, height = boxes[i, 2] - boxes[i, 0] + extra, boxes[i, 3] - boxes[i, 1] + extra
        if width <= 0 or height <= 0:
            continue
        for j in range(len(truth)):
            right, left = min(boxes[i, 2], truth[j, 2]), max(boxes[i, 0], truth[j, 0])
            lower, upper = min(boxes[i, 3], truth[j, 3]), max(boxes[i, 1], truth[j, 1])
            common = max(right - left + extra, 0.0) * max(lower - upper + extra, 0.0)
            if common > 0:
                other = (truth[j, 2] - truth[j, 0] + extra) * (truth[j, 3] - truth[j, 1] + extra)
                best[i] = max(best[i], common / (width * height + other - common))
    return best


@compiled
def highest_over(values: Floats, lowest: Places, highest: Places, count: int) -> Floats:
    """For each place from 0 to ``count - 1`` the highest of the values whose range covers it; 0 if none does.

    A range is covered by two overlapping ones of a power of two, so each value costs the same, however long its range.
    """
    steps = 1
    while 1 << steps <= count:
        steps += 1
    table = np.zeros((steps, count))
    for i in range(len(values)):
        step = 0
        while 2 << step <= highest[i] - lowest[i] + 1:
            step += 1
        for place in (lowest[i], highest[i] - (1 << step) + 1):
            table[step, place] = max(table[step, place], values[i])
    for step in range(steps - 1, 0, -1):
        half = 1 << (step - 1)
        for place in range(count - half):
            table[step - 1, place] = max(table[step - 1, place], table[step, place])
            table[step - 1, place + half] = max(table[step - 1, place + half], table[step, place])
    found: Floats = table[0]
    return found
