"""Parts of large images, at any scale, without holding the whole."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from PIL import Image

from boxless.data.images import DEFAULT_MAX_PIXELS, Decoded, decode, read_size
from boxless.errors import BoxlessError, DataError, MissingExtraError

if TYPE_CHECKING:
    from boxless.data.tiff import TiffCopies

    Corners = tuple[float, float, float, float]  # x0, y0, x1, y1, half-open
    Size = tuple[int, int]  # width, height

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MMOR", b"IIRO")
_AT_ONCE = 1 << 24  # pixels that are held while a larger part is reduced
_ENOUGH = 0.95  # of the wanted scale that a stored copy must have

_TURNS = {  # orientation -> whether the axes change places, then whether x and y run backwards in what is stored
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_UPRIGHT = {
    (False, True, False): Image.Transpose.FLIP_LEFT_RIGHT,
    (False, True, True): Image.Transpose.ROTATE_180,
    (False, False, True): Image.Transpose.FLIP_TOP_BOTTOM,
    (True, False, False): Image.Transpose.TRANSPOSE,
    (True, False, True): Image.Transpose.ROTATE_270,
    (True, True, True): Image.Transpose.TRANSVERSE,
    (True, True, False): Image.Transpose.ROTATE_90,
}


class Large(ABC):
    """An image of which parts are read; close it, or use it in a ``with`` statement. One thread at a time.

    ``size`` is that of the upright image (width, height), ``copies`` are the sizes of what is stored, largest first.
    """

    size: Size
    copies: tuple[Size, ...]

    @abstractmethod
    def read(self, box: Corners, size: Size) -> Image.Image:
        """A box of the upright image, in its pixels, as an RGB image of ``size``; bilinear, with antialiasing.

        Raises:
            DataError: What is stored there is damaged; the message names the file.
        """

    def copy_for(self, box: Corners, size: Size) -> int:
        """Which of ``copies`` is read for it: the smallest that need not be enlarged."""
        wanted = max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1]))
        enough = [i for i, each in enumerate(self.copies) if max(each) >= _ENOUGH * wanted * max(self.copies[0])]
        return enough[-1] if enough else 0

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Large:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_large(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Large:
    """An image of which parts are read: a TIFF of any size, or another file of at most ``max_pixels``, held whole.

    A TIFF whose samples or compression cannot be read in parts is held whole too, if it is within ``max_pixels``.

    Raises:
        DataError: The file cannot be read, or is too large to be held whole; the message names it and the mend.
        MissingExtraError: A larger TIFF, without the extra ``tiff``.
    """
    path = Path(path)
    if not _is_tiff(path):
        return _Whole(path, max_pixels)
    try:
        return _Tiff(path)
    except (DataError, MissingExtraError):
        if not _fits(path, max_pixels):
            raise
    return _Whole(path, max_pixels)


def read_reduced(path: str | Path, longest_side: int) -> tuple[Image.Image, Size]:
    """The upright RGB image, made smaller if a side is longer than this, and the (width, height) of the original.

    Raises:
        DataError: As of `open_large`.
    """
    path = Path(path)
    if not _is_tiff(path):
        decoded = decode(path, shrink_to=longest_side)
        return _within(decoded, longest_side), decoded.size
    with open_large(path) as large:
        width, height = large.size
        factor = min(1.0, longest_side / max(width, height))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return large.read((0, 0, width, height), size), large.size


def longest_side(path: Path) -> int:
    """Of the image, by its header alone.

    Raises:
        DataError: The header cannot be read.
        MissingExtraError: It is a TIFF that Pillow does not know, and the extra ``tiff`` is missing.
    """
    if _is_tiff(path):
        try:
            with _named(path):
                from boxless.data.tiff import open_tiff

                with open_tiff(path) as file:
                    return int(max(file.pages[0].imagewidth, file.pages[0].imagelength))
        except MissingExtraError:
            pass
    return max(read_size(path))


@final
class _Whole(Large):
    """A decoded image."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        decoded = decode(path, max_pixels=max_pixels)
        self._image, self.size, self.copies = decoded.image, decoded.size, (decoded.size,)

    def read(self, box: Corners, size: Size) -> Image.Image:
        return self._image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)

    def close(self) -> None:
        self._image.close()


@final
class _Tiff(Large):
    """A file whose tiles or strips are decoded as they are needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _named(path):
            from boxless.data.tiff import TiffCopies, open_tiff

            self._file = open_tiff(path)
            try:
                self.stored: TiffCopies = TiffCopies(self._file)
            except BaseException:
                self._file.close()
                raise
        self._turn = _TURNS.get(self.stored.orientation, (False, False, False))
        turned = [each[::-1] if self._turn[0] else each for each in self.stored.sizes]
        self.size, self.copies = turned[0], tuple(turned)

    def read(self, box: Corners, size: Size) -> Image.Image:
        copy = self.copy_for(box, size)
        wide, high = self.stored.sizes[copy]
        swapped, backwards, upwards = self._turn
        u, v = self.copies[copy][0] / self.size[0], self.copies[copy][1] / self.size[1]
        x0, y0, x1, y1 = box[0] * u, box[1] * v, box[2] * u, box[3] * v
        if swapped:
            x0, y0, x1, y1, size = y0, x0, y1, x1, size[::-1]
        if backwards:
            x0, x1 = wide - x1, wide - x0
        if upwards:
            y0, y1 = high - y1, high - y0
        with _named(self._path):
            image = self._reduced(copy, (max(0, x0), max(0, y0), min(wide, x1), min(high, y1)), size)
        return image.transpose(_UPRIGHT[self._turn]) if self._turn in _UPRIGHT else image

    def _reduced(self, copy: int, box: Corners, size: Size) -> Image.Image:
        """A box of a copy as it is stored; a large one is reduced in bands of rows, by whole factors first."""
        wide, high = self.stored.sizes[copy]
        left, top = min(math.floor(box[0]), wide - 1), min(math.floor(box[1]), high - 1)
        right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
        factor = 1
        if (right - left) * (bottom - top) > _AT_ONCE:
            factor = max(1, math.floor(min((right - left) / size[0], (bottom - top) / size[1]) / 2))
        band = max(1, _AT_ONCE // (right - left) // factor) * factor
        whole = Image.new("RGB", (math.ceil((right - left) / factor), math.ceil((bottom - top) / factor)))
        for start in range(top, bottom, band):
            pixels = self.stored.read(copy, left, start, right, min(start + band, bottom))
            part = Image.fromarray(pixels)
            whole.paste(part.reduce(factor) if factor > 1 else part, (0, (start - top) // factor))
        inside = [(box[0] - left), (box[1] - top), (box[2] - left), (box[3] - top)]
        x0, y0, x1, y1 = (edge / factor for edge in inside)
        exact = x0, y0, min(x1, whole.width), min(y1, whole.height)
        return whole.resize(size, Image.Resampling.BILINEAR, box=exact, reducing_gap=3.0)

    def close(self) -> None:
        self._file.close()


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in _TIFF_STARTS
    except OSError:
        return False  # what reads it next says why


def _fits(path: Path, max_pixels: int) -> bool:
    try:
        width, height = read_size(path)
    except DataError:
        return False
    return width * height <= max_pixels


def _within(decoded: Decoded, longest: int) -> Image.Image:
    factor = longest / max(decoded.size)
    if factor >= 1:
        return decoded.image
    size = tuple(max(1, round(side * factor)) for side in decoded.size)
    return decoded.image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=3.0)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a TIFF is an error of ours that names the file."""
    log: Any = logging.getLogger("tifffile")  # says of damaged files what our error says anyway
    was, log.disabled = log.disabled, True
    try:
        yield
    except MissingExtraError:
        raise
    except BoxlessError as error:
        raise DataError(f"{path}: {error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: there is not enough memory to decode a part of this image.") from error
    except Exception as error:  # rubbish makes decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path}: the image is damaged or incomplete ({reason}); copy it again, save it again, or remove it."
        ) from error
    finally:
        log.disabled = was
