"""Parts of large TIFF files: only the tiles or strips that a part needs are read and decoded.

It reads tiled and striped files, BigTIFF, one copy or a pyramid of several scales (as SubIFDs, as overviews behind the
first page, or as slide scanners store them), chunky and planar, in the colours of `boxless.data.tiff_colour`.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from boxless.data.tiff_colour import Colour
from boxless.data.tiff_lzw import LZW, decode_lzw
from boxless.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

# Codecs that are told how much to give, or whose own header is checked first: no small file fills the memory.
_NONE, _JPEGS, _JPEG2000S = 1, {7}, {33003, 33005, 34712}
_BOUNDED = {_NONE, 5, 8, 32773, 32946, 34925, 50000} | _JPEGS | _JPEG2000S
_LARGEST_PIECE = 1 << 28  # bytes of a decoded tile or strip
_STRIP = 1 << 20  # bytes that are read at once of a file without tiles and compression
_KEPT = 1 << 28  # bytes of decoded tiles and strips that are kept: what neighbouring parts share
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_MOST_COPIES = 32
_OF_SLIDES = {"svs", "ndpi", "scn", "bif", "philips", "ventana", "qpi", "ome"}  # know their own copies


def open_tiff(path: Path) -> Any:
    """The file with its header read, a ``tifffile.TiffFile``.

    Raises:
        MissingExtraError: There is no ``tifffile``, or no ``imagecodecs``.
    """
    try:
        import imagecodecs  # noqa: F401 - what tifffile decodes with
        import tifffile
    except ImportError as error:
        raise MissingExtraError("reading parts of a TIFF file", "tifffile", "tiff") from error
    return tifffile.TiffFile(path, _multifile=False)


@final
class TiffCopies:
    """The first picture of an open file, at every scale that it holds, largest first.

    Args:
        file: What `open_tiff` gave.

    Raises:
        DataError: What cannot be read in parts; the file is not named.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._copies = [_Copy(file, page) for page in _pages(file)]
        self.sizes = tuple((each.width, each.height) for each in self._copies)
        self.orientation = int(getattr(self._copies[0].page.tags.get(274), "value", 1))
        self.pieces = 0  # that were decoded
        self._kept: OrderedDict[tuple[int, int], Bytes] = OrderedDict()
        self._bytes = 0

    def read(self, copy: int, x0: int, y0: int, x1: int, y1: int) -> Bytes:
        """The pixels (y1 - y0, x1 - x0, 3) of a copy; all corners lie inside it."""
        of = self._copies[copy]
        canvas = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for row in range(y0 // of.high, math.ceil(y1 / of.high)):
            for column in range(x0 // of.wide, math.ceil(x1 / of.wide)):
                piece, top, left = self._piece(copy, row * of.across + column), row * of.high, column * of.wide
                u0, v0 = max(x0, left), max(y0, top)
                u1, v1 = min(x1, left + of.wide), min(y1, top + of.high)
                canvas[v0 - y0 : v1 - y0, u0 - x0 : u1 - x0] = piece[v0 - top : v1 - top, u0 - left : u1 - left]
        return canvas

    def _piece(self, copy: int, index: int) -> Bytes:
        key = (copy, index)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        piece = self._copies[copy].piece(index)
        self.pieces += 1
        self._kept[key] = piece
        self._bytes += piece.nbytes
        while self._bytes > _KEPT and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return piece


@final
class _Copy:
    """A page: its pieces (tiles or strips), in rows."""

    def __init__(self, file: Any, page: Any) -> None:
        self.page, self._handle, self._file_size = page, file.filehandle, file.filehandle.size
        self.width, self.height, self.colour = int(page.imagewidth), int(page.imagelength), Colour(page)
        if min(self.width, self.height) < 1 or page.imagedepth != 1:
            raise DataError(f"its size is {self.width} x {self.height} x {page.imagedepth}; it is no flat image.")
        if int(page.compression) not in _BOUNDED:
            raise DataError(f"its compression ({page.compression!s}) is not read in parts.")
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1  # planes one behind the other
        self._plain = bool(page.is_memmappable)
        self._lzw = int(page.compression) == LZW
        if self._lzw:
            if page.fillorder != 1:
                raise DataError("its LZW pieces are of reversed bits, which are not read in parts.")
            page.compression = _NONE  # of what `decode_lzw` gives
        together = page.samplesperpixel // self._planes * page.dtype.itemsize
        self.wide, self.high = self.width, min(int(page.rowsperstrip or self.height), self.height)
        if page.is_tiled and not self._plain:
            self.wide, self.high = int(page.tilewidth), int(page.tilelength)
        if self._plain:  # uncompressed and whole: any rows can be read
            self.high = max(1, _STRIP // (self.width * together))
        if self.wide < 1 or self.high < 1 or self.wide * self.high * together > _LARGEST_PIECE:
            raise DataError(
                f"it is stored in pieces of {self.wide} x {self.high} pixels, each of which has to be decoded whole; "
                "save it as a tiled TIFF, such as with 512 x 512 pixels a tile."
            )
        self.across, self.down = math.ceil(self.width / self.wide), math.ceil(self.height / self.high)
        if not self._plain and len(page.dataoffsets) < self.across * self.down * self._planes:
            raise DataError(
                f"{self.across * self.down * self._planes} pieces are expected, and {len(page.dataoffsets)} listed."
            )

    def piece(self, index: int) -> Bytes:
        """A tile or strip as RGB; at the right and lower border it may be smaller than the others."""
        planes = range(min(self._planes, self.colour.samples))
        parts = [self._rows(index, plane) if self._plain else self._segment(index, plane) for plane in planes]
        return self.colour(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1))

    def _rows(self, index: int, plane: int) -> NDArray[Any]:
        samples = self.page.samplesperpixel // self._planes
        first, rows = index * self.high, min(self.high, self.height - index * self.high)
        line = self.width * samples * self.page.dtype.itemsize
        offset = self.page.dataoffsets[0] + (plane * self.height + first) * line
        kind = self.page.dtype.newbyteorder(self.page.parent.byteorder)
        values: NDArray[Any] = np.frombuffer(self._read(offset, rows * line), kind).reshape(rows, self.width, samples)
        return values

    def _segment(self, index: int, plane: int) -> NDArray[Any]:
        page, place = self.page, plane * self.across * self.down + index
        count = page.databytecounts[place]
        if not count:  # a piece that was never written
            return np.full((self.high, self.wide, page.samplesperpixel // self._planes), page.nodata, page.dtype)
        data = self._read(page.dataoffsets[place], count)
        if page.compression in _JPEGS | _JPEG2000S:
            _check_header(data, self.wide, self.high)
        if self._lzw:
            data = decode_lzw(data, self._bytes_of(index))
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEGS else {}
        decoded: NDArray[Any] = page.decode(data, place, **tables)[0][0]
        return decoded

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count > self._file_size or count > _LARGEST_PIECE:
            raise DataError(f"{count:,} bytes are expected at {offset:,}, and the file has {self._file_size:,}.")
        self._handle.seek(offset)
        data: bytes = self._handle.read(count)
        return data

    def _bytes_of(self, index: int) -> int:
        """Of a piece, decoded; the last strip may have fewer rows, and a tile never has."""
        page = self.page
        rows = self.high if page.is_tiled else min(self.high, self.height - index // self.across * self.high)
        return int(rows * math.ceil(self.wide * (page.samplesperpixel // self._planes) * page.bitspersample / 8))


def _pages(file: Any) -> list[Any]:
    """The pages of one picture, largest first: as the format of a slide says it, or by their shapes."""
    len(file.pages)  # walks their chain, which has no end where it leads back into itself, unless it is counted first
    series = file.series
    if not series:
        raise DataError("it has no page.")
    chosen = max(series, key=lambda each: math.prod(each.shape)) if series[0].kind == "scn" else series[0]
    pages = [level.pages[0] for level in chosen.levels]
    if len(pages) == 1 and chosen.kind not in _OF_SLIDES:
        pages += [each for each in islice(file.pages, 1, _MOST_COPIES) if _is_overview(each.aspage())]
    if pages[0] is None:
        raise DataError("its first page is missing.")
    first, *others = [each.aspage() for each in pages if each is not None]
    ratio = first.imagewidth / max(1, first.imagelength)
    alike = [
        each
        for each in others[:_MOST_COPIES]
        if 0 < each.imagewidth < first.imagewidth
        and abs(each.imagewidth / ratio - each.imagelength) <= 2 + 0.02 * each.imagelength
    ]
    return [first, *sorted(alike, key=lambda each: -int(each.imagewidth))]


def _is_overview(page: Any) -> bool:
    return bool(page.subfiletype & _REDUCED) and not page.subfiletype & _MASK


def _check_header(data: bytes, wide: int, high: int) -> None:
    """That a compressed piece says that it is no larger than its place."""
    size = _jpeg_size(data) if data[:2] == b"\xff\xd8" else _jpeg2000_size(data)
    if size is not None and (size[0] > wide or size[1] > high):
        raise DataError(f"a piece of {wide} x {high} pixels is said to have {size[0]} x {size[1]}.")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data):
        marker, length = data[place : place + 2], struct.unpack_from(">H", data, place + 2)[0]
        if marker[0] != 0xFF:
            return None
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            high, wide = struct.unpack_from(">HH", data, place + 5)
            return wide, high
        place += 2 + length
    return None


def _jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    place = data.find(b"\xff\x51")  # SIZ: length, capabilities, then the far and, behind them, the near corner
    if place < 0 or place + 22 > len(data):
        return None
    wide, high, left, top = struct.unpack_from(">IIII", data, place + 6)
    return wide - left, high - top
