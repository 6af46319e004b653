"""Boxes to evaluate against, kept apart from what is learned from.

A box must be four finite numbers with ``x0 < x1`` and ``y0 < y1`` (``<=`` where a format counts the last pixel in). It
may overlap the image's border by one pixel at most, since formats disagree on whether the last pixel counts: the left
and upper border are always checked, the right and lower one where the format says the image's size. Nothing is clipped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boxless.data.listing import Numbers, Source, located
from boxless.data.sources import SOURCES
from boxless.data.tables import Row, read_table
from boxless.errors import DataError, MissingTruthError, UnknownNameError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog
    from boxless.types import Boxes

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
BOXES_FILE = "boxes.csv"


@dataclass(frozen=True, slots=True)
class Truth:
    """True boxes of one split."""

    boxes: dict[str, Boxes]  # item name -> (n, 4) float64 xyxy in original upright pixels; images with boxes only
    source: str  # where they come from
    absent: frozenset[str] = frozenset()  # items that were looked at and show no object; what is in neither is unknown


def read_truth(catalog: Catalog, split: str) -> Truth:
    """The true boxes of a split, for evaluation.

    Boxes are half-open, save that those of the ``wsol`` format stay as the files give them, where the last pixel counts
    in some data sets and not in others.

    Raises:
        DataError: The data have no boxes for this split, or a wrong one; the message names file and line.
        UnknownNameError: There is no such split.
    """
    if split not in catalog.splits:
        raise UnknownNameError("split", split, catalog.splits)
    reader: Source = SOURCES.load(catalog.format)()
    found = reader.boxes(catalog)
    place = catalog.source or catalog.root
    if found is None:
        frame = "frame," if catalog.format == "video" else ""
        raise MissingTruthError(
            f"{place}: these data have no boxes, which evaluation needs (training does not); add a file {BOXES_FILE} "
            f"with the header path,{frame}{','.join(BOX_COLUMNS)} and one line for each box."
        )
    every, source = found
    names = [item.name for item in catalog.splits[split]]
    boxes = {name: np.array(every[name], dtype=np.float64).reshape(-1, 4) for name in names if every.get(name)}
    absent = frozenset(name for name in names if name in every and not every[name])
    if not boxes and not absent:
        raise MissingTruthError(
            f"{source}: none of the {len(names)} images of the split {split!r} has a box there; add some."
        )
    return Truth(boxes, source, absent)


def read_box_table(path: Path, catalog: Catalog) -> dict[str, list[Numbers]]:
    """Boxes of a CSV file with the header ``path,x0,y0,x1,y1``; paths are relative to the data's root.

    Four empty corners say: looked at, and no object is there.
    """
    return boxes_of_rows(read_table(path, ("path", *BOX_COLUMNS)).rows, catalog)


def boxes_of_rows(rows: Sequence[Row], catalog: Catalog) -> dict[str, list[Numbers]]:
    """Boxes by item name, from table rows with a path and four corners each."""
    known = {item.name for item in catalog.items}
    boxes: dict[str, list[Numbers]] = defaultdict(list)
    for row in rows:
        _, name = located(catalog.root, row.values["path"])
        if name not in known:
            raise DataError(
                f"{row.where}: a box for {row.values['path']!r}, which is no image of these data; "
                f"give the path relative to {catalog.root}, or remove the line."
            )
        corners = [row.values[column] for column in BOX_COLUMNS]
        boxes[name] += [checked_box(corners, row.where)] if any(corners) else []
    return dict(boxes)


def checked_box(
    corners: Sequence[object], where: str, *, size: tuple[float, float] | None = None, last_pixel_counts: bool = False
) -> Numbers:
    """Four corners as numbers, if they make a box.

    Args:
        corners: x0, y0, x1, y1.
        where: The file and line, for the message.
        size: (width, height) of the image, if known.
        last_pixel_counts: Whether a box of one column may have equal x0 and x1.
    """
    x0, y0, x1, y1 = numbers = _numbers(corners, where)
    if x1 < x0 or y1 < y0 or (not last_pixel_counts and (x1 == x0 or y1 == y0)):
        raise DataError(f"{where}: the box {_text(numbers)} is inverted or empty; expected x0 < x1 and y0 < y1.")
    width, height = size or (math.inf, math.inf)
    if min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:
        image = f" of {width:g} x {height:g} pixels" if size else ""
        raise DataError(
            f"{where}: the box {_text(numbers)} lies outside the image{image}; "
            "expected pixels of the original, upright image, x0,y0,x1,y1 from its upper left corner."
        )
    return numbers


def _numbers(corners: Sequence[object], where: str) -> Numbers:
    try:
        x0, y0, x1, y1 = (float(corner) for corner in corners)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        x0 = y0 = x1 = y1 = math.nan
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        got = ",".join(map(str, corners))
        raise DataError(f"{where}: a box must be four numbers x0,y0,x1,y1, got {got!r}.")
    return x0, y0, x1, y1


def _text(numbers: Numbers) -> str:
    return ",".join(f"{number:g}" for number in numbers)
