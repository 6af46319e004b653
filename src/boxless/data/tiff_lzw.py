"""LZW pieces of TIFF files, decoded by Pillow's libtiff: a damaged one ends other decoders' whole process."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import TiffImagePlugin

LZW = 5
_SHORT, _LONG = 3, 4


def decode_lzw(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that a piece was made of.

    The piece is given to libtiff as an image of one row of grey pixels, in a file of its own.

    Raises:
        OSError: It is damaged, or holds fewer bytes.
    """
    tags = (
        (256, _LONG, size), (257, _LONG, 1), (258, _SHORT, 8), (259, _SHORT, LZW), (262, _SHORT, 1), (273, _LONG, 134),
        (277, _SHORT, 1), (278, _LONG, 1), (279, _LONG, len(data)),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(head.ljust(134, b"\0") + data)) as image:
        return np.asarray(image).tobytes()
