"""Any colour mode that an image file may have, turned into 8-bit RGB by one stated rule each.

- Transparency (LA, RGBA, palettes and single colours marked transparent) is laid on **white**, as a viewer shows it.
- 16-bit grayscale is scaled by its full range, ``value / 257``: never by the image's own extremes, so that the images
  of a data set stay comparable. A 12-bit picture stored in 16 bits therefore looks dark.
- 32-bit integers within 0..65535 count as 16-bit; others are stretched from the image's own minimum and maximum.
- Floats within [0, 1] are multiplied by 255, floats within [0, 255] are taken as they are, others are stretched from
  the image's own minimum and maximum. Values that are not finite are refused.
- CMYK is converted without colour profiles; in JPEG files it is stored inverted, as Adobe's programs write it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND = (255, 255, 255)

_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB.

    Raises:
        ValueError: The mode cannot be converted, or holds values that are not finite.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_gray_to_uint8(np.asarray(image))).convert("RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _on_background(image)
    return image.convert("RGB")


def _on_background(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # premultiplied: Pillow converts each only to its plain sister
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, BACKGROUND)
    canvas.paste(rgba, mask=rgba.getchannel("A"))
    return canvas


def _gray_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return _sixteen_bits(values)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it holds values that are not finite (NaN or infinity)")
    if values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return _sixteen_bits(values)
    if values.dtype.kind == "f" and low >= 0 and high <= 255:
        scale = 255.0 if high <= 1 else 1.0
        return np.rint(values * scale).astype(np.uint8)
    span = float(high) - float(low)
    if span == 0:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values.astype(np.float64) - float(low)) * 255.0 / span).astype(np.uint8)


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257, rounded to the nearest
