"""Small pictures for a page, in as much room as there is."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from boxless.data.images import read_image
from boxless.errors import DataError
from boxless.listener import Listener
from boxless.stream import default_workers, ordered_map

SIDES = (640, 480, 360, 280, 220, 160, 112)  # of the longer side, in pixels
QUALITY = 82
_TRIED = 16  # images that tell whether a side fits


@dataclass(frozen=True, slots=True)
class Pictures:
    """JPEG files as base64; there may be fewer than images were given."""

    texts: tuple[str, ...]  # empty for an image that can no longer be read
    side: int


def embed(paths: Sequence[Path], room: int, listener: Listener | None = None) -> Pictures:
    """Pictures of all images at the largest side that fits, or of as many as fit at the smallest.

    Args:
        paths: The images.
        room: Bytes of text for all of them.
        listener: Hears of the progress.
    """
    listener = listener or Listener()
    for side in SIDES[:-1]:
        some = [len(picture(path, side)) + 1 for path in paths[:: max(1, len(paths) // _TRIED)]]
        if sum(some) / max(len(some), 1) * len(paths) <= room:
            texts = _all(paths, side, room, listener)
            if len(texts) == len(paths):
                return Pictures(tuple(texts), side)
    return Pictures(tuple(_all(paths, SIDES[-1], room, listener)), SIDES[-1])


def picture(path: Path, side: int) -> str:
    """One image as a JPEG whose longer side has at most ``side`` pixels; nothing if it cannot be read."""
    try:
        image, _ = read_image(path, shrink_to=side)
    except DataError:
        return ""
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return b64encode(file.getvalue()).decode()


def _all(paths: Sequence[Path], side: int, room: int, listener: Listener) -> list[str]:
    """The first pictures, until there is no more room."""
    texts: list[str] = []
    listener.begin("pictures", len(paths))
    for text in ordered_map(lambda path: picture(path, side), paths, workers=default_workers(), ahead=64):
        room -= len(text) + 1
        if room < 0:
            break
        texts.append(text)
        listener.advance()
    listener.end()
    return texts
