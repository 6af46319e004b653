"""Variables of MATLAB files, as several data sets keep their annotations.

Read here and not by scipy, whose reader ends the whole process over some damaged files. The format is level 5 of
"MAT-File Format" by MathWorks, which MATLAB 5 to 7 write: elements that begin with a tag, some of them compressed, some
of them nested.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxless.errors import DataError

Value = NDArray[np.float64] | str | list["Value"] | list[dict[str, "Value"]]  # numbers, text, cells or structs

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # of an element
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_WIDE = (4, 17, 18)
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)  # kinds of matrices
_HEADER = 128  # bytes
_DEEPEST = 8  # matrices in matrices
_MOST = 1 << 28  # bytes that one variable may unpack to


class _DamagedError(ValueError):
    """What is found is no such element."""


def read_matlab(path: Path, name: str) -> Value:
    """One variable of a ``.mat`` file of MATLAB 5 to 7.

    Numbers are an array of the variable's shape, cells a list and structs a list of their fields, both in the order in
    which MATLAB counts them.

    Raises:
        DataError: The file is missing, cannot be read, or has no such variable.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); unpack the data set's archives again.") from error
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise DataError(f"{path}: is of MATLAB 7.3, which is not read here; save it in MATLAB with the option -v7.")
    order = {b"IM": "<", b"MI": ">"}.get(data[_HEADER - 2 : _HEADER])
    if order is None:
        raise DataError(
            f"{path}: is no file of MATLAB 5 to 7; copy it again, or save it in MATLAB with the option -v7."
        )
    try:
        for element in _Elements(data[_HEADER:], order):
            found = _variable(*element, order, name)
            if found is not None:
                return found
    except (ValueError, OverflowError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: the variable {name!r} cannot be read ({error}); copy the file again.") from error
    raise DataError(f"{path}: has no variable {name!r}; this is another file than expected.")


def structs(path: Path, name: str) -> Iterator[tuple[str, Value]]:
    """Structs whose first field is a text: that text, and what the second field holds."""
    found = read_matlab(path, name)
    for number, element in enumerate(found if isinstance(found, list) else [found], start=1):
        fields = list(element.values()) if isinstance(element, dict) else []
        if len(fields) < 2 or not isinstance(fields[0], str):
            raise DataError(
                f"{path}: element {number} of {name!r} is no struct of a text and something else; copy the file again."
            )
        yield fields[0], fields[1]


def numbers_in(value: Value, columns: int, where: str) -> list[list[float]]:
    """Rows of so many numbers, or the only row written as a column; none of an empty array.

    Raises:
        DataError: They are no such numbers; the message begins with ``where``.
    """
    if isinstance(value, np.ndarray) and (not value.size or columns in (value.shape[-1], value.size)):
        rows: list[list[float]] = value.reshape(-1, columns).tolist()
        return rows
    raise DataError(f"{where}: expected rows of {columns} numbers; copy the file again.")


class _Elements:
    """The elements that follow one another in some bytes: the kind and the contents of each."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.place = data, order, 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while self.left:
            yield self.take()

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def take(self, *kinds: int) -> tuple[int, bytes]:
        """The next element, which must be of one of these kinds if any are given."""
        kind, length = struct.unpack_from(f"{self.order}II", self.data, self.place)
        start = self.place + 8
        if kind >> 16:  # a short one, whose contents lie in the tag
            kind, length, start = kind & 0xFFFF, kind >> 16, self.place + 4
        contents = self.data[start : start + length]
        if len(contents) < length or (kinds and kind not in kinds):
            raise _DamagedError("an element is cut off" if len(contents) < length else f"an element of kind {kind}")
        # Elements begin at multiples of 8 bytes, save after a compressed one.
        end = start + length if kind == _COMPRESSED else self.place + 8 * math.ceil((start - self.place + length) / 8)
        self.place = min(end, len(self.data))
        return kind, contents

    def numbers(self) -> NDArray[np.float64]:
        kind, contents = self.take(*_NUMBERS)
        kind_of = np.dtype(f"{self.order}{_NUMBERS[kind]}")
        if len(contents) % kind_of.itemsize:
            raise _DamagedError("a number is cut off")
        return np.frombuffer(contents, kind_of).astype(np.float64)

    def text(self) -> str:
        """Of characters of any width."""
        kind, contents = self.take(*_TEXTS)
        wide = kind in _WIDE
        return contents.decode(_TEXTS[kind] + (("-le" if self.order == "<" else "-be") if wide else ""))


def _variable(kind: int, contents: bytes, order: str, name: str) -> Value | None:
    """The value of a variable of that name; None if this element is another one."""
    if kind == _COMPRESSED:
        unpacked = zlib.decompressobj().decompress(contents, _MOST)
        kind, contents = _Elements(unpacked, order).take()
    if kind != _MATRIX:
        return None
    found, value = _matrix(contents, order, 0, name)
    return value if found == name else None


def _matrix(contents: bytes, order: str, depth: int, wanted: str | None = None) -> tuple[str, Value]:
    """The name and the value of a matrix; the value of one that is not wanted is left unread."""
    if not contents:
        return "", np.zeros((0, 0))
    if depth > _DEEPEST:
        raise _DamagedError("matrices lie too deep in one another")
    elements = _Elements(contents, order)
    flags, shape = elements.numbers(), [int(each) for each in elements.numbers()]
    name = elements.text()
    if wanted not in (None, name):
        return name, ""
    if not flags.size or len(shape) < 2 or min(shape) < 0:
        raise _DamagedError("a matrix without a shape")
    kind, count = int(flags[0]) & 0xFF, math.prod(shape)
    if kind == _CHAR:
        return name, elements.text() if count else ""
    if kind in _NUMERIC:
        numbers = elements.numbers() if count else np.zeros(0)
        if numbers.size != count:
            raise _DamagedError(f"{numbers.size} numbers where {count} were expected")
        return name, numbers.reshape(shape, order="F")
    if kind == _CELL:
        return name, [_matrix(each, order, depth + 1)[1] for each in _matrices(elements, count)]
    if kind == _STRUCT:
        return name, _fields(elements, count, order, depth)
    raise _DamagedError(f"a matrix of kind {kind}")


def _matrices(elements: _Elements, count: int) -> list[bytes]:
    if count > elements.left // 8:  # the least that an element takes
        raise _DamagedError(f"{count} elements in {elements.left} bytes")
    return [elements.take(_MATRIX)[1] for _ in range(count)]


def _fields(elements: _Elements, count: int, order: str, depth: int) -> list[dict[str, Value]]:
    length, texts = elements.numbers(), elements.text()
    step = int(length[0]) if length.size else 0
    if step < 1:
        raise _DamagedError("a struct without names of fields")
    names = [texts[place : place + step].split("\0")[0] for place in range(0, len(texts), step)]
    values = [_matrix(each, order, depth + 1)[1] for each in _matrices(elements, count * len(names))]
    return [
        dict(zip(names, values[place : place + len(names)], strict=True))
        for place in range(0, count * len(names), len(names) or 1)
    ]
