"""Parts of large images, from every way in which a TIFF may store them."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxless.data.images import read_image
from boxless.data.large import longest_side, open_large, read_reduced
from boxless.errors import DataError, MissingExtraError

tifffile = pytest.importorskip("tifffile")

WIDTH, HEIGHT = 151, 211
RGB = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (15, 10, 3), np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
)
GRAY, RGBA = RGB[..., 0], np.dstack([RGB, RGB[..., 1]])
PALETTE = (np.random.default_rng(1).integers(0, 256, (3, 256)) * 257).astype(np.uint16)
TILED = {"tile": (64, 32)}
STORED: dict[str, tuple[Any, dict[str, Any]]] = {
    "one strip": (RGB, {}),
    "strips": (RGB, {"compression": "lzw", "rowsperstrip": 7, "predictor": True}),
    "one strip of LZW": (RGB, {"compression": "lzw", "rowsperstrip": 1000}),
    "tiles": (RGB, TILED),
    "JPEG": (RGB, {"compression": "jpeg", **TILED}),
    "deflate": (RGB, {"compression": "zlib", "predictor": True, **TILED}),
    "Zstandard": (RGB, {"compression": "zstd", **TILED}),
    "PackBits": (RGB, {"compression": "packbits", **TILED}),
    "planes": (np.moveaxis(RGB, 2, 0), {"planarconfig": "separate", "compression": "zlib", **TILED}),
    "plain planes": (np.moveaxis(RGB, 2, 0), {"planarconfig": "separate"}),
    "gray": (GRAY, {"photometric": "minisblack", **TILED}),
    "16-bit gray": (GRAY.astype(np.uint16) * 257, {"photometric": "minisblack", "byteorder": ">", **TILED}),
    "16-bit colour": (RGB.astype(np.uint16) * 257, {"compression": "zlib", **TILED}),
    "black and white": (GRAY > 128, {"photometric": "miniswhite"}),
    "palette": (GRAY, {"photometric": "palette", "colormap": PALETTE, **TILED}),
    "alpha": (RGBA, {"extrasamples": ["unassalpha"], **TILED}),
    "premultiplied alpha": (RGBA, {"extrasamples": ["assocalpha"], **TILED}),
    "CMYK": (RGBA, {"photometric": "separated", **TILED}),
}


def write(path: Path, values: Any = RGB, **settings: Any) -> Path:
    tifffile.imwrite(path, values, **({"photometric": "rgb"} | settings))
    return path


def pixels(path: Path) -> np.ndarray:
    with open_large(path) as large:
        return np.asarray(large.read((0, 0, *large.size), large.size)).astype(int)


@pytest.mark.parametrize("kind", STORED)
def test_each_way_to_store_an_image_is_read_as_pillow_reads_it(kind: str, tmp_path: Path) -> None:
    values, settings = STORED[kind]
    path = write(tmp_path / "image.tif", values, **settings)
    expected = np.asarray(read_image(path)[0]).astype(int)
    with open_large(path) as large:
        assert hasattr(large, "stored"), "it was held whole"
        part = np.asarray(large.read((37, 91, 140, 200), (103, 109))).astype(int)
    found = pixels(path)
    assert np.abs(found - expected).max() <= 1  # rounding of premultiplied colours
    assert np.array_equal(part, found[91:200, 37:140])


def test_what_pillow_cannot_read_is_read_too(tmp_path: Path) -> None:
    assert np.array_equal(pixels(write(tmp_path / "a.tif", bigtiff=True, byteorder=">")), RGB)
    bands = np.dstack([RGBA, GRAY])
    path = write(tmp_path / "b.tif", bands, photometric="minisblack", planarconfig="contig", **TILED)
    assert np.array_equal(pixels(path), RGB)  # the first three bands of a sensor


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_upright(orientation: int, tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", compression="zlib", extratags=[(274, "H", 1, orientation, True)], **TILED)
    expected, size = read_image(path)
    with open_large(path) as large:
        assert large.size == size
        part = large.read((11, 23, 101, 133), (90, 110))
    assert np.array_equal(np.asarray(part), np.asarray(expected.crop((11, 23, 101, 133))))


@pytest.mark.parametrize("inside", [True, False], ids=["SubIFDs", "overviews"])
def test_the_smallest_copy_that_is_large_enough_is_read(inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    settings: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb"} | ({} if inside else {"metadata": None})
    with tifffile.TiffWriter(path) as file:
        file.write(np.full((1024, 512, 3), 10, np.uint8), **settings, **({"subifds": 2} if inside else {}))
        for shrink, value in ((2, 20), (4, 30)):
            file.write(np.full((1024 // shrink, 512 // shrink, 3), value, np.uint8), subfiletype=1, **settings)
    with open_large(path) as large:
        assert large.copies == ((512, 1024), (256, 512), (128, 256))
        for size, value, pieces in (((512, 1024), 10, 128), ((300, 600), 10, 128), ((256, 512), 20, 160)):
            assert np.asarray(large.read((0, 0, 512, 1024), size)).mean() == value
            assert large.stored.pieces == pieces  # type: ignore[attr-defined] - 8 x 16 of the largest, once
        assert np.asarray(large.read((256, 512, 512, 1024), (16, 32))).mean() == 30
        assert large.stored.pieces == 160 + 2  # type: ignore[attr-defined]


def test_a_part_takes_only_the_tiles_under_it(tmp_path: Path) -> None:
    with open_large(write(tmp_path / "a.tif", np.zeros((640, 640, 3), np.uint8), tile=(64, 64))) as large:
        large.read((70, 70, 120, 200), (50, 130))
        assert large.stored.pieces == 3  # type: ignore[attr-defined]


def test_memory_does_not_grow_with_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxless.data.large._AT_ONCE", 1 << 16)
    monkeypatch.setattr("boxless.data.tiff._KEPT", 1 << 18)
    peaks = []
    for side in (1024, 2048):
        path = write(tmp_path / f"{side}.tif", np.full((side, side, 3), 99, np.uint8), tile=(64, 64), compression="lzw")
        tracemalloc.start()
        image, size = read_reduced(path, 64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (image.size, size, np.asarray(image).mean()) == ((64, 64), (side, side), 99)
    assert peaks[1] < 1.5 * peaks[0] < 1024 * 1024 * 3


def test_reduced_images_look_as_pillow_reduces_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxless.data.large._AT_ONCE", 5000)
    path = write(tmp_path / "a.tif", compression="lzw", **TILED)
    small, size = read_reduced(path, 40)
    assert size == (WIDTH, HEIGHT)
    expected = np.asarray(Image.fromarray(RGB).resize(small.size, Image.Resampling.BILINEAR), int)
    assert np.abs(np.asarray(small, int) - expected).mean() < 3


def test_other_formats_are_read_reduced_and_in_parts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image, size = read_reduced(tmp_path / "a.jpg", 100)
    assert (image.size, size) == ((100, 72), (HEIGHT, WIDTH))
    with open_large(tmp_path / "a.jpg") as large:
        expected = read_image(tmp_path / "a.jpg")[0].crop((5, 6, 25, 36))
        assert np.array_equal(np.asarray(large.read((5, 6, 25, 36), (20, 30))), np.asarray(expected))
    with pytest.raises(DataError, match=r"a\.jpg: the image has .* pixels"):
        open_large(tmp_path / "a.jpg", max_pixels=100)


def test_without_the_extra_only_a_small_tiff_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert np.array_equal(pixels(path), RGB)
    assert longest_side(path) == HEIGHT
    with pytest.raises(MissingExtraError, match=r"boxless\[tiff\]"):
        open_large(path, max_pixels=100)


def test_samples_without_a_range_are_read_whole_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GRAY.astype(np.float32) / 255, photometric="minisblack")
    assert np.array_equal(pixels(path)[..., 0], GRAY)
    with pytest.raises(DataError, match=r"a\.tif: its samples are 32-bit float32"):
        open_large(path, max_pixels=100)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.tif", compression="zlib", **TILED).read_bytes()
    path = tmp_path / "cut.tif"
    for keep in (3, 9, 200, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"cut\.tif"):
            pixels(path)
    path.write_bytes(whole[:400] + bytes(200) + whole[600:])
    with pytest.raises(DataError, match=r"cut\.tif"):
        pixels(path)


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.tif", RGB, compression="jpeg", tile=(64, 64))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        place = data.index(b"\xff\xc0", page.dataoffsets[0])
        tags = {name: page.tags[name].valueoffset for name in ("TileWidth", "TileLength")}
    huge = data.copy()
    struct.pack_into(">HH", huge, place + 5, 60_000, 60_000)
    path.write_bytes(huge)
    with pytest.raises(DataError, match=r"bomb\.tif: a piece of 64 x 64 pixels is said to have 60000 x 60000"):
        pixels(path)
    for offset in tags.values():
        struct.pack_into("<H", data, offset, 65_520)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bomb\.tif: it is stored in pieces of 65520 x 65520 pixels"):
        open_large(path, max_pixels=100)
