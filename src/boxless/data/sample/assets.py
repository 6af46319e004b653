"""What the sample is made of: gray garments with their silhouettes, and photographs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

FOLDER = Path(__file__).parent / "assets"
SIDE = 28  # of a Fashion-MNIST item, in pixels
_INKED = 24  # gray levels above this belong to the item, whose ground is black
_SOLID = 72  # an outline pixel of this gray level or more is wholly covered by the item


@dataclass(frozen=True, slots=True)
class Assets:
    """The unpacked assets; ``gray`` and ``coverage`` hold (classes, n, 28, 28) in [0, 1] for each split."""

    classes: tuple[str, ...]
    counts: dict[str, int]  # items of each class, by split
    gray: dict[str, FloatArray]
    coverage: dict[str, FloatArray]  # how much of a pixel the item covers: its soft silhouette
    photographs: dict[str, tuple[FloatArray, ...]]  # (h, w, 3) in [0, 1], by split; those of test are in no other split
    grains: dict[str, tuple[FloatArray, ...]]  # their brightness at half their size, (h, w)


@cache
def load_assets() -> Assets:
    """The assets of this package; read once."""
    manifest = json.loads((FOLDER / "assets.json").read_text(encoding="utf-8"))
    classes, counts = tuple(manifest["classes"]), dict(manifest["counts"])
    groups: dict[str, list[FloatArray]] = {"train": [], "test": []}
    for photograph in manifest["photographs"]:
        groups[photograph["group"]].append(_pixels(FOLDER / photograph["file"]) / np.float32(255))
    photographs = {split: tuple(groups["test" if split == "test" else "train"]) for split in counts}
    tiles = _cut(_pixels(FOLDER / "items.png"))
    gray, coverage = _unpremultiply(tiles, silhouettes(tiles))
    starts = np.cumsum([0, *(number * len(classes) for number in counts.values())])
    parts = {split: slice(starts[i], starts[i + 1]) for i, split in enumerate(counts)}
    shape = (len(classes), -1, SIDE, SIDE)
    return Assets(
        classes,
        counts,
        {split: gray[part].reshape(shape) for split, part in parts.items()},
        {split: coverage[part].reshape(shape) for split, part in parts.items()},
        photographs,
        {split: tuple(_halve(luminance(each)) for each in pictures) for split, pictures in photographs.items()},
    )


def luminance(picture: FloatArray) -> FloatArray:
    """The (h, w) brightness of an (h, w, 3) picture."""
    brightness: FloatArray = picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return brightness


def silhouettes(tiles: FloatArray) -> BoolArray:
    """The items of (n, h, w) gray tiles (0-255) with their dark inner parts, such as a black print on a shirt.

    What the ground cannot reach from the border is inside. An inner gap that is pure black over 3 x 3 pixels or more,
    as under the handle of a bag, stays open.
    """
    empty = np.pad(tiles <= _INKED, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    ground = np.zeros_like(empty)
    ground[:, 0] = ground[:, -1] = ground[:, :, 0] = ground[:, :, -1] = True
    while True:
        grown = _grow(ground, diagonal=False) & empty
        if (grown == ground).all():
            break
        ground = grown
    inside = ~ground
    black = inside & np.pad(tiles == 0, ((0, 0), (1, 1), (1, 1)))
    gap = _grow(~_grow(~black)) & black
    whole: BoolArray = (inside & ~gap)[:, 1:-1, 1:-1]
    return whole


def _grow(region: BoolArray, *, diagonal: bool = True) -> BoolArray:
    """``region`` and its neighbours, in (n, h, w)."""
    tall = region.copy()
    tall[:, 1:] |= region[:, :-1]
    tall[:, :-1] |= region[:, 1:]
    source = tall if diagonal else region
    wide = tall.copy()
    wide[:, :, 1:] |= source[:, :, :-1]
    wide[:, :, :-1] |= source[:, :, 1:]
    return wide


def _unpremultiply(tiles: FloatArray, inside: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Gray levels freed from the black ground that outline pixels were mixed with, and the coverage of each pixel."""
    outline = inside & _grow(~inside, diagonal=False)
    coverage = np.where(outline, np.clip(tiles / _SOLID, 0, 1), inside).astype(np.float32)
    gray = np.clip(tiles / (255 * np.maximum(coverage, 0.35)), 0, 1).astype(np.float32)
    return gray, coverage


def _halve(picture: FloatArray) -> FloatArray:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    half: FloatArray = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    return half


def _cut(atlas: FloatArray) -> FloatArray:
    rows, columns = atlas.shape[0] // SIDE, atlas.shape[1] // SIDE
    return atlas.reshape(rows, SIDE, columns, SIDE).transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE)


def _pixels(path: Path) -> FloatArray:
    with Image.open(path) as opened:
        return np.asarray(opened, dtype=np.float32)
