"""Geometry of boxes: xyxy floats, half-open, so that a width is ``x1 - x0`` with nothing added.

A box without area (empty, or with its ends swapped) overlaps nothing: its IoU is 0, with itself too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Boxes = NDArray[np.float64]


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of each box of ``a`` (n, 4) with each of ``b`` (m, 4), as (n, m).

    Raises:
        DataError: Not arrays of four columns.
    """
    first, second = _boxes(a), _boxes(b)
    # As (m, n): metrics ask for a thousand boxes against one or two, and numpy is fast along the last axis only.
    x0, y0, x1, y1 = np.ascontiguousarray(first.T)
    u0, v0, u1, v1 = (second[:, i, None] for i in range(4))
    width = np.minimum(x1, u1) - np.maximum(x0, u0)
    height = np.minimum(y1, v1) - np.maximum(y0, v0)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    one, other = _area(first), _area(second)[:, None]
    empty = (one == 0) | (other == 0)
    overlap: NDArray[np.float64] = np.where(empty, 0, common) / np.where(empty, 1, one + other - common)
    return overlap.T


def scale(boxes: ArrayLike, source: tuple[float, float], target: tuple[float, float]) -> Boxes:
    """Carry boxes (n, 4) from an image of size ``source`` to the same image at size ``target``, both (width, height).

    Raises:
        DataError: Not an array of four columns, or a side of ``source`` that is not positive.
    """
    if min(source) <= 0:
        raise DataError(f"scale: got the source size {source}; width and height must be positive.")
    # Dividing last keeps an edge that lies on the border of the source exactly on the border of the target.
    scaled: Boxes = _boxes(boxes) * np.array(target * 2, dtype=np.float64) / np.array(source * 2, dtype=np.float64)
    return scaled


def clip(boxes: ArrayLike, size: tuple[float, float]) -> Boxes:
    """Cut off what of boxes (n, 4) lies outside an image of ``size`` (width, height).

    A box that lies wholly outside is left with no area, on the border.

    Raises:
        DataError: Not an array of four columns.
    """
    clipped: Boxes = np.clip(_boxes(boxes), 0, np.array(size * 2, dtype=np.float64))
    return clipped


def suppress(boxes: ArrayLike, scores: ArrayLike, limit: float, groups: ArrayLike | None = None) -> NDArray[np.int64]:
    """Non-maximum suppression: which boxes (n, 4) are left, highest score first.

    A box is left out if its IoU with one that is kept is above ``limit``. Of equal scores the first box comes first.

    Args:
        boxes: What to choose from.
        scores: (n,) of each.
        limit: The IoU, in [0, 1].
        groups: (n,) of each; boxes of different groups, such as classes, do not compete.

    Raises:
        DataError: Not an array of four columns, or as many scores or groups as boxes are not given.
    """
    given, values = _boxes(boxes), np.asarray(scores, np.float64)
    kinds = np.zeros(len(given), np.int64) if groups is None else np.asarray(groups)
    if values.shape != (len(given),) or kinds.shape != (len(given),):
        raise DataError(f"suppress: got {values.shape} scores and {kinds.shape} groups for {len(given)} boxes.")
    left = np.argsort(-values, kind="stable")
    kept: list[int] = []
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        rival = (iou(given[[best]], given[left])[0] > limit) & (kinds[left] == kinds[best])
        left = left[~rival]
    return np.array(kept, dtype=np.int64)


def _boxes(given: ArrayLike) -> Boxes:
    boxes = np.asarray(given, dtype=np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes: got shape {boxes.shape}; boxes are (n, 4), each x0, y0, x1, y1.")
    return boxes


def _area(boxes: Boxes) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    return area
