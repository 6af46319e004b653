"""MATLAB files, against those that scipy writes and against bytes laid down by hand."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from boxless.data.matlab import numbers_in, read_matlab, structs
from boxless.errors import DataError

NUMBERS = np.arange(6).reshape(2, 3)


def saved(path: Path, *, compressed: bool = False, **variables: object) -> Path:
    savemat(path, variables, do_compression=compressed)
    return path


def element(kind: int, contents: bytes, order: str) -> bytes:
    """A tag and what belongs to it, in the short form if that fits."""
    if len(contents) <= 4:
        return struct.pack(f"{order}I", len(contents) << 16 | kind) + contents.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(contents)) + contents + bytes(-len(contents) % 8)


def matrix(kind: int, shape: tuple[int, ...], rest: bytes, order: str, name: str = "") -> bytes:
    flags = element(6, struct.pack(f"{order}II", kind, 0), order)
    dimensions = element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return element(14, flags + dimensions + element(1, name.encode(), order) + rest, order)


def header(order: str) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x100) + (b"IM" if order == "<" else b"MI")


@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_of_every_kind_have_their_shape(tmp_path: Path, compressed: bool) -> None:
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    variables = {f"v_{kind}": NUMBERS.astype(kind) for kind in kinds}
    path = saved(tmp_path / "a.mat", compressed=compressed, **variables, solid=np.arange(24.0).reshape(2, 3, 4))
    for name in variables:
        np.testing.assert_array_equal(read_matlab(path, name), NUMBERS)
    np.testing.assert_array_equal(read_matlab(path, "solid"), np.arange(24.0).reshape(2, 3, 4))


@pytest.mark.parametrize("compressed", [False, True])
def test_texts_cells_and_structs_lie_in_one_another(tmp_path: Path, compressed: bool) -> None:
    cells = np.empty((1, 3), dtype=object)
    cells[0, 0], cells[0, 1], cells[0, 2] = NUMBERS, "straße", np.array([["inside", 5.0]], dtype=object)
    fields = np.empty((1, 2), dtype=[("im", object), ("boxes", object)])
    fields[0, 0], fields[0, 1] = ("car1", np.uint16([[1, 2, 3, 4]])), ("car2", np.zeros((0, 4)))
    path = saved(tmp_path / "a.mat", compressed=compressed, cells=cells, fields=fields, text="hello")
    assert read_matlab(path, "text") == "hello"
    numbers, text, inner = read_matlab(path, "cells")
    np.testing.assert_array_equal(numbers, NUMBERS)
    assert (text, inner[0], inner[1].item()) == ("straße", "inside", 5.0)
    found = list(structs(path, "fields"))
    assert [name for name, _ in found] == ["car1", "car2"]
    assert [numbers_in(value, 4, "") for _, value in found] == [[[1, 2, 3, 4]], []]


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_that_matlab_stores_as_small_integers_in_either_order_of_bytes(tmp_path: Path, order: str) -> None:
    """What MATLAB does to save space, and scipy does not."""
    variable = matrix(6, (1, 4), element(4, struct.pack(f"{order}4H", 1, 300, 3, 4), order), order, "coor")
    short = matrix(6, (1, 3), element(2, bytes([7, 8, 9]), order), order, "b")
    path = tmp_path / "a.mat"
    path.write_bytes(header(order) + variable + short)
    np.testing.assert_array_equal(read_matlab(path, "coor"), [[1, 300, 3, 4]])
    np.testing.assert_array_equal(read_matlab(path, "b"), [[7, 8, 9]])


def test_numbers_must_have_their_columns() -> None:
    assert numbers_in(np.zeros((0, 0)), 4, "") == []
    assert numbers_in(np.ones((4, 1)), 4, "") == [[1, 1, 1, 1]]
    for wrong in (np.ones((4, 2)), np.ones((2, 3)), "text", [np.ones((1, 4))]):
        with pytest.raises(DataError, match="place: expected rows of 4 numbers"):
            numbers_in(wrong, 4, "place")


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with pytest.raises(DataError, match=r"a\.mat: cannot be read \(No such file"):
        read_matlab(path, "a")
    for contents, message in (
        (b"", "is no file of MATLAB 5 to 7"),
        (b"MATLAB 7.3 MAT-file".ljust(512), "is of MATLAB 7.3, .* option -v7"),
        (header("<"), "has no variable 'a'"),
        (header("<") + matrix(16, (1, 1), b"", "<", "a"), r"cannot be read \(a matrix of kind 16\)"),
        (header("<") + matrix(1, (1 << 30, 1 << 30), b"", "<", "a"), "elements in 0 bytes"),
        (header("<") + matrix(6, (2, 2), element(9, bytes(8), "<"), "<", "a"), "1 numbers where 4 were expected"),
        (header("<") + element(15, b"no such stream of bytes", "<"), "incorrect header check"),
        (header("<") + matrix(6, (1,) * 70, element(2, b"1", "<"), "<", "a"), "cannot be read"),
    ):
        path.write_bytes(contents)
        with pytest.raises(DataError, match=message):
            read_matlab(path, "a")


def test_cells_nested_without_end_are_refused(tmp_path: Path) -> None:
    inner = matrix(6, (1, 1), element(2, b"1", "<"), "<")
    for _ in range(50):
        inner = matrix(1, (1, 1), inner, "<", "a")
    (tmp_path / "a.mat").write_bytes(header("<") + inner)
    with pytest.raises(DataError, match="too deep"):
        read_matlab(tmp_path / "a.mat", "a")


def test_damaged_bytes_raise_nothing_else(tmp_path: Path) -> None:
    fields = np.empty((1, 2), dtype=[("im", object), ("boxes", object)])
    fields[0, 0], fields[0, 1] = ("car1", np.uint16([[1, 2, 3, 4]])), ("car2", np.uint16([[1, 2, 3, 4]] * 2))
    generator, path, read = random.Random(0), tmp_path / "a.mat", 0
    for compressed in (False, True):
        whole = saved(path, compressed=compressed, a=fields).read_bytes()
        for _ in range(300):
            damaged = bytearray(whole[: generator.randrange(130, len(whole) + 1)])
            for _ in range(generator.randrange(1, 5)):
                damaged[generator.randrange(124, len(damaged))] = generator.choice((0, 1, 127, 255))
            path.write_bytes(bytes(damaged))
            with suppress(DataError):
                list(structs(path, "a"))
                read += 1
    assert read < 300
