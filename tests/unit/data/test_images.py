from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.data import images
from boxless.data.images import decode, list_images, read_image, read_size
from boxless.errors import DataError

RED, GREEN, BLUE, YELLOW = (254, 0, 0), (0, 128, 1), (0, 0, 254), (254, 254, 0)

# The EXIF standard's table: orientation -> (visual side of the stored row 0, visual side of the stored column 0).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def upright_picture() -> np.ndarray:
    picture = np.zeros((32, 48, 3), np.uint8)  # red, green / blue, yellow
    picture[:16, :24], picture[:16, 24:] = RED, GREEN
    picture[16:, :24], picture[16:, 24:] = BLUE, YELLOW
    return picture


def stored_for(orientation: int) -> np.ndarray:
    picture = upright_picture()
    row_side, column_side = SIDES[orientation]
    if "bottom" in (row_side, column_side):
        picture = picture[::-1]
    if "right" in (row_side, column_side):
        picture = picture[:, ::-1]
    return picture if row_side in ("top", "bottom") else picture.transpose(1, 0, 2)


def save(path: Path, pixels: np.ndarray, orientation: int | None = None, **options: object) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"a{suffix}", stored_for(orientation), orientation, **options)
    image, size = read_image(path)
    assert (image.mode, image.size, size) == ("RGB", (48, 32), (48, 32))
    difference = np.asarray(image).astype(int) - upright_picture()
    assert np.abs(difference).max() <= (3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", [1, 6])
def test_shrinking_keeps_the_original_upright_size_and_both_sides_long_enough(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", np.tile(stored_for(orientation), (20, 20, 1)), orientation)  # 960 x 640 upright
    image, size = read_image(path, shrink_to=100)
    assert size == (960, 640)
    assert image.size == (240, 160)  # a quarter; an eighth would be 80 high
    assert read_image(path, shrink_to=641)[0].size == (960, 640)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_image(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = save(tmp_path / f"é 1{suffix}", stored_for(orientation), orientation)
    assert read_size(path) == (48, 32)


def test_size_needs_no_pixels_but_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.jpg", stored_for(6), 6)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_image(path)
    assert read_size(path) == (48, 32)
    (tmp_path / "b.jpg").write_text("text")
    with pytest.raises(DataError, match=r"b\.jpg: this is not an image"):
        read_size(tmp_path / "b.jpg")
    with pytest.raises(DataError, match=r"c\.jpg: cannot be read"):
        read_size(tmp_path / "c.jpg")
    monkeypatch.setattr(images, "DEFAULT_MAX_PIXELS", 48 * 32 - 1)
    with pytest.raises(DataError, match=r"d\.png: the image has 48 x 32 pixels, more than the 1,535"):
        read_size(save(tmp_path / "d.png", upright_picture()))


def test_shrinking_leaves_other_formats_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.tile(upright_picture(), (20, 20, 1)))
    assert read_image(path, shrink_to=10)[0].size == (960, 640)


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.fromarray(upright_picture()).save(plain, "JPEG")
    # Two directory entries are promised, one pointing far outside the block.
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 0x010F, 2, 4000, 9000)
    data = plain.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "a.jpg")[1] == (48, 32)
    assert caught == []


def test_first_of_several_frames_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for name, options in (("a.gif", {}), ("a.tif", {}), ("a.webp", {"lossless": True}), ("a.png", {})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert read_image(tmp_path / name)[0].getpixel((3, 3)) == RED, name


def test_camera_file_of_several_pictures_is_read_and_shrunk_as_its_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (640, 640), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    image, size = read_image(tmp_path / "a.jpg", shrink_to=80)
    assert (image.size, size) == ((80, 80), (640, 640))
    assert np.abs(np.subtract(image.getpixel((3, 3)), RED)).max() <= 3


@pytest.mark.parametrize("name", ["ünï çödé 图.jpg", "with space, and comma.jpg", "a;b'c.jpg"])
def test_odd_file_names_are_read(tmp_path: Path, name: str) -> None:
    assert read_image(save(tmp_path / name, upright_picture()))[1] == (48, 32)


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(upright_picture()).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg")[0], upright_picture())


def noise_bytes(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("shrink_to", [None, 32])
def test_truncated_file_is_refused_by_name(tmp_path: Path, kind: str, shrink_to: int | None) -> None:
    path = tmp_path / f"cut.{kind.lower()}"
    data = noise_bytes(kind)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"cut\.{kind.lower()}: the image is damaged or incomplete.*copy it again"):
        read_image(path, shrink_to=shrink_to)


def test_every_cut_of_a_small_file_is_refused_with_the_right_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind in ("JPEG", "PNG", "TIFF", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(upright_picture()).save(buffer, kind)
        data = buffer.getvalue()
        for length in range(0, len(data) - 20, 7):
            path.write_bytes(data[:length])
            with pytest.raises(DataError, match=str(path)):
                read_image(path)


def test_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg: the file is empty \(0 bytes\); copy it again or remove it"):
        read_image(tmp_path / "empty.jpg")


def test_text_named_like_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404 not found</html>")
    with pytest.raises(
        DataError, match=r"page\.jpg: this is not an image that boxless reads \(it begins with b'<html>"
    ):
        read_image(tmp_path / "page.jpg")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jpg: cannot be read \(No such file or directory\); check the path"):
        read_image(tmp_path / "no.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_forbidden_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", upright_picture())
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read_image(path)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def test_absurd_size_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(100_000, 100_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"bomb\.png: the image has 100000 x 100000 pixels, more than.*tiles"):
            read_image(tmp_path / "bomb.png")


def test_image_30000_pixels_wide_is_read(tmp_path: Path) -> None:
    Image.new("L", (30_000, 40), 7).save(tmp_path / "wide.png")
    image, size = read_image(tmp_path / "wide.png")
    assert (image.size, size, image.getpixel((29_999, 39))) == ((30_000, 40), (30_000, 40), (7, 7, 7))


def test_our_own_limit_rules_and_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow would warn above it, and refuse above its double
    for name in ("a.png", "a.jpg", "a.bmp"):
        assert read_image(save(tmp_path / name, upright_picture()))[1] == (48, 32)
    assert read_image(save(tmp_path / "a.tif", upright_picture()[:, :40]))[1] == (40, 32)
    with pytest.raises(DataError, match="48 x 32 pixels, more than the 1,535 that may"):
        read_image(tmp_path / "a.png", max_pixels=48 * 32 - 1)
    assert read_image(tmp_path / "a.png", max_pixels=48 * 32)[1] == (48, 32)


def test_limit_counts_what_is_held_in_memory(tmp_path: Path) -> None:
    big = np.tile(upright_picture(), (20, 20, 1))  # 960 x 640; an eighth is 120 x 80
    baseline, progressive = save(tmp_path / "a.jpg", big), save(tmp_path / "b.jpg", big, progressive=True)
    assert read_image(baseline, shrink_to=80, max_pixels=10_000)[0].size == (120, 80)
    with pytest.raises(DataError, match=r"b\.jpg: the image has 960 x 640"):
        read_image(progressive, shrink_to=80, max_pixels=10_000)


def test_threads_read_the_same_pixels(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", np.roll(upright_picture(), index, 0)) for index in range(32)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda path: np.asarray(read_image(path)[0]), paths))
    assert all(np.array_equal(image, np.roll(upright_picture(), index, 0)) for index, image in enumerate(images))
    assert warnings.filters == before  # the caller's, as they were


def test_mode_of_the_file_is_told(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    assert decode(tmp_path / "a.jpg").mode == "CMYK"


def test_listing_is_recursive_sorted_and_free_of_junk(tmp_path: Path) -> None:
    wanted = ["b/a.JPG", "b/z y.png", "ä.webp", "a.tiff"]
    junk = [".DS_Store", "b/._a.jpg", ".hidden/x.jpg", "Thumbs.db", "__MACOSX/a.jpg", "notes.txt", "b/no_suffix"]
    for name in wanted + junk:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [tmp_path / name for name in ("a.tiff", "b/a.JPG", "b/z y.png", "ä.webp")]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_listing_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert list_images(tmp_path) == [tmp_path / "a" / "x.jpg", tmp_path / "link" / "x.jpg"]


def test_listing_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        list_images(tmp_path / "nowhere")
