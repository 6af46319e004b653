"""Masks as run lengths, packed as COCO has them (``maskApi.c`` of pycocotools).

Pixels are counted column by column, and runs of background and object take turns, beginning with background. From the
fourth on what is written is the difference to the run before the last. A character holds five bits of a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError
from boxless.ops._numba import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Integers = NDArray[np.int64]
    Size = tuple[int, int]  # width and height

_FIRST = 48  # the character of five zero bits; the 63 after it follow
_SIGN, _MORE = 0x10, 0x20  # bits of a character: the number is negative, another character of it follows
_LONGEST = 7  # characters of a number; an image has less than 2^32 pixels


def encode(mask: Bools) -> str:
    """The packed run lengths (COCO's compressed ``counts``) of a mask (h, w).

    Raises:
        DataError: Not (h, w), or without a pixel.
    """
    if mask.ndim != 2 or not mask.size:
        raise DataError(f"mask: got shape {mask.shape}; a mask is (height, width), with at least one pixel.")
    flat = np.asarray(mask, dtype=bool).T.ravel()
    return packed(changes(flat, before=False), flat.size)


def decode(counts: str, size: Size) -> Bools:
    """The mask (h, w) of packed run lengths, for an image of ``size``.

    Raises:
        DataError: Characters that run lengths do not have, or not as many pixels as the image has.
    """
    canvas = np.zeros(size[::-1], dtype=np.uint8)
    paint(canvas, counts, 1)
    return canvas.astype(bool)


def area(counts: str, size: Size) -> int:
    """How many pixels the object has; arguments and errors as of `decode`."""
    return int(_runs(counts, size)[1::2].sum())


def paint(canvas: NDArray[Any], counts: str, value: int) -> None:
    """Set the object's pixels of a canvas (h, w) to a value; errors as of `decode`."""
    _paint(canvas, _runs(counts, canvas.shape[::-1]), value)


def changes(flat: Bools, *, before: bool) -> Integers:
    """Where a pixel differs from the one before it; ``before`` is the one before the first."""
    places = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.concatenate([np.zeros(int(flat[0] != before), dtype=np.int64), places])


def packed(changes: Integers, total: int) -> str:
    """The packed run lengths of ``total`` pixels that change at these places; background comes first."""
    runs = np.diff(np.concatenate([[0], changes, [total]]))
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    characters = bytearray()
    for number in numbers.tolist():
        more = True
        while more:
            bits = number & 0x1F
            number >>= 5  # keeps the sign
            more = number != (-1 if bits & _SIGN else 0)
            characters.append(_FIRST + (bits | (_MORE if more else 0)))
    return characters.decode("ascii")


def _runs(counts: str, size: Size) -> Integers:
    """Run lengths, the first of background."""
    codes = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - _FIRST
    ends = np.flatnonzero(codes & _MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    known = len(codes) and codes.min() >= 0 and codes.max() < 64 and ends.size and ends[-1] == len(codes) - 1
    if not known or (ends - starts).max() >= _LONGEST:
        raise DataError(f"mask: {counts[:40]!r} are not packed run lengths, as COCO has them.")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    runs -= np.where(codes[ends] & _SIGN, 1 << (5 * (place[ends] + 1)), 0)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    if runs.min() < 0 or runs.sum() != size[0] * size[1]:
        raise DataError(f"mask: {runs.sum():,} pixels in all, for an image of {size[0]} x {size[1]}.")
    return runs


@compiled
def _paint(canvas: NDArray[np.uint8], runs: Integers, value: int) -> None:
    """Set the pixels of the object: every second run, counted column by column."""
    height, place = canvas.shape[0], 0
    for number in range(len(runs)):
        if number % 2:
            for pixel in range(place, place + runs[number]):
                canvas[pixel % height, pixel // height] = value
        place += runs[number]
