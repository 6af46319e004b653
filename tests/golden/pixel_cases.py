"""Seeded maps with instance masks and what to ignore, for comparing pixel metrics; the same bits on every machine.

As in maps.py only the raw stream of PCG64 and what is exact everywhere are used. Maps are 224 x 224, as wsolevaluation
takes them; masks have other sizes, so that their resizing is compared too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIDE = 224
IMAGES = 4  # of each data set
INTERVALS = (0.001, 0.01, 0.1)
SIZES = ((224, 224), (300, 200), (448, 448), (97, 131), (36, 58), (640, 427), (501, 333))  # width, height
THRESHOLDS = np.arange(0, 1, 0.001)


class Case(NamedTuple):
    name: str
    values: np.ndarray  # (224, 224), float64 or float32
    masks: list[np.ndarray]  # one or more bool (h, w) of one size
    ignore: np.ndarray  # bool (h, w)


class Draws:
    """Uniform numbers of one seed."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(list(seed))

    def array(self, *shape: int) -> np.ndarray:
        return (self._bits.random_raw(shape) >> np.uint64(11)) * 2.0**-53

    def real(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.array(1)[0])

    def integer(self, low: int, high: int) -> int:
        """One of low, ..., high - 1."""
        return int(self.real(low, high))


def bump(draws: Draws, y: float, x: float, width: float) -> np.ndarray:
    """One at (y, x), all in parts of the side, and falling off around it, with some noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    fall = 1 / (1 + ((rows - y) * (rows - y) + (columns - x) * (columns - x)) / (width * width))
    return fall * (0.7 + 0.3 * draws.array(SIDE, SIDE))


def ellipse(size: tuple[int, int], y: float, x: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[: size[1], : size[0]]
    down, right = (rows + 0.5) / size[1] - y, (columns + 0.5) / size[0] - x
    return down * down + right * right * 0.7 <= width * width


def case(kind: str, index: int) -> Case:
    """The object lies near the map's bump, in one piece or several; what to ignore overlaps it."""
    draws = Draws(list(KINDS).index(kind), index)
    size = SIZES[draws.integer(0, len(SIZES))]
    y, x, width = draws.real(0.3, 0.7), draws.real(0.3, 0.7), draws.real(0.05, 0.3)
    pieces = [ellipse(size, y + draws.real(-0.2, 0.2), x + draws.real(-0.2, 0.2), width) for _ in range(1 + index % 3)]
    ignore = ellipse(size, draws.real(0, 1), draws.real(0, 1), 0.3 * (index % 2))
    values = KINDS[kind](draws, bump(draws, y, x, width))
    if kind == "empty_masks" and index in (0, 2):
        pieces = [piece & False for piece in pieces]
        ignore = ignore | (index == 2)
    return Case(f"{kind}_{index}", values, pieces, ignore)


def cases(kind: str) -> list[Case]:
    return [case(kind, index) for index in range(IMAGES)]


def digest(arrays: list[np.ndarray]) -> str:
    summed = hashlib.sha256()
    for each in arrays:
        summed.update(f"{each.dtype.str} {each.shape}".encode() + np.ascontiguousarray(each).tobytes())
    return summed.hexdigest()


def label(mask: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """As wsolevaluation writes both in one array: 1 on the object, 255 ignored, else 0."""
    return np.where(mask, 1, np.where(ignore, 255, 0)).astype(np.uint8)


def at_edges(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Thresholds themselves, the floats just beside them, and 1."""
    floored = THRESHOLDS[(values * 999).astype(np.int64)]
    choice = draws.array(SIDE, SIDE)
    floored = np.where(choice < 0.2, np.nextafter(floored, 0), floored)
    floored = np.where(choice > 0.8, np.nextafter(floored, 1), floored)
    return np.where((choice > 0.45) & (choice < 0.5), 1.0, floored)


KINDS: dict[str, Callable[[Draws, np.ndarray], np.ndarray]] = {
    "bumps": lambda draws, values: values,
    "noise": lambda draws, values: draws.array(SIDE, SIDE),
    "edges": at_edges,
    "thousandths": lambda draws, values: np.floor(values * 1000) / 1000,
    "bytes": lambda draws, values: np.floor(values * 255) / 255,
    "float32": lambda draws, values: values.astype(np.float32),
    "float32_thousandths": lambda draws, values: (np.floor(values * 1000) / 1000).astype(np.float32),
    "yes_or_no": lambda draws, values: (values > 0.4) * 1.0,
    "constant": lambda draws, values: np.full((SIDE, SIDE), 0.4),
    "zeros": lambda draws, values: np.zeros((SIDE, SIDE)),
    "ones": lambda draws, values: np.ones((SIDE, SIDE)),
    "faint": lambda draws, values: values * 0.0029,
    "empty_masks": lambda draws, values: values,
}
