"""Box accuracy as ``wsolevaluation`` computes it, for figures that must equal published ones to the last digit.

https://github.com/clovaai/wsolevaluation (Choe et al., CVPR 2020) quantises a map to 256 levels, takes OpenCV's
contours above each of them, and counts pixels in: its boxes are one pixel too wide unless they end at the border, and
its IoU adds one to widths and heights. Its candidates are the outlines of components and also those of the holes in
them; one box is that of the largest polygon, whose area is that inside the line through the outer pixels' centres.

How that comes out of a component tree. The outline of a component that lies in no hole is that of the component with
its holes filled; filling the holes at all levels at once is one reconstruction (`fill`), after which each pixel adds a
known number of half squares to the polygon's area. A hole is a component of the background by its four neighbours that
does not reach the frame, and its outline runs one pixel outside it. OpenCV lists the contours of one parent from the
bottom up, so among equal areas that with the last first pixel is "the first". A component inside a hole is always
smaller than the one around it; a hole is never larger than its component, and comes after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError
from boxless.metrics._overlap import best_overlaps, highest_over
from boxless.ops import _kernels, _pixel_kernels
from boxless.ops._neighbourhood import EIGHT, FOUR, HALF_SQUARES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVELS = 255  # the highest quantised value
OUTSIDE = 32767  # a rank above all others


def check_corners(boxes: Floats, where: str) -> Floats:
    """True boxes (n, 4) as they are.

    Raises:
        DataError: A negative coordinate, which wsolevaluation refuses too; the message begins with ``where``.
    """
    if (boxes < 0).any():
        raise DataError(
            f"{where}: got {boxes.min():g}; in the wsolevaluation rule coordinates are not negative. Clip them."
        )
    return boxes


def on_grid(boxes: Floats, size: tuple[float, float], grid: tuple[int, int]) -> Floats:
    """True boxes (n, 4) on the map's grid, both sizes (width, height); truncated, as wsolevaluation does."""
    return np.trunc(boxes * np.array(grid * 2, dtype=np.float64) / np.array(size * 2, dtype=np.float64))


def curve(values: Floats, truth: Floats, thresholds: Floats, *, every: bool) -> Floats:
    """The best IoU of a map (h, w) with any true box on its grid, at each threshold.

    Args:
        values: The map, in [0, 1].
        truth: (n, 4), as `on_grid` gives them.
        thresholds: Fractions of the quantised map's maximum.
        every: Whether all contours are candidates, not the largest only.
    """
    image = (values * LEVELS).astype(np.uint8)
    peak = int(image.max())
    if peak == 0:  # no contour: one box that is a single pixel in the corner
        return np.full(len(thresholds), best_overlaps(np.zeros((1, 4)), truth, 1.0)[0])
    by_level = _every(image, truth) if every else _largest(image, truth)
    return by_level[(thresholds * peak).astype(np.int64)]


def _largest(image: NDArray[np.uint8], truth: Floats) -> Floats:
    ranks = np.pad(image.astype(np.int16), 1)
    _pixel_kernels.fill(ranks)
    boxes, areas = np.zeros((LEVELS, 4)), np.zeros(LEVELS, dtype=np.int64)
    _kernels.sweep(ranks, HALF_SQUARES, True, boxes, areas)
    return best_overlaps(_clipped(boxes, image.shape), truth, 1.0)


def _every(image: NDArray[np.uint8], truth: Floats) -> Floats:
    solid = _kernels.trace(np.pad(image.astype(np.int16), 1), LEVELS, EIGHT)
    background = np.pad(LEVELS + 1 - image.astype(np.int16), 1, constant_values=OUTSIDE)
    holes = _kernels.trace(background, LEVELS + 1, FOUR)
    holes = holes[holes[:, _kernels.TOP] > 0]
    sides = [_kernels.LEFT, _kernels.TOP, _kernels.RIGHT, _kernels.BOTTOM]
    boxes = np.concatenate([solid[:, sides] - [1, 1, 0, 0], holes[:, sides] + [-2, -2, 1, 1]]).astype(np.float64)
    lowest = np.concatenate([solid[:, _kernels.UNTIL], LEVELS - holes[:, _kernels.SINCE]]).astype(np.int64)
    highest = np.concatenate([solid[:, _kernels.SINCE], LEVELS - holes[:, _kernels.UNTIL]]).astype(np.int64)
    return highest_over(best_overlaps(_clipped(boxes, image.shape), truth, 1.0), lowest, highest, LEVELS)


def _clipped(boxes: Floats, shape: tuple[int, ...]) -> Floats:
    """The ends of half-open boxes, taken for last pixels and held inside the map."""
    boxes[:, 2] = np.minimum(boxes[:, 2], shape[1] - 1)
    boxes[:, 3] = np.minimum(boxes[:, 3], shape[0] - 1)
    return boxes
