"""The square that a network looks at; without torch, so that an exported model sees what the trained one saw."""

from __future__ import annotations

from PIL import Image

_GAP = 3.0  # how far Pillow may reduce by whole factors before it resamples; only large images are changed by it


def squared(image: Image.Image, side: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """An RGB image, or a box of it, as a square: bilinear, with antialiasing; the aspect ratio is lost."""
    if box is None and image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=_GAP)
