"""Maps of overlapping tiles, blended into one map of the whole image.

What tiles say is kept aside, half-precise and on disk when it is much, and one class at a time is blended from it. So
memory holds one map of the whole, and that has at most `MOST_CELLS` cells: of a larger image each tile's map is
averaged to fewer cells first.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from PIL import Image

from boxless.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    _Said = tuple[int, int, float, int]  # row, column, weight, and where in the file the map begins

MOST_CELLS = 1 << 23  # of a blended map: 32 MiB
CUT = 0.5  # where a stretched map has its threshold
_LEAST = 1e-6
_LONGEST = 1 << 14  # cells of a side: the kernels of components count rows and columns in 16 bits
_IN_MEMORY = 1 << 26  # bytes of tiles' maps before they go to a temporary file


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one side of an image."""

    length: int  # pixels of the image
    cells: int  # of the blended map
    side: int  # cells of a tile
    starts: tuple[int, ...]  # first cell of each tile

    @classmethod
    def of(cls, length: int, tile: int, overlap: float, side: int) -> Axis:
        """Tiles of ``tile`` pixels and ``side`` cells that overlap by at least this part, evenly spread."""
        if length <= tile:
            return cls(length, side, side, (0,))
        count = 1 + math.ceil((length - tile) / (tile * (1 - overlap)))
        cells = max(side, round(length * side / tile))
        return cls(length, cells, side, tuple(round(place * (cells - side) / (count - 1)) for place in range(count)))

    def span(self, place: int) -> tuple[float, float]:
        """The pixels that a tile covers."""
        start, unit = self.starts[place], self.length / self.cells
        return start * unit, min((start + self.side) * unit, self.length)

    def windows(self) -> NDArray[np.float64]:
        """How much each cell counts in each tile, (tiles, cells): smoothly less from a tile's middle outward."""
        window = np.sin(np.pi * (np.arange(self.side) + 0.5) / self.side) ** 2
        spread = np.zeros((len(self.starts), self.cells))
        for row, start in zip(spread, self.starts, strict=True):
            row[start : start + self.side] = window
        return spread


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles over an image."""

    across: Axis
    down: Axis

    @classmethod
    def of(cls, size: tuple[int, int], tile: int, overlap: float, side: int) -> Grid:
        """Tiles of ``tile`` pixels over an image of ``size`` (width, height), of ``side`` cells each if that may be.

        Raises:
            ConfigError: So many tiles that a cell for each were too many.
        """
        across, down = (max(1.0, length / tile) for length in size)
        most = min(math.sqrt(MOST_CELLS / (across * down)), _LONGEST / max(across, down))
        if most < 1:
            raise ConfigError(
                f"tiles of {tile} pixels are too many for {size[0]} x {size[1]} pixels; "
                f"take larger ones, such as of {math.ceil(tile / most**2)}."  # enough, whichever limit it is
            )
        cells = min(side, math.floor(most))
        return cls(Axis.of(size[0], tile, overlap, cells), Axis.of(size[1], tile, overlap, cells))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the blended map."""
        return self.down.cells, self.across.cells

    def tiles(self) -> Iterator[tuple[int, int]]:
        """(row, column) of each tile, row by row."""
        return ((row, column) for row in range(len(self.down.starts)) for column in range(len(self.across.starts)))

    def box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """A tile in pixels of the image."""
        (x0, x1), (y0, y1) = self.across.span(column), self.down.span(row)
        return x0, y0, x1, y1


@final
class Mosaic:
    """What tiles say of each class, and the blended map of any of them.

    Where several tiles see a place, what counts is the mean of their values, weighted by a window that falls smoothly
    to nothing at a tile's border, and by the weight that each tile has for the class. So there are no seams, and a tile
    that does not show the class has no say in how it looks beside it.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._said: dict[int, list[_Said]] = {}  # of each class
        self._across, self._down = grid.across.windows(), grid.down.windows()

    @property
    def classes(self) -> list[int]:
        """Those of which some tile has a map."""
        return sorted(self._said)

    def add(self, row: int, column: int, index: int, weight: float, values: Floats) -> None:
        """A tile's map (h, w) of a class, in [0, 1], and how much it counts, above 0."""
        across, down = self.grid.across.side, self.grid.down.side
        if values.shape != (down, across):
            values = np.asarray(Image.fromarray(values).resize((across, down), Image.Resampling.BOX))
        offset = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(values, np.float16).tobytes())
        self._said.setdefault(index, []).append((row, column, weight, offset))

    def blend(self, classes: Sequence[int]) -> Floats:
        """One map (h, w) of these classes: of one, or of whatever each tile saw."""
        across, down = self.grid.across, self.grid.down
        blended = np.zeros(self.grid.shape, np.float32)
        for row, column, weight, offset in self._listed(classes):
            top, left = down.starts[row], across.starts[column]
            rows, columns = slice(top, top + down.side), slice(left, left + across.side)
            window = np.outer(self._down[row, rows] * weight, self._across[column, columns])
            blended[rows, columns] += window * self._read(offset)
        counted = self._counted(classes)
        blended /= np.where(counted > 0, counted, 1)
        return blended.clip(0, 1)

    def weights(self, classes: Sequence[int]) -> Floats:
        """How much the tiles count for these classes at each place, (h, w): the mean of their weights."""
        return (self._counted(classes) / np.outer(self._down.sum(0), self._across.sum(0))).astype(np.float32)

    def _counted(self, classes: Sequence[int]) -> NDArray[np.float64]:
        weights = np.zeros((len(self._down), len(self._across)))
        for row, column, weight, _ in self._listed(classes):
            weights[row, column] += weight
        counted: NDArray[np.float64] = self._down.T @ weights @ self._across
        return counted

    def _listed(self, classes: Sequence[int]) -> Iterator[_Said]:
        return (each for index in classes for each in self._said[index])

    def close(self) -> None:
        """Let go of what was said."""
        self._file.close()

    def _read(self, offset: int) -> NDArray[np.float16]:
        shape = self.grid.down.side, self.grid.across.side
        self._file.seek(offset)
        return np.frombuffer(self._file.read(2 * shape[0] * shape[1]), np.float16).reshape(shape)


def stretched(values: Floats, threshold: float) -> Floats:
    """A map with its maximum at 1 and its threshold, a fraction of the maximum, at `CUT`; one of zeros as it is."""
    highest = float(values.max())
    if highest <= 0:
        return values
    cut = min(max(threshold, _LEAST), 1 - _LEAST)
    stretched: Floats = np.interp(values / highest, [0, cut, 1], [0, CUT, 1]).astype(np.float32)
    return stretched


def reduced(values: Floats, side: int) -> Floats:
    """A map whose longer side has at most so many cells, averaged from those there are."""
    height, width = values.shape
    factor = side / max(height, width)
    if factor >= 1:
        return values
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
