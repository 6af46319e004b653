"""CSV files: ``path,label``, perhaps with ``split`` and with box columns for evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.listing import Entry, Listing, Numbers, located, missing_images, some
from boxless.data.splits import SPLITS, split_of
from boxless.data.tables import Row, Table, header_of, read_table
from boxless.data.truth import BOX_COLUMNS, BOXES_FILE, boxes_of_rows, read_box_table
from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

REQUIRED = ("path", "label")
_KNOWN = {*REQUIRED, "split", *BOX_COLUMNS}


@dataclass(slots=True)
class _Image:
    path: Path
    name: str
    split: str | None
    labels: dict[str, None] = field(default_factory=dict)
    lines: int = 0


class TableSource:
    """A CSV file in UTF-8. Paths are relative to it; ``;`` separates the labels of one image.

    An image may stand in several lines (one for each box or label): its labels are joined. Boxes may be in the columns
    x0, y0, x1, y1, empty where there is none, or in ``boxes.csv`` beside the file.
    """

    takes_images = True

    def recognise(self, path: Path) -> str | None:
        """By the suffix, or by the header."""
        if not path.is_file():
            return None
        if path.suffix.lower() == ".csv" or set(REQUIRED) <= set(header_of(path)):
            return "a CSV file"
        return None

    def read(self, path: Path, images: Path | None) -> Listing:
        """Lines to entries."""
        root = images or path.parent
        table = read_table(path, REQUIRED)
        found: dict[tuple[str, str | None], _Image] = {}
        missing: dict[str, str] = {}
        for row in table.rows:
            image = _image(row, root)
            known = found.setdefault((image.name, image.split), image)
            if known is image and not os.path.isfile(image.path):  # noqa: PTH113 - called for every line
                missing[row.where] = str(image.path)
            known.labels.update(dict.fromkeys(_labels(row)))
            known.lines += 1
        if missing:
            raise DataError(missing_images(missing, "mend the path or remove the line"))
        entries = [Entry(each.path, each.name, tuple(each.labels), each.split) for each in found.values()]
        return Listing(root, entries, _problems(table, list(found.values())))

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """The box columns, or ``boxes.csv`` beside the file."""
        path = catalog.source
        if path is None:
            return None
        if any(column in header_of(path) for column in BOX_COLUMNS):
            rows = read_table(path, (*REQUIRED, *BOX_COLUMNS)).rows
            return boxes_of_rows([row for row in rows if any(row.values[c] for c in BOX_COLUMNS)], catalog), str(path)
        beside = path.parent / BOXES_FILE
        return (read_box_table(beside, catalog), str(beside)) if beside.is_file() and beside != path else None


def _image(row: Row, root: Path) -> _Image:
    written = row.values["path"]
    if not written:
        raise DataError(f"{row.where}: the path is empty; give it or remove the line.")
    return _Image(*located(root, written), row_split(row))


def _labels(row: Row) -> list[str]:
    labels = [label.strip() for label in row.values["label"].split(";")]
    if not all(labels):
        raise DataError(
            f"{row.where}: the label {row.values['label']!r} is empty or has an empty part; "
            "give one label, or several with ; between them."
        )
    return labels


def row_split(row: Row) -> str | None:
    """The split of a line; None if the table has no such column."""
    if "split" not in row.values:
        return None
    split = split_of(row.values["split"])
    if split is None:
        raise DataError(
            f"{row.where}: the split {row.values['split']!r} is not known; known: {', '.join(SPLITS)}. "
            "Give it in every line, or leave the column out."
        )
    return split


def _problems(table: Table, images: list[_Image]) -> list[str]:
    problems = []
    if unknown := [column for column in table.columns if column not in _KNOWN]:
        problems.append(f"columns that boxless does not know are left out: {some(map(repr, unknown))}")
    several = [image.name for image in images if image.lines > 1]
    if several and not set(BOX_COLUMNS) & set(table.columns):
        problems.append(f"images in more than one line, whose labels are joined: {some(several)}")
    return problems
