"""A Gaussian filter over five features a pixel, in time linear in the pixels: the permutohedral lattice.

Adams, Baek and Davis, "Fast high-dimensional filtering using the permutohedral lattice", Eurographics 2010. Features
are lifted onto the plane of six coordinates whose sum is zero, which the lattice parts into simplices. Each pixel gives
its value to the six vertices around it (splat), vertices are mixed with their neighbours along the six axes (blur), and
pixels gather from their vertices (slice). Scales are those of Krähenbühl and Koltun, "Efficient inference in fully
connected CRFs with Gaussian edge potentials", NIPS 2011. Vertices that no pixel touches are left out, as there.

The loops are compiled by numba on first use, then cached. Arrays are contiguous and of the types named here; nothing
checks its input. A vertex is one int64, its *key*: its first five coordinates, each counted from a lower bound, as
digits of a number whose digits have as many values as coordinates can take, and room to either side. So a step to a
neighbour adds one and the same number to the key of any vertex.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from boxless.errors import DataError
from boxless.ops._numba import compiled

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Keys = NDArray[np.int64]
Index = np.uint64  # what indexes an array in the inner loops, see `boxless.ops._kernels`

FEATURES = 5
VERTICES = FEATURES + 1  # of a simplex; also the number of coordinates, and what they are multiples of
ORDER = np.arange(VERTICES, dtype=np.int64)  # of the axes
WIDTH = 4  # values of a pixel that are filtered at once: what fits into a register of 128 bits
BLOCK = 256  # pixels that are placed at once, by loops that compile to vectors
ROOM = 2 * VERTICES  # a vertex is less than 6 from its pixel in any coordinate, its neighbour 5 further
LARGEST_KEY = 2**62
LARGEST_COORDINATE = 2**16  # so that float32 still tells places within a simplex
HASH = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hashing: 2^64 over the golden ratio
FIRST_BITS = 14  # the hash table grows from 2^14 places
# What makes the blur, of variance one half for each of two steps in each axis, one of variance 1 in the features.
SCALES = np.array(
    [math.sqrt(2 / 3) * VERTICES / math.sqrt((i + 1) * (i + 2)) for i in range(FEATURES)], dtype=np.float32
)
GAIN = np.float32(1 / (1 + 2.0**-FEATURES))  # makes up for what the blur takes from a value's own vertex


def lattice_filter(features: Floats, values: Floats, *, symmetric: bool) -> Floats:
    """The sum over pixels j of ``exp(-|f_i - f_j|^2 / 2)`` times the values of j, nearly, for each pixel i.

    Args:
        features: (5, n), finite.
        values: (k, n).
        symmetric: Blur along the axes in both orders and take the mean: since vertices are left out, the order tells,
            and one order alone is not a symmetric matrix.

    Returns:
        (k, n).

    Raises:
        DataError: The features spread too far to be numbered.
    """
    strides, lowest = _numbering(features)
    slots, weights, listed, table = embed(features, SCALES, strides, lowest)
    neighbours = link(listed, table, _steps(strides))
    filtered = np.empty_like(values)
    padded = np.zeros((values.shape[1], WIDTH), dtype=np.float32)
    for first in range(0, len(values), WIDTH):
        part = values[first : first + WIDTH]
        padded[:, : len(part)] = part.T  # what an earlier part left beside it is filtered too, and not looked at
        given = splat(slots, weights, padded, len(listed))
        mixed = blur(given.copy(), neighbours, ORDER)
        if symmetric:
            mixed += blur(given, neighbours, ORDER[::-1].copy())
            mixed *= np.float32(0.5)
        filtered[first : first + WIDTH] = gather(slots, weights, mixed)[:, : len(part)].T
    return filtered


def _numbering(features: Floats) -> tuple[Keys, Integers]:
    """What a step in each coordinate adds to a key (6,), and the lower bounds of coordinates (6,)."""
    scaled = np.sort(np.stack([features.min(axis=1), features.max(axis=1)], axis=1) * SCALES[:, None].astype(float))
    lower, upper = scaled.T
    bounds = []
    for coordinate in range(FEATURES):
        # coordinate i is the sum of the scaled features from i on, less i times feature i - 1
        low, high = lower[coordinate:].sum(), upper[coordinate:].sum()
        if coordinate:
            low, high = low - coordinate * upper[coordinate - 1], high - coordinate * lower[coordinate - 1]
        bounds.append((math.floor(low) - ROOM, math.ceil(high) + ROOM))
    strides, stride = [], 1
    for low, high in bounds:
        strides.append(stride)
        stride *= high - low + 1
    if stride > LARGEST_KEY or max(max(high, -low) for low, high in bounds) > LARGEST_COORDINATE:
        raise DataError(
            "dense CRF: the sigmas are too small for the lattice, whose vertices cannot be numbered; "
            "make them larger or take method='exact'."
        )
    return np.array([*strides, 0], dtype=np.int64), np.array([low for low, _ in bounds] + [0], dtype=np.int32)


def _steps(strides: Keys) -> Keys:
    """What a step along each axis adds to a key: every coordinate falls by one, that of the axis gains five."""
    steps: Keys = VERTICES * strides - strides.sum()
    return steps


@compiled
def embed(features: Floats, scales: Floats, strides: Keys, lowest: Integers) -> tuple[Integers, Floats, Keys, Integers]:
    """Find the six vertices around each pixel, and number all vertices from 1 on.

    Returns:
        The numbers of each pixel's vertices (n, 6), its barycentric weights for them (n, 6), the vertices' keys by
        number, and the hash table that finds them.
    """
    count = features.shape[1]
    slots, weights = np.empty((count, VERTICES), dtype=np.int32), np.empty((count, VERTICES), dtype=np.float32)
    listed = np.empty(slots.size + 1, dtype=np.int64)
    listed[0] = -1  # nobody's key: all are positive
    used, table = 1, _grown(listed, 1, FIRST_BITS)
    keys, offsets = np.empty((BLOCK, VERTICES), dtype=np.int64), np.empty((VERTICES, BLOCK), dtype=np.float32)
    nearest, ranks = np.empty((VERTICES, BLOCK), dtype=np.int32), np.empty((VERTICES, BLOCK), dtype=np.int32)
    base = -(lowest * strides).sum()
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        _elevate(features[:, start:stop], scales, offsets)
        _round(stop - start, offsets, nearest, ranks)
        _surround(offsets, nearest, ranks, strides, base, keys, weights[start:stop])
        used, table = _collect(keys, slots[start:stop], listed, used, table)
    return slots, weights, listed[:used].copy(), table


@compiled
def _elevate(features: Floats, scales: Floats, elevated: Floats) -> None:
    """The six coordinates of each pixel of a block, in units of six."""
    for place in range(features.shape[1]):
        total = np.float32(0)
        for i in range(FEATURES, 0, -1):
            scaled = features[i - 1, place] * scales[i - 1] * np.float32(1 / VERTICES)
            elevated[i, place] = total - np.float32(i) * scaled
            total += scaled
        elevated[0, place] = total


@compiled
def _round(width: int, offsets: Floats, nearest: Integers, ranks: Integers) -> None:
    """The vertex nearest to each pixel whose coordinates are multiples of six, in units of six.

    ``offsets`` comes as coordinates and is left as what they exceed that vertex by; ``ranks`` are the coordinates'
    places among these offsets, the largest first.
    """
    for i in range(VERTICES):
        for place in range(width):
            value = offsets[i, place]
            nearest[i, place] = np.int32(value + (np.float32(0.5) if value >= 0 else np.float32(-0.5)))
            offsets[i, place] = value - np.float32(nearest[i, place])
            ranks[i, place] = 0
    for i in range(VERTICES):
        for j in range(i + 1, VERTICES):
            for place in range(width):
                less = np.int32(offsets[i, place] < offsets[j, place])
                ranks[i, place] += less
                ranks[j, place] += 1 - less
    for place in range(width):
        off = np.int32(0)  # by how much the rounded coordinates miss the plane
        for i in range(VERTICES):
            off += nearest[i, place]
        for i in range(VERTICES):
            rank = ranks[i, place] + off
            move = np.int32(rank < 0) - np.int32(rank > FEATURES)
            ranks[i, place] = rank + VERTICES * move
            nearest[i, place] += move
            offsets[i, place] -= np.float32(move)


@compiled
def _surround(
    offsets: Floats, nearest: Integers, ranks: Integers, strides: Keys, base: int, keys: Keys, weights: Floats
) -> None:
    """The keys of the vertices around each pixel of a block, and its weights for them."""
    jumps = strides * VERTICES
    total = strides.sum()
    by_rank, ordered = np.empty(VERTICES, dtype=np.int64), np.empty(VERTICES, dtype=np.float32)
    for place in range(len(weights)):
        key = base
        for i in range(VERTICES):
            rank = Index(ranks[i, place])
            key += nearest[i, place] * jumps[i]
            by_rank[rank], ordered[rank] = jumps[i], offsets[i, place]
        keys[place, 0], weights[place, 0] = key, 1 + ordered[FEATURES] - ordered[0]
        for vertex in range(1, VERTICES):
            # from one vertex to the next all coordinates gain one, and that of the next lower rank loses six
            key += total - by_rank[VERTICES - vertex]
            keys[place, vertex] = key
            weights[place, vertex] = ordered[FEATURES - vertex] - ordered[VERTICES - vertex]


@compiled
def _find(key: int, listed: Keys, table: Integers, shift: Index) -> Index:
    """The place of a key in the hash table, or the empty one where it belongs."""
    mask = Index(len(table) - 1)
    place = (Index(key) * HASH) >> shift
    while table[place] != 0 and listed[Index(table[place])] != key:
        place = (place + Index(1)) & mask
    return place


@compiled
def _grown(listed: Keys, count: int, bits: int) -> Integers:
    """A hash table of 2^bits places for the keys listed from 1 on; 0 is an empty place."""
    table = np.zeros(1 << bits, dtype=np.int32)
    for slot in range(1, count):
        table[_find(listed[slot], listed, table, Index(64 - bits))] = slot
    return table


@compiled
def _bits(table: Integers) -> int:
    """The logarithm of the table's length."""
    bits = 0
    while 1 << bits < len(table):
        bits += 1
    return bits


@compiled
def _collect(keys: Keys, slots: Integers, listed: Keys, used: int, table: Integers) -> tuple[int, Integers]:
    """Number the vertices of a block; how many numbers are then used, and the table, which may have grown."""
    bits = _bits(table)
    for place in range(len(slots)):
        for vertex in range(VERTICES):
            key = keys[place, vertex]
            if place > 0 and keys[place - 1, vertex] == key:  # pixels side by side mostly are alike
                slots[place, vertex] = slots[place - 1, vertex]
                continue
            found = _find(key, listed, table, Index(64 - bits))
            if table[found] == 0:
                table[found], listed[used] = used, key
                slots[place, vertex] = used
                used += 1
                if 2 * used > len(table):
                    bits += 1
                    table = _grown(listed, used, bits)
            else:
                slots[place, vertex] = table[found]
    return used, table


@compiled
def link(listed: Keys, table: Integers, steps: Keys) -> Integers:
    """The numbers of each vertex's neighbours along each axis (6, m, 2); 0 where there is none."""
    neighbours = np.zeros((VERTICES, len(listed), 2), dtype=np.int32)
    bits = _bits(table)
    for axis in range(VERTICES):
        for slot in range(1, len(listed)):
            other = table[_find(listed[slot] + steps[axis], listed, table, Index(64 - bits))]
            if other:
                neighbours[axis, slot, 0] = other
                neighbours[axis, Index(other), 1] = slot
    return neighbours


@compiled
def splat(slots: Integers, weights: Floats, values: Floats, count: int) -> Floats:
    """What each vertex is given by its pixels (m, 4); row 0 is for the neighbours that are not there."""
    given = np.zeros((count, WIDTH), dtype=np.float32)
    for pixel in range(len(slots)):
        for vertex in range(VERTICES):
            slot, weight = Index(slots[pixel, vertex]), weights[pixel, vertex]
            for channel in range(WIDTH):
                given[slot, channel] += weight * values[pixel, channel]
    return given


@compiled
def blur(given: Floats, neighbours: Integers, order: Keys) -> Floats:
    """Each vertex plus the mean of its two neighbours, along one axis after the other; ``given`` is overwritten."""
    mixed = np.zeros_like(given)
    for axis in order:
        for slot in range(1, len(given)):
            one, two = Index(neighbours[axis, slot, 0]), Index(neighbours[axis, slot, 1])
            for channel in range(WIDTH):
                mixed[slot, channel] = given[slot, channel] + np.float32(0.5) * (
                    given[one, channel] + given[two, channel]
                )
        given, mixed = mixed, given
    return given


@compiled
def gather(slots: Integers, weights: Floats, mixed: Floats) -> Floats:
    """What each pixel gets from its vertices (n, 4)."""
    filtered = np.zeros((len(slots), WIDTH), dtype=np.float32)
    for pixel in range(len(slots)):
        for vertex in range(VERTICES):
            slot, weight = Index(slots[pixel, vertex]), GAIN * weights[pixel, vertex]
            for channel in range(WIDTH):
                filtered[pixel, channel] += weight * mixed[slot, channel]
    return filtered
