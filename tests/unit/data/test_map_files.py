from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boxless.data.map_files import find_maps, read_map
from boxless.errors import DataError

RAMP = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)


def save(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, RAMP)
    return folder


def found(folder: Path, *names: str) -> dict[str, str]:
    return {name: path.relative_to(folder).as_posix() for name, path in find_maps(folder, names).items()}


# Finding


def test_maps_are_found_by_name_with_and_without_its_ending_and_flat(tmp_path: Path) -> None:
    save(tmp_path, "val2/0/0.jpeg.npy", "a.b/ü, 1.npy", "flat.png.npy", "short.npy")
    names = ("val2/0/0.jpeg", "a.b/ü, 1.jpg", "deep/down/flat.png", "deep/short.JPEG")
    assert found(tmp_path, *names) == dict(
        zip(names, ("val2/0/0.jpeg.npy", "a.b/ü, 1.npy", "flat.png.npy", "short.npy"), strict=True)
    )
    assert list(find_maps(str(tmp_path), reversed(names))) == list(reversed(names))


def test_surest_place_is_taken_first(tmp_path: Path) -> None:
    save(tmp_path, "a/1.jpg.npy", "a/1.npy", "1.jpg.npy", "1.npy")
    for place in ("a/1.jpg.npy", "a/1.npy", "1.jpg.npy", "1.npy"):
        assert found(tmp_path, "a/1.jpg") == {"a/1.jpg": place}
        (tmp_path / place).unlink()
    with pytest.raises(DataError, match="1 of 1 images have no map"):
        find_maps(tmp_path, ["a/1.jpg"])


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("1.jpg.npy", ("a/1.jpg", "b/1.jpg")),
        ("1.npy", ("a/1.jpg", "b/1.png")),
        ("a/1.npy", ("a/1.jpg", "a/1.png")),
        ("1.npy", ("1.jpg", "b/1.png")),
    ],
)
def test_map_that_could_be_of_two_images_is_taken_for_none(tmp_path: Path, file: str, names: tuple[str, str]) -> None:
    save(tmp_path, file)
    message = rf"{file}: this could be the map of {names[0]}, {names[1]}; .*{names[0]}\.npy and {names[1]}\.npy"
    with pytest.raises(DataError, match=message):
        find_maps(tmp_path, names)
    save(tmp_path, f"{names[0]}.npy")  # the other's is still not sure
    with pytest.raises(DataError, match="this could be the map of"):
        find_maps(tmp_path, names)
    save(tmp_path, f"{names[1]}.npy")
    assert found(tmp_path, *names) == {name: f"{name}.npy" for name in names}


def test_images_without_a_map_are_counted_and_named(tmp_path: Path) -> None:
    save(tmp_path, "a/0.jpg.npy", "other.npy")
    message = (
        r"4 of 5 images have no map there: a/1\.jpg, a/2\.jpg, a/3\.jpg and 1 more\. For the first, a/1\.jpg\.npy or "
        r"a/1\.npy or 1\.jpg\.npy or 1\.npy was looked for; it holds 2 \.npy files \(a/0\.jpg\.npy, other\.npy\)"
    )
    with pytest.raises(DataError, match=message):
        find_maps(tmp_path, [f"a/{i}.jpg" for i in range(5)])


def test_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it holds no \.npy file: save each map with numpy\.save"):
        find_maps(tmp_path, ["a.jpg"])
    with pytest.raises(DataError, match="there is no such folder of maps"):
        find_maps(tmp_path / "gone", ["a.jpg"])


# Reading


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("<f4", "float32"), (">f4", "float32"), ("<f8", "float64"), (">f8", "float64"), ("<f2", "float32")],
)
def test_values_and_precision_are_kept(tmp_path: Path, kind: str, expected: str) -> None:
    values = np.array([[0, 0.1, 1], [0.3, 0.7, 1e-5]], dtype=kind)
    np.save(tmp_path / "a.npy", values)
    read = read_map(tmp_path / "a.npy")
    assert read.dtype == np.dtype(expected)
    assert (read == values).all()


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (1, 1, 2, 3)])
def test_leading_axes_of_one_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(RAMP.reshape(shape)))
    read = read_map(str(tmp_path / "a.npy"))
    assert read.tolist() == RAMP.tolist()
    assert read.flags.c_contiguous


def test_map_of_one_row_keeps_it(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RAMP.reshape(1, 1, 6))
    assert read_map(tmp_path / "a.npy").shape == (1, 6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.reshape(6), r"a\.npy: got shape \(6,\); a map is two-dimensional"),
        (np.zeros((2, 2, 3)), r"a\.npy: got shape \(2, 2, 3\)"),
        (RAMP[..., None], r"a\.npy: got shape \(2, 3, 1\)"),
        (np.float64(0.5), r"a\.npy: got shape \(\)"),
        (np.zeros((0, 3)), r"a\.npy: got shape \(0, 3\).* not empty"),
        (np.array([[0, np.nan]]), r"a\.npy: got nan at row 0, column 1"),
        (np.array([[0, np.inf]]), r"a\.npy: got inf at row 0, column 1"),
        (np.array([[0, 1.5]]), r"a\.npy: got 1\.5 at row 0, column 1 \(it runs from 0\.0 to 1\.5\).*\[0, 1\]"),
        (np.array([[-0.1, 1]]), r"a\.npy: got -0\.1 at row 0, column 0"),
        (np.array([[0, 255]], dtype=np.uint8), r"a\.npy: got whole numbers \(uint8\).*divide by 255"),
        (np.array([[0, 1]]), r"a\.npy: got whole numbers \(int64\)"),
        (np.array([[True, False]]), r"a\.npy: got a mask of true and false \(bool\)"),
        (np.array([[0j, 1]]), r"a\.npy: got an array of type complex128"),
        (np.array([["x"]]), r"a\.npy: got an array of type <U1"),
        (np.array([[None]]), r"a\.npy: .*holds no plain numbers \(Object arrays cannot be loaded"),
    ],
)
def test_what_is_no_map_is_refused_with_the_file(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_map(tmp_path / "a.npy")


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.npy") / "a.npy"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.npy: "):
            read_map(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"0.1 0.2", r"this is not a \.npy file \(it begins with b'0\.1 0\.'\)"),
        (b"PK\x03\x04rest", r"an archive \(\.npz or \.pt\)"),
        (b"\x80\x02}q\x00.", r"this is not a \.npy file"),
        (b"\x93NUMPY\x09\x00\x76\x00{}", r"damaged"),
    ],
)
def test_what_is_no_npy_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_map(tmp_path / "a.npy")


def test_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.npy") / "a.npy"
    old = b"'shape': (2, 3), }             "
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, b"'shape': (99999999, 99999999),}"))
    with pytest.raises(DataError, match=r"a\.npy: the \.npy file is damaged"):
        read_map(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npy: cannot be read \(No such file"):
        read_map(tmp_path / "gone.npy")
