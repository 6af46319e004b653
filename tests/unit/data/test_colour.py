from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.data.images import read_image
from boxless.errors import DataError

GRAY16 = np.array([[0, 128, 129, 257, 385, 386, 32768, 65406, 65407, 65535]], np.uint16)
GRAY8 = [
    0,
    0,
    1,
    1,
    1,
    2,
    128,
    254,
    255,
    255,
]  # value / 257 to the nearest, by hand: 128 / 257 = 0.498, 129 / 257 = 0.502


def pixels(path: Path) -> list[tuple[int, int, int]]:
    image, _ = read_image(path)
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


def gray(values: list[int]) -> list[tuple[int, int, int]]:
    return [(value, value, value) for value in values]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_gray_is_scaled_by_its_full_range(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GRAY16).save(tmp_path / f"a{suffix}")
    assert pixels(tmp_path / f"a{suffix}") == gray(GRAY8)


def test_sixteen_bit_gray_of_the_other_byte_order(tmp_path: Path) -> None:
    Image.frombytes("I;16B", (10, 1), GRAY16.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif") == gray(GRAY8)


def test_sixteen_bit_pgm_is_scaled_by_its_own_maximum(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5\n10 1\n65535\n" + GRAY16.astype(">u2").tobytes())
    assert pixels(tmp_path / "a.pgm") == gray(GRAY8)


def test_dark_twelve_bit_content_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2570, 4095]], np.uint16)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif") == gray([0, 10, 16])


def test_integers_beyond_sixteen_bits_are_stretched(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-100, 0, 100]], np.int32)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif") == gray([0, 128, 255])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 2.0, 254.6], [0, 2, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1000.0, 1000.0, 1000.0], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_the_stated_rule(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif") == gray(expected)


def test_floats_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: .*not finite"):
        read_image(tmp_path / "a.tif")


def test_gray_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 255]], np.uint8)).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png") == gray([0, 7, 255])
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "b.png")
    assert pixels(tmp_path / "b.png") == gray([255, 0, 255])


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    values = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert pixels(tmp_path / name) == [(255, 0, 0), (255, 255, 255), (127, 127, 127)]


def test_gray_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[10, 255], [10, 0], [0, 51]]], np.uint8), "LA").save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png") == gray([10, 255, 204])  # 0.8 * 255


def test_palette_and_its_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "plain.png")
    assert pixels(tmp_path / "plain.png") == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    image.save(tmp_path / "one.png", transparency=1)
    assert pixels(tmp_path / "one.png") == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]
    image.save(tmp_path / "each.png", transparency=bytes([255, 255, 0]))
    assert pixels(tmp_path / "each.png") == [(255, 0, 0), (0, 255, 0), (255, 255, 255)]
    image.save(tmp_path / "a.gif", transparency=0)
    assert pixels(tmp_path / "a.gif") == [(255, 255, 255), (0, 255, 0), (0, 0, 255)]


def test_single_transparent_colour_of_an_rgb_file(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert pixels(tmp_path / "a.png") == [(255, 255, 255), (4, 5, 6)]


def cmyk_jpeg(path: Path, cmyk: tuple[int, int, int, int]) -> bytes:
    Image.new("CMYK", (16, 16), cmyk).save(path, quality=100, subsampling=0)
    return path.read_bytes()


def close(path: Path, expected: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(pixels(path)[0], expected)).max() <= 2)  # JPEG rounds


def test_cmyk_jpeg_and_tiff(tmp_path: Path) -> None:
    cmyk_jpeg(tmp_path / "a.jpg", (0, 255, 127, 0))
    assert close(tmp_path / "a.jpg", (255, 0, 128))
    Image.new("CMYK", (2, 2), (0, 255, 127, 51)).save(tmp_path / "a.tif")
    assert close(tmp_path / "a.tif", (204, 0, 102))  # black takes a fifth


def test_cmyk_jpeg_without_adobe_marker_is_read_the_same(tmp_path: Path) -> None:
    data = cmyk_jpeg(tmp_path / "a.jpg", (0, 255, 127, 0))
    start = data.index(b"\xff\xee")
    (tmp_path / "b.jpg").write_bytes(data[:start] + data[start + 16 :])  # the marker is 2 + 14 bytes long
    assert close(tmp_path / "b.jpg", (255, 0, 128))


def test_ycck_jpeg(tmp_path: Path) -> None:
    """The Adobe marker's last byte says that C, M, Y are stored as luma and chroma, and all four are inverted.

    Stored: Y = 255 - 55 = 200, both chroma 255 - 127 = 128 (none), K = 255 (no black). Luma 200 is the ink 200 each.
    """
    data = bytearray(cmyk_jpeg(tmp_path / "a.jpg", (55, 127, 127, 0)))
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    data[place] = 2
    (tmp_path / "a.jpg").write_bytes(data)
    assert close(tmp_path / "a.jpg", (55, 55, 55))


def test_lab_tiff(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4), (136, 208, 195)).save(tmp_path / "a.tif")  # sRGB red is L 53.2, a 80.1, b 67.2
    assert np.abs(np.subtract(pixels(tmp_path / "a.tif")[0], (255, 0, 0))).max() <= 12
