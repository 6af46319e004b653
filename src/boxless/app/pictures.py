"""Pixels as a page takes them: inside of its address, so that no file is ever served."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from boxless.data.images import read_image
from boxless.predict.overlay import heat

if TYPE_CHECKING:
    from boxless.types import FloatMap

_LONGEST = 1600  # pixels of a preview's longer side


def preview(path: Path) -> str:
    """The upright image at no more than a screen's size.

    Raises:
        DataError: It cannot be read.
    """
    image, _ = read_image(path, shrink_to=_LONGEST // 2)
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BILINEAR)
    return _address(image, "JPEG", quality=88)


def tint(values: FloatMap | None) -> str | None:
    """A map as a layer over the image: clear where it is 0, and warm where it is 1."""
    if values is None:
        return None
    return _address(heat(Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))), "PNG")


def _address(image: Image.Image, kind: str, **options: int) -> str:
    file = BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
