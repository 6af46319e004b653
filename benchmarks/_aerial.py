"""A large picture of fields with a few of the sample's garments on them, written band by band to a tiled TIFF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from boxless.data.sample.assets import load_assets
from boxless.data.sample.scene import BEHIND, _Painter

CELL = 1024  # pixels: objects lie wholly inside such squares, at most one in each
_PAINTED = 512  # pixels in which a square is painted; then it is enlarged
_FIELD = 2  # cells across that show one photograph
_SIDES = (0.35, 0.6)  # the longer side of an object's box, as a part of a cell
_STORED = 512  # side of the file's tiles


def write(path: Path, cells: int, objects: int, seed: int = 0, compression: str | None = "jpeg") -> dict[str, Any]:
    """Write a picture of ``cells`` x ``cells`` squares; gives the class names and, for each object, class and box."""
    random = np.random.default_rng([seed, *b"aerial"])
    chosen = random.choice(cells * cells, objects, replace=False)
    assets = load_assets()
    truth: list[tuple[str, tuple[int, ...]]] = []

    def tiles() -> Iterator[NDArray[np.uint8]]:
        fields: dict[int, tuple[int, float, Any]] = {}
        for row in range(cells):
            if row % _FIELD == 0:
                fields = {}
            band = np.empty((CELL, cells * CELL, 3), np.uint8)
            for column in range(cells):
                painter = _Painter(assets, "test", _PAINTED, np.random.default_rng([seed, row, column]))
                left = column * CELL
                ground = _ground(painter, fields, row, column)
                thing = row * cells + column in chosen
                band[:, left : left + CELL], found = _cell(painter, ground, thing)
                if found is not None:
                    name, (x0, y0, x1, y1) = found
                    truth.append((name, (x0 + left, y0 + row * CELL, x1 + left, y1 + row * CELL)))
            for top in range(0, CELL, _STORED):
                for start in range(0, cells * CELL, _STORED):
                    yield np.ascontiguousarray(band[top : top + _STORED, start : start + _STORED])

    tifffile.imwrite(
        path,
        tiles(),
        shape=(cells * CELL, cells * CELL, 3),
        dtype=np.uint8,
        tile=(_STORED, _STORED),
        photometric="rgb",
        compression=compression,
    )
    return {"classes": list(assets.classes), "objects": truth}


def _ground(painter: _Painter, fields: dict[int, Any], row: int, column: int) -> NDArray[np.float32]:
    """A cell's part of the photograph of its field, which is stretched over it."""
    if column // _FIELD not in fields:
        picture = np.clip(painter.photograph() * painter.cast(), 0, 1)
        fields[column // _FIELD] = Image.fromarray((picture * 255).astype(np.uint8))
    field = fields[column // _FIELD]
    side = min(field.size) / _FIELD
    x, y = column % _FIELD * side, row % _FIELD * side
    part = field.resize((_PAINTED, _PAINTED), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return np.asarray(part, dtype=np.float32) / np.float32(255)


def _cell(
    painter: _Painter, canvas: NDArray[np.float32], thing: bool
) -> tuple[NDArray[np.uint8], tuple[str, tuple[int, ...]] | None]:
    found = None
    for _ in range(painter.random.integers(*BEHIND) - 1 if painter.coin() else 0):
        painter.lay(canvas, painter.clutter())
    if thing:
        label = int(painter.random.integers(len(painter.gray)))
        layer = painter.object(label, int(painter.random.integers(painter.gray.shape[1])), canvas, _SIDES)
        painter.lay(canvas, layer)
        solid = np.zeros((_PAINTED, _PAINTED), np.bool_)
        solid[layer.window.slices] = layer.alpha >= 0.5
        columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
        corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        found = load_assets().classes[label], tuple(int(each) * CELL // _PAINTED for each in corners)
    painted = Image.fromarray(np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8))
    return np.asarray(painted.resize((CELL, CELL), Image.Resampling.BICUBIC)), found
