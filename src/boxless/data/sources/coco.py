"""COCO JSON: which categories each image shows; its boxes serve evaluation alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxless.data.documents import read_json
from boxless.data.listing import Entry, Listing, Numbers, is_file, missing_images, name_under, some
from boxless.data.splits import split_of
from boxless.data.truth import checked_box
from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog


@dataclass(frozen=True, slots=True)
class _Part:
    """One JSON file."""

    path: Path
    split: str | None
    stem: str  # what the split is called there, such as train2017: its images may lie in a folder so called


class CocoSource:
    """One JSON file, or a folder with one for each split.

    Folders: ``train.json`` and ``val.json``, ``annotations/instances_train2017.json``, or
    ``train/_annotations.coco.json``. Images are looked for beside the JSON file and in ``images`` beside it, then in
    the folders named after the split. Images without an annotation are left out. Crowd regions (``iscrowd``) count as a
    label but not as a box, since they are not one object.
    """

    takes_images = True

    def recognise(self, path: Path) -> str | None:
        """By the suffix, or by the names of the files inside."""
        if path.is_file():
            return "a COCO JSON file" if path.suffix.lower() == ".json" else None
        names = [part.path.relative_to(path).as_posix() for part in find_parts(path)]
        return f"a folder with COCO JSON files ({some(names)})" if names else None

    def read(self, path: Path, images: Path | None) -> Listing:
        """Annotations to sets of category names."""
        parts = find_parts(path)
        if not parts:
            raise DataError(f"{path}: no COCO JSON file was found; give the file itself.")
        listing = Listing(images or (path if path.is_dir() else path.parent), [])
        named: set[str] = set()
        unlabelled: list[str] = []
        for part in parts:
            document = CocoDocument(part.path)
            folder = _image_folder(part, document, path, images)
            if images is None and path.is_file():
                listing.root = folder
            named.update(document.categories.values())
            for name, labels in document.labels().items():
                entry = Entry(folder / name, name_under(folder / name, listing.root), labels, part.split)
                listing.entries.append(entry) if labels else unlabelled.append(entry.name)
        _check_files(listing, path)
        if unlabelled:
            listing.problems.append(f"images without an annotation are left out: {some(unlabelled)}")
        listing.empty_classes = sorted(named)
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """The ``bbox`` of each annotation, ``[x, y, width, height]``."""
        source = catalog.source or catalog.root
        name_of = {str(item.path): item.name for item in catalog.items}
        images = None if catalog.root in (source, source.parent) else catalog.root
        boxes: dict[str, list[Numbers]] = defaultdict(list)
        for part in find_parts(source):
            document = CocoDocument(part.path)
            folder = _image_folder(part, document, source, images)
            for name, box in document.boxes():
                boxes[name_of.get(str(folder / name), name)].append(box)
        return (dict(boxes), str(source)) if boxes else None


def find_parts(path: Path) -> list[_Part]:
    """The COCO files of a source."""
    if path.is_file():
        return [_Part(path, None, "")]
    found = [(each, each.stem) for each in sorted(path.glob("*.json"))]
    found += [
        (each, each.stem.removeprefix("instances_")) for each in sorted(path.glob("annotations/instances_*.json"))
    ]
    found += [(each, each.parent.name) for each in sorted(path.glob("*/_annotations.coco.json"))]
    parts = [_Part(each, split, stem) for each, stem in found if (split := split_of(re.sub(r"_?\d+$", "", stem)))]
    for part in parts:
        same = [str(other.path) for other in parts if other.split == part.split]
        if len(same) > 1:
            raise DataError(f"{path}: {some(same)} are all for the split {part.split!r}; keep one of them.")
    return parts


class CocoDocument:
    """One COCO file, checked as far as it is used.

    ``images`` is by id, each with at least a ``file_name``; ``annotations`` name only images and categories that the
    file has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path)
        for key in ("images", "annotations", "categories"):
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                found = f"found {some(map(repr, content), 6)}" if isinstance(content, dict) else "found no object"
                raise DataError(
                    f"{path}: this is not a COCO data set: the list {key!r} is missing, {found}; "
                    "export it with images, annotations and categories (a list of results alone names no file)."
                )
        self.categories = {each["id"]: str(each["name"]) for each in self._records(content, "categories", "id", "name")}
        self.images = {each["id"]: each for each in self._records(content, "images", "id", "file_name")}
        self.annotations = self._records(content, "annotations", "image_id", "category_id")
        for number, each in enumerate(self.annotations):
            for key, known in (("image_id", self.images), ("category_id", self.categories)):
                if each[key] not in known:
                    kind = key.removesuffix("_id")
                    raise DataError(
                        f"{self._where(number)}: {key} {each[key]!r} is no {kind} of this file; "
                        f"add the {kind} or remove the annotation."
                    )

    def labels(self) -> dict[str, tuple[str, ...]]:
        """File name -> category names, in the order of the file."""
        labels: dict[str, dict[str, None]] = {str(each["file_name"]): {} for each in self.images.values()}
        for each in self.annotations:
            labels[str(self.images[each["image_id"]]["file_name"])][self.categories[each["category_id"]]] = None
        return {name: tuple(found) for name, found in labels.items()}

    def boxes(self) -> Iterator[tuple[str, Numbers]]:
        """File name and box of each annotation that has one."""
        for where, image, box in self.boxed():
            yield str(image["file_name"]), box_from_corner(box, where, _size(image))

    def boxed(self) -> Iterator[tuple[str, dict[str, Any], object]]:
        """Place, image and unchecked ``bbox`` of each annotation that has one and is no crowd region."""
        for number, each in enumerate(self.annotations):
            if each.get("bbox") and not each.get("iscrowd"):
                yield self._where(number), self.images[each["image_id"]], each["bbox"]

    def _records(self, content: dict[str, Any], key: str, *needed: str) -> list[dict[str, Any]]:
        for number, each in enumerate(content[key]):
            for name in needed:
                value = each.get(name) if isinstance(each, dict) else None
                if not isinstance(value, str | int):
                    raise DataError(
                        f"{self.path}: entry {number} of {key!r} has no usable {name!r}, got {value!r}; "
                        "expected a number or a text: export the file again."
                    )
        records: list[dict[str, Any]] = content[key]
        return records

    def _where(self, number: int) -> str:
        return f"{self.path}: annotation {self.annotations[number].get('id', f'number {number}')}"


def _size(image: Mapping[str, Any]) -> tuple[float, float] | None:
    width, height = image.get("width"), image.get("height")
    if not (isinstance(width, int | float) and isinstance(height, int | float)):
        return None
    try:
        return float(width), float(height)
    except OverflowError:  # digits without end
        return None


def box_from_corner(box: object, where: str, size: tuple[float, float] | None = None) -> Numbers:
    """The corners of ``[x, y, width, height]``."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, int | float) for each in box):
        raise DataError(f"{where}: a box must be four numbers [x, y, width, height], got {box!r}.")
    x, y, width, height = box
    return checked_box((x, y, x + width, y + height), where, size=size)


def _image_folder(part: _Part, document: CocoDocument, source: Path, images: Path | None) -> Path:
    """The first folder that holds the first image of the file."""
    bases = [images] if images else [part.path.parent, source if source.is_dir() else part.path.parent]
    folders = [base / inner for base in bases for inner in ("", "images", part.stem, f"images/{part.stem}")]
    tried = list(dict.fromkeys(folders))
    if not document.images:
        return tried[0]
    first = str(next(iter(document.images.values()))["file_name"])
    for folder in tried:
        if is_file(folder / first):
            return folder
    raise DataError(
        f"{part.path}: its image {first} is in none of {some(map(str, tried), 8)}; say where the images are (images)."
    )


def _check_files(listing: Listing, path: Path) -> None:
    missing = [str(entry.path) for entry in listing.entries if not is_file(entry.path)]
    if missing:
        raise DataError(missing_images({f"{path}, {name}": name for name in missing}, "copy it there or remove it"))
