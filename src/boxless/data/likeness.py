"""Which images look alike: a difference hash of each, and a lookup that does not compare all with all.

The hash (Krawetz 2013, "dHash") is 64 bits: in a 9 x 8 gray thumbnail, whether each pixel is darker than its right
neighbour. Copies that were resized, re-encoded or slightly retouched differ by a few bits. Plain images, whose bits
would be mere noise, get no hash, and pairs are confirmed on the thumbnails themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 9, 8  # of the thumbnail
MAX_BITS = 7  # hashes at most this far apart are looked at; the bands below find every such pair
MAX_LEVELS = 6.0  # mean difference of thumbnails, of 255 gray levels
_MIN_EDGES = 16  # of 64 neighbours, those that must differ by ...
_EDGE = 3  # ... at least so many levels, or else the image is too plain
_BANDS = MAX_BITS + 1  # of 8 bits each: 7 changed bits leave one of them as it was
_BLOCK = 1 << 22  # pairs that are compared at once: 32 MB

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two items by their places in the sequence, and how many bits of their hashes differ."""

    first: int
    second: int
    bits: int


def thumbnail(image: Image.Image) -> Thumbnail:
    """The gray levels that everything here is computed from, (8, 9)."""
    return np.array(image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def difference_hash(levels: Thumbnail) -> int | None:
    """The 64 bits, row by row from the highest; None for an image too plain to tell from another plain one."""
    steps = np.diff(levels.astype(np.int16), axis=1)
    if np.count_nonzero(np.abs(steps) >= _EDGE) < _MIN_EDGES:
        return None
    return int.from_bytes(np.packbits(steps > 0).tobytes())


def alike_across(
    hashes: Sequence[int | None], thumbnails: Sequence[Thumbnail | None], groups: Sequence[str]
) -> list[Alike]:
    """For each item, the most alike item of each other group, if there is one; each pair once, ``first < second``."""
    chosen = [index for index, code in enumerate(hashes) if code is not None]
    codes = np.array([hashes[index] for index in chosen], np.uint64)
    names = np.array([groups[index] for index in chosen])
    best: dict[tuple[int, str], Alike] = {}
    for left, right in _candidates(codes, names):
        first, second = sorted((chosen[left], chosen[right]))
        one, other = thumbnails[first], thumbnails[second]
        if one is None or other is None or np.abs(one.astype(np.int16) - other).mean() > MAX_LEVELS:
            continue
        pair = Alike(first, second, int(np.bitwise_count(codes[left] ^ codes[right])))
        for key in ((first, groups[second]), (second, groups[first])):
            if key not in best or (pair.bits, pair.first, pair.second) < _rank(best[key]):
                best[key] = pair
    return sorted(set(best.values()), key=lambda pair: (pair.second, pair.first))


def _rank(pair: Alike) -> tuple[int, int, int]:
    return pair.bits, pair.first, pair.second


def _candidates(codes: NDArray[np.uint64], names: NDArray[np.str_]) -> Iterator[tuple[int, int]]:
    """Pairs of different groups at most ``MAX_BITS`` apart, some of them more than once."""
    for band in range(_BANDS):
        keys = (codes >> np.uint64(8 * band)) & np.uint64(0xFF)
        buckets: dict[int, list[int]] = defaultdict(list)
        for place, key in enumerate(keys.tolist()):
            buckets[key].append(place)
        for places in buckets.values():
            if len(places) > 1:
                yield from _within(np.array(places), codes, names)


def _within(places: NDArray[np.int64], codes: NDArray[np.uint64], names: NDArray[np.str_]) -> Iterator[tuple[int, int]]:
    for name in np.unique(names[places])[:-1]:  # each group against those that sort after it
        inside, later = places[names[places] == name], places[names[places] > name]
        rows = max(1, _BLOCK // max(1, len(later)))
        for start in range(0, len(inside), rows):
            block = inside[start : start + rows]
            apart = np.bitwise_count(codes[block][:, None] ^ codes[later][None, :])
            for row, column in np.argwhere(apart <= MAX_BITS):
                yield int(block[row]), int(later[column])
