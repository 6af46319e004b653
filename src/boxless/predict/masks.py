"""Masks of found objects at the size of their image: run lengths, and pictures with one colour for each class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.ops._numba import compiled
from boxless.ops.run_lengths import changes, packed, paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from boxless.types import Prediction

    Bools = NDArray[np.bool_]
    Integers = NDArray[np.int64]
    Size = tuple[int, int]  # width and height

_STRIP = 1 << 22  # pixels that are resized at once


def cells_of(values: NDArray[np.float32], cut: float, box: Sequence[float]) -> Bools:
    """The cells of the component that a box was made from: (h, w), all False if there is none.

    Args:
        values: (h, w) map.
        cut: What the component's cells are above, in values of the map.
        box: Of the component, in cells, half-open, as `boxless.ops.components` gives it.
    """
    cells = np.zeros(values.shape, dtype=np.uint8)
    x0, y0, x1, y1 = (round(edge) for edge in box)
    if x1 > x0 and y1 > y0:
        _fill(values.astype(np.float64) > cut, x0, y0, x1, y1, cells)
    whole: Bools = cells == _WHOLE
    return whole


def mask_of(values: NDArray[np.float32], cut: float, cells: Bools, size: Size) -> str:
    """The mask of an object at the size of its image, as packed run lengths.

    The map is resized bilinearly and cut. Of what is above the cut the object gets what lies on its own cells, or on
    background beside them, within the bounds of its cells: so the mask lies in the object's box, and on no cell of
    another object. Where nothing is left, the mask is the pixel at the middle of the object's highest cell. At no
    time is more than a strip of the image in memory.

    Args:
        values: (h, w) map.
        cut: Above it is foreground, in values of the map.
        cells: (h, w) the cells of the object.
        size: Of the image.

    Raises:
        DataError: The object has no cell.
    """
    if not cells.any():
        raise DataError("mask: the object has no cell; there is nothing to make a mask of.")
    places, inside = [], False
    for first, shown in _strips(values, cut, cells, size):
        places.append(changes(shown.ravel(), before=inside) + first * size[1])
        inside = bool(shown[-1, -1])
        end = (first + len(shown)) * size[1]
    if not any(map(len, places)):
        pixel = _middle(np.where(cells, values, -1), size)
        places, inside, end = [np.array([pixel])], True, pixel + 1
    if inside:
        places.append(np.array([end]))
    return packed(np.concatenate(places), size[0] * size[1])


def write_mask(prediction: Prediction, path: Path, classes: int) -> None:
    """Write the masks of a prediction as one PNG of the size of its image, whole or not at all.

    A pixel is 0 where there is no object, and else its object's class index + 1, as ``category_id`` in COCO files; of
    objects that overlap, of two classes, the one with the higher score is on top. The picture has a palette, so that
    viewers show classes as colours; with more than 255 classes it is of 16 bits and has none.

    Raises:
        DataError: A box has no mask; predict with masks.
        RunError: It cannot be written.
    """
    canvas = np.zeros(prediction.size[::-1], dtype=np.uint8 if classes < 256 else np.uint16)
    for box in sorted(prediction.boxes, key=lambda each: each.score):
        if box.mask is None:
            raise DataError(f"{prediction.name}: a box has no mask; predict it again, with masks.")
        paint(canvas, box.mask, box.label_index + 1)
    picture = Image.fromarray(canvas)
    if classes < 256:
        picture.putpalette(_palette())
    with atomic_write(path, "wb") as file:
        picture.save(file, "PNG")


def class_colour(index: int) -> tuple[int, int, int]:
    """The colour of pixels of value ``index`` as Pascal VOC has it: the index' bits, spread over the high bits."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def _palette() -> list[int]:
    return [value for index in range(256) for value in class_colour(index)]


def _strips(values: NDArray[np.float32], cut: float, cells: Bools, size: Size) -> Iterator[tuple[int, Bools]]:
    """The object in a few columns of the image after the other: the first column, and (columns, image height)."""
    width, height = size
    own = _bounded(cells) & _beside(cells) & (cells | (values <= cut))
    row_of, column_of = _cell_of(height, len(values)), _cell_of(width, values.shape[1])
    rows, columns = (_span(np.any(cells, axis)[of]) for axis, of in ((1, row_of), (0, column_of)))
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    step = max(1, _STRIP // height)
    for start in range(columns.start, columns.stop if rows else 0, step):
        part = range(start, min(start + step, columns.stop))
        above = np.greater(_resized(picture, part, rows, size), cut)
        shown = np.zeros((len(part), height), dtype=bool)  # columns first, as they are counted
        shown[:, rows.start : rows.stop] = (above & own[np.ix_(row_of[rows], column_of[part])]).T
        yield start, shown


def _middle(values: NDArray[np.float32], size: Size) -> int:
    """The pixel in which the centre of the highest cell lies, counted column by column."""
    y, x = divmod(int(values.argmax()), values.shape[1])
    column, row = (2 * x + 1) * size[0] // (2 * values.shape[1]), (2 * y + 1) * size[1] // (2 * len(values))
    return int(column * size[1] + row)


def _span(inside: Any) -> range:
    """From the first to the last."""
    places = np.flatnonzero(inside)
    return range(int(places[0]), int(places[-1]) + 1) if len(places) else range(0)


def _cell_of(pixels: int, cells: int) -> Integers:
    """The cell in which the centre of each pixel lies, along one side."""
    return (2 * np.arange(pixels) + 1) * cells // (2 * pixels)


def _bounded(cells: Bools) -> Bools:
    """All within the bounds of the cells."""
    rows, columns = (_span(np.any(cells, axis)) for axis in (1, 0))
    bounds = np.zeros_like(cells)
    bounds[rows.start : rows.stop, columns.start : columns.stop] = True
    return bounds


def _beside(cells: Bools) -> Bools:
    """The cells and their eight neighbours."""
    framed = np.pad(cells, 1)
    tall = framed[:-2] | framed[1:-1] | framed[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def _resized(picture: Image.Image, columns: range, rows: range, size: Size) -> NDArray[np.float32]:
    """A part of the map as it is at the size of the image; at its border what lies beyond has its say too."""
    across, down = picture.width / size[0], picture.height / size[1]
    right, bottom = min(columns.stop * across, picture.width), min(rows.stop * down, picture.height)  # but for rounding
    box = (columns.start * across, rows.start * down, right, bottom)
    return np.asarray(picture.resize((len(columns), len(rows)), Image.Resampling.BILINEAR, box=box))


_REACHED, _WHOLE = 1, 2


@compiled
def _fill(above: Bools, x0: int, y0: int, x1: int, y1: int, cells: NDArray[np.uint8]) -> None:
    """Mark with ``_WHOLE`` the component whose bounds are the box.

    There is one at most: two 8-connected components cannot both reach all four sides of one box, since they would meet.
    """
    height, width = above.shape
    queue = np.empty(above.size, dtype=np.int64)
    for x in range(x0, x1):
        if not above[y0, x] or cells[y0, x] != 0:
            continue
        cells[y0, x], queue[0] = _REACHED, y0 * width + x
        done, found = 0, 1
        left, top, right, bottom = x, y0, x, y0
        while done < found:
            row, column = queue[done] // width, queue[done] % width
            done += 1
            left, right, top, bottom = min(left, column), max(right, column), min(top, row), max(bottom, row)
            for i in range(max(row - 1, 0), min(row + 2, height)):
                for j in range(max(column - 1, 0), min(column + 2, width)):
                    if above[i, j] and cells[i, j] == 0:
                        cells[i, j], queue[found] = _REACHED, i * width + j
                        found += 1
        if left == x0 and top == y0 and right == x1 - 1 and bottom == y1 - 1:
            for place in queue[:found]:
                cells[place // width, place % width] = _WHOLE
