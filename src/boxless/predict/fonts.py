"""A font that has the glyphs of a text: class names come in every script, and Pillow's own font knows Latin only."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

# Looked for in the system's font folders, in this order, if the built-in font lacks a glyph. Linux, Windows, macOS.
_CANDIDATES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "meiryo.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Nirmala.ttf",
)
_NO_GLYPH = "\U0010ffff"  # a code point that no font draws: what comes out is the font's box for "missing"


def font_for(text: str, size: int) -> Font:
    """The first font that has every character of ``text``, or the one that has most of them."""
    return _font(_best("".join(sorted(set(text)))), max(1, size))


@lru_cache(maxsize=1024)
def _best(characters: str) -> str | None:
    best, most = None, -1
    for name in (None, *_CANDIDATES):
        try:
            font = _font(name, 16)
        except OSError:  # not on this machine
            continue
        missing = bytes(font.getmask(_NO_GLYPH))
        known = sum(each.isspace() or bytes(font.getmask(each)) != missing for each in characters)
        if known > most:
            best, most = name, known
        if known == len(characters):
            break
    return best


@lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> Font:
    font = ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
    if not isinstance(font, Font):
        raise OSError("Pillow was built without FreeType")
    return font
