"""Text of files, such as names of images, as a terminal may have it."""

from __future__ import annotations

import re

# What moves the cursor, sets titles or turns the direction of writing, and halves of surrogate pairs, which names of
# files have where they are not UTF-8 and no output can hold.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters written out as JSON writes them, but for ends of lines and tabs."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
