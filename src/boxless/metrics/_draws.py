"""Random numbers of an image that its name and a seed fix alone, whatever was drawn before and beside it."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_names(names: Sequence[str]) -> list[str]:
    """The names of images as a list of text."""
    if isinstance(names, str):
        raise DataError(f"names: got the text {names!r}; give a list of names, one of each image.")
    listed = list(names)
    wrong = next((name for name in listed if not isinstance(name, str)), None)
    if wrong is not None:
        raise DataError(f"names: got {wrong!r}; the name of an image is text, such as its path in the data set.")
    return listed


def check_whole(number: int, what: str) -> int:
    """A whole number from 0 on; 3 and numpy's 3 are one, 3.0 is refused as it may come from anything."""
    try:
        whole = operator.index(number)
    except TypeError:
        whole = -1
    if whole < 0:
        raise DataError(f"{what}: got {number!r}; it is a whole number from 0 on.")
    return whole


def draw_words(names: Sequence[str], each: int, seed: int, purpose: str) -> NDArray[np.uint16]:
    """Uniform random words (n, each) of 16 bits, from each name, the seed and the purpose alone.

    They come from the extendable hash SHAKE-128, which gives the same on every machine and in every version of numpy,
    and more of them than are asked for only ever follow behind.

    Raises:
        DataError: Names that are not text, or a seed that is not a whole number from 0 on.
    """
    start = f"{purpose}\0{check_whole(seed, 'seed')}\0"
    # Names of files that are not UTF-8 hold surrogates, which have to pass.
    texts = [(start + name).encode("utf-8", "surrogatepass") for name in check_names(names)]
    drawn = b"".join([hashlib.shake_128(text).digest(2 * each) for text in texts])
    return np.frombuffer(drawn, dtype="<u2").reshape(len(texts), each)
