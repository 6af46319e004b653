"""What a TIFF's samples mean, as 8-bit RGB, piece by piece: no rule here looks at more than the pixel itself.

The rules are those of `boxless.data.colour`: 16 bits are scaled by their full range, transparency is laid on white,
CMYK is converted without profiles. Of more than three bands that are not said to be colours the first three count as
red, green and blue, as map programs show them. Floats and signed or 32-bit integers have no range of their own, so
that one part of an image could not be compared with another; they are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_BECOMES_RGB = {6, 7, 34712, 33005}  # the decoders of these compressions turn YCbCr into RGB
_PREMULTIPLIED, _ALPHA = 1, 2


@final
class Colour:
    """Turns decoded samples of a page into RGB.

    Args:
        page: Of ``tifffile``.

    Raises:
        DataError: Samples that have no range, or a colour space that is not read; the file is not named.
    """

    def __init__(self, page: Any) -> None:
        kind, bits, photometric = page.dtype.kind if page.dtype else "", page.bitspersample, int(page.photometric)
        if kind not in "ub" or not isinstance(bits, int) or bits > 16:
            stored = f"{bits}-bit {page.dtype}" if page.dtype else f"{bits}-bit"
            raise DataError(f"its samples are {stored}; parts of an image are read of 8- and 16-bit unsigned samples.")
        known = {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK}
        if photometric not in known and not (photometric == _YCBCR and int(page.compression) in _BECOMES_RGB):
            raise DataError(f"its colour space ({page.photometric!s}) is not read in parts.")
        self.photometric, self.bits = photometric, bits
        self.colours = _colours(photometric, page.samplesperpixel)
        extra = page.extrasamples[:1] if page.samplesperpixel > self.colours else ()
        self.alpha = int(extra[0]) if extra and int(extra[0]) in (_PREMULTIPLIED, _ALPHA) else 0
        self.samples = self.colours + bool(self.alpha)  # how many of each pixel's samples are looked at
        if page.samplesperpixel < self.colours:
            raise DataError(f"it has {page.samplesperpixel} samples a pixel where {self.colours} are needed.")
        self._palette: Bytes | None = None
        if photometric == _PALETTE:
            if page.colormap is None:
                raise DataError("it has no palette.")
            self._palette = (np.asarray(page.colormap).T // 256).astype(np.uint8)

    def __call__(self, values: NDArray[Any]) -> Bytes:
        """(h, w, samples) as stored -> (h, w, 3)."""
        if self._palette is not None:
            named: Bytes = self._palette[np.minimum(values[..., 0], len(self._palette) - 1)]
            return named
        levels = _eight_bits(values[..., : self.samples], self.bits)
        colours = levels[..., : self.colours]
        if self.photometric == _CMYK:
            light = 255 - colours.astype(np.uint16)
            colours = ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)
        elif self.photometric == _WHITE_IS_ZERO:
            colours = 255 - colours
        if colours.shape[-1] == 1:
            colours = np.repeat(colours, 3, axis=-1)
        return _on_white(colours, levels[..., self.colours :], self.alpha) if self.alpha else colours


def _colours(photometric: int, samples: int) -> int:
    if photometric == _CMYK:
        return 4
    if photometric in (_RGB, _YCBCR):
        return 3
    return 3 if photometric == _BLACK_IS_ZERO and samples > 2 else 1  # bands of a sensor are often called gray


def _eight_bits(values: NDArray[Any], bits: int) -> Bytes:
    if bits == 8:
        return values.astype(np.uint8, copy=False)
    highest = (1 << bits) - 1
    return ((values.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)


def _on_white(colours: Bytes, alpha: Bytes, kind: int) -> Bytes:
    share = alpha.astype(np.uint32)
    seen = colours if kind == _PREMULTIPLIED else (colours * share + 127) // 255
    laid: Bytes = np.minimum(seen + (255 - share), 255).astype(np.uint8)
    return laid
