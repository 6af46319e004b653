"""Hugging Face image folders: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` and ``label``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxless.data.documents import parse_json, read_lines
from boxless.data.listing import Entry, Listing, Numbers, is_file, missing_images, name_under
from boxless.data.sources.coco import box_from_corner
from boxless.data.splits import split_of
from boxless.data.tables import read_table
from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

NAMES = ("metadata.jsonl", "metadata.csv")
_LABELS = ("label", "labels")


@dataclass(frozen=True, slots=True)
class _Record:
    where: str
    path: Path
    values: dict[str, Any]


class ImageFolderSource:
    """A folder with a metadata file, or split folders with one each; file names are relative to the metadata file.

    A label is a text, a number, or a list of them. ``objects.bbox`` holds boxes ``[x, y, width, height]``.
    """

    takes_images = False

    def recognise(self, path: Path) -> str | None:
        """By the metadata files."""
        found = metadata_files(path)
        if not found:
            return None
        return f"a Hugging Face image folder, by its {found[0][0].relative_to(_root(path)).as_posix()}"

    def read(self, path: Path, images: Path | None = None) -> Listing:
        """Records to entries."""
        root = _root(path)
        found: dict[tuple[str, str | None], Entry] = {}
        missing: dict[str, str] = {}
        for record, split in _records(path):
            entry = Entry(record.path, name_under(record.path, root), _labels(record), split)
            if found.setdefault((entry.name, split), entry) is not entry:
                raise DataError(f"{record.where}: {entry.name} is listed twice; join its labels in one record.")
            if not is_file(record.path):
                missing[record.where] = str(record.path)
        if missing:
            raise DataError(missing_images(missing, "mend file_name or remove the record"))
        return Listing(root, list(found.values()))

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """``objects.bbox`` of each record."""
        source = catalog.source or catalog.root
        boxes: dict[str, list[Numbers]] = defaultdict(list)
        for record, _ in _records(source):
            objects = record.values.get("objects")
            if objects is None:
                continue
            if not isinstance(objects, dict) or not isinstance(objects.get("bbox"), list):
                raise DataError(f"{record.where}: 'objects' must hold a list 'bbox', got {objects!r}.")
            name = name_under(record.path, catalog.root)
            boxes[name] += [box_from_corner(box, record.where) for box in objects["bbox"]]
        return (dict(boxes), str(source)) if boxes else None


def metadata_files(path: Path) -> list[tuple[Path, str | None]]:
    """The metadata files of a source, each with the split that its folder is named after."""
    if path.is_file():
        return [(path, None)] if path.name in NAMES else []
    for name in NAMES:
        if (path / name).is_file():
            return [(path / name, None)]
        inside = [(each, split) for each in sorted(path.glob(f"*/{name}")) if (split := split_of(each.parent.name))]
        if inside:
            return list(inside)
    return []


def _root(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _records(source: Path) -> Iterator[tuple[_Record, str | None]]:
    """Every record with its split; a list at the root may name the split by the first folder of every file name."""
    files = metadata_files(source)
    if not files:
        raise DataError(f"{source}: there is no {NAMES[0]} or {NAMES[1]} in it or in its split folders; add one.")
    for path, split in files:
        records = list(_read(path))
        tops = [
            split_of(name.split("/")[0]) if "/" in (name := record.values["file_name"]) else None for record in records
        ]
        for record, top in zip(records, tops, strict=True):
            yield record, split or (top if all(tops) else None)


def _read(path: Path) -> Iterator[_Record]:
    if path.suffix == ".csv":
        for row in read_table(path, ("file_name", "label")).rows:
            yield _Record(row.where, path.parent / row.values["file_name"], dict(row.values))
        return
    for where, text in read_lines(path):
        values = parse_json(text, str(path), int(where.rpartition(":")[2]))
        if not isinstance(values, dict) or not isinstance(values.get("file_name"), str) or not values["file_name"]:
            raise DataError(f"{where}: the record has no 'file_name'; expected an object with file_name and label.")
        yield _Record(where, path.parent / values["file_name"], values)


def _labels(record: _Record) -> tuple[str, ...]:
    value = next((record.values[key] for key in _LABELS if key in record.values), None)
    values = value if isinstance(value, list) else [value]
    labels = tuple(dict.fromkeys(str(each).strip() for each in values if isinstance(each, str | int)))
    if not labels or not all(labels) or len(labels) < len(values):
        raise DataError(
            f"{record.where}: the label is {value!r} (the record has {', '.join(map(repr, record.values))}); "
            "expected 'label' with a text, a number, or a list of them."
        )
    return labels
