"""Image files to upright RGB images, and folders to lists of image files."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from boxless.data.colour import to_rgb
from boxless.errors import DataError

DEFAULT_MAX_PIXELS = 178_000_000  # Pillow refuses some formats above 178,956,970; four bytes a pixel make 0.7 GB

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k",
})
# fmt: on

# Only what photographs come in: no PostScript, which Pillow hands to another program. JPEG goes by its class and not by
# Pillow's factory, so that a camera's multi-picture file (MPO) is read as the plain JPEG it begins with.
_JPEG_START = b"\xff\xd8\xff"
_FORMATS = ("PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF")
_PLUGINS = (  # imported for their effect: each adds its formats to Image.OPEN
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

_UPRIGHT = {  # EXIF orientation -> what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = tuple(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))  # width and height change places
_ORIENTATION_TAG = 0x0112
_BUFFER = 1 << 18  # bytes; holds the whole header, which is then parsed without waiting for the disk


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image file's content."""

    image: Image.Image  # RGB, upright; at a reduced scale if that was asked for
    size: tuple[int, int]  # (width, height) of the whole upright image
    mode: str  # Pillow's name for how the file stores colour, such as "RGB", "CMYK" or "I;16"


def read_image(
    path: str | Path, *, shrink_to: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image of a file, and the (width, height) of the original, upright image.

    Of a file with several frames or pages it is the first. ``boxless.data.colour`` says how each mode becomes RGB.

    Args:
        path: The file.
        shrink_to: Decode a JPEG at 1/2, 1/4 or 1/8 of its scale as long as both sides stay at least this long, which is
            several times faster. The size returned is the original's all the same.
        max_pixels: Refuse an image for which more pixels than this would be held in memory.

    Raises:
        DataError: The file is missing, empty, truncated, no image, or too large; the message names it and the mend.
    """
    decoded = decode(Path(path), shrink_to=shrink_to, max_pixels=max_pixels)
    return decoded.image, decoded.size


def decode(path: Path, *, shrink_to: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Like ``read_image``, with what the file stores."""
    with _opened(path) as stored:
        return _decode(path, stored, shrink_to, max_pixels)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image, from the file's header; the pixels of most formats are not decoded.

    A PNG may have its orientation behind the pixels, and is decoded to look; one of more than ``DEFAULT_MAX_PIXELS``
    is refused.

    Raises:
        DataError: The file is missing, empty, or no image; the message names it and the mend.
    """
    with _opened(path) as stored:
        width, height = stored.size
        if isinstance(stored, PngImagePlugin.PngImageFile) and width * height > DEFAULT_MAX_PIXELS:
            raise _too_large(path, stored.size, DEFAULT_MAX_PIXELS)
        if isinstance(stored, TiffImagePlugin.TiffImageFile):  # whose size some releases of Pillow turn, and some not
            width, height = stored.tag_v2[TiffImagePlugin.IMAGEWIDTH], stored.tag_v2[TiffImagePlugin.IMAGELENGTH]
        return (height, width) if _UPRIGHT.get(_orientation(stored)) in _TURNED else (width, height)


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The file with its header read; whatever goes wrong with it then is a ``DataError``."""
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            yield _open(path, file)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: there is not enough memory to decode this image; make a smaller copy.") from error
    except Exception as error:  # rubbish makes decoders raise nearly anything, SyntaxError among it
        _refuse(path, error)


def _decode(path: Path, stored: ImageFile.ImageFile, shrink_to: int | None, max_pixels: int) -> Decoded:
    whole, mode = stored.size, stored.mode
    if shrink_to is not None:
        stored.draft(None, (shrink_to, shrink_to))
    shrunk = stored.size != whole
    # A progressive JPEG keeps all its coefficients while it is decoded, at whatever scale.
    width, height = whole if "progressive" in stored.info else stored.size
    if width * height > max_pixels:
        raise _too_large(path, whole, max_pixels)
    if isinstance(stored, TiffImagePlugin.TiffImageFile) and width * height > _pillow_warns_above():
        with _quiet():
            stored.load()
    else:
        stored.load()
    if not shrunk:
        whole = stored.size  # Pillow turns TIFF upright when it loads it
    image, method = to_rgb(stored), _UPRIGHT.get(_orientation(stored))
    if method is not None:
        image = image.transpose(method)
    return Decoded(image, whole[::-1] if method in _TURNED else whole, mode)


def _too_large(path: Path, size: tuple[int, int], max_pixels: int) -> DataError:
    return DataError(
        f"{path}: the image has {size[0]} x {size[1]} pixels, more than the {max_pixels:,} that may be decoded "
        "at once; look at it in tiles (predict --tile 1024), or make a smaller copy."
    )


def _open(path: Path, file: IO[bytes]) -> ImageFile.ImageFile:
    """Read the header. ``Image.open`` is not used since it warns of, or refuses, images that ``max_pixels`` allows."""
    prefix = file.read(16)
    if not prefix:
        raise DataError(f"{path}: the file is empty (0 bytes); copy it again or remove it.")
    with _quiet():
        if prefix.startswith(_JPEG_START):
            file.seek(0)
            return JpegImagePlugin.JpegImageFile(file)
        for name in _FORMATS:
            factory, accepts = Image.OPEN[name]
            if accepts is None or accepts(prefix) is not True:
                continue
            file.seek(0)
            return factory(file, "")
    raise DataError(
        f"{path}: this is not an image that boxless reads (it begins with {prefix!r}); "
        "remove it, or save it again as JPEG or PNG."
    )


def _orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it cannot be read, as viewers do."""
    try:
        with _quiet():
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata does not make the picture worthless
        return 1


def _refuse(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno is not None:  # the system's word, not a decoder's
        advice = "check the path" if isinstance(error, FileNotFoundError) else "check the file and its permissions"
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}.") from error
    reason = str(error) or type(error).__name__
    raise DataError(
        f"{path}: the image is damaged or incomplete ({reason}); copy it again, save it again, or remove it."
    ) from error


def _pillow_warns_above() -> float:
    return float("inf") if Image.MAX_IMAGE_PIXELS is None else Image.MAX_IMAGE_PIXELS


_quiet_lock = threading.Lock()
_tiff_log = logging.getLogger("PIL.TiffImagePlugin")  # says of some damaged files what our error says anyway


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings about metadata from the user. They are set for the whole process, hence the lock."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        was, _tiff_log.disabled = _tiff_log.disabled, True
        try:
            yield
        finally:
            _tiff_log.disabled = was


def list_images(folder: str | Path) -> list[Path]:
    """All image files under a folder, by suffix, sorted by path; hidden files and folders are left out."""
    root = Path(folder)
    return [root / name for name in walk(root) if is_image(name)]


def is_image(name: str) -> bool:
    """Whether the file's suffix is that of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - called for millions of names


def walk(root: Path) -> list[str]:
    """The files under a folder, as sorted paths relative to it with forward slashes.

    Left out: what is hidden (``.git``, ``.DS_Store``, ``._photo.jpg``) and what systems leave behind (``Thumbs.db``,
    ``__MACOSX``). Links to folders are followed, but not in circles.

    Raises:
        DataError: The folder is missing or cannot be read.
    """
    try:
        return sorted(_walk(str(root), "", frozenset()))
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror}); check the path.") from error


_JUNK = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX", "@eaDir"})


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)  # noqa: PTH116 - called for every folder, with plain strings
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _JUNK:
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
            else:
                yield prefix + entry.name
