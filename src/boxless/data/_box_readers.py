"""The formats of ``boxless.data.box_files``: what each kind of file says, before sizes and boxes are checked."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boxless.data.documents import read_lines
from boxless.data.listing import located, some
from boxless.data.sources.coco import CocoDocument, box_from_corner
from boxless.data.sources.table import row_split
from boxless.data.sources.wsol import (
    IDS,
    LOCALIZATION,
    SIZES,
    WITHOUT_BOX,
    box_lines,
    image_sizes,
    metadata_folders,
)
from boxless.data.tables import read_table
from boxless.data.truth import BOX_COLUMNS
from boxless.errors import DataError

_PATH_COLUMNS = ("path", "name")
_BEGINNING = 4096  # bytes that are looked at to tell the format
_KNOWN = (
    f"known are a CSV file with the header path,{','.join(BOX_COLUMNS)} (and width,height), a COCO JSON file, "
    f"and a folder of wsolevaluation metadata with {LOCALIZATION}."
)


@dataclass(frozen=True, slots=True)
class Line:
    """One box as it is written."""

    where: str  # the place in the file, to begin an error message with
    name: str
    corners: Sequence[object]
    score: object = None  # as it is written, where a table has such a column

    @property
    def is_nothing(self) -> bool:
        """Whether it is 0,0,0,0, which pseudo-box files of other programs have where nothing was found."""
        try:
            return all(float(corner) == 0 for corner in self.corners)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return False


@dataclass(slots=True)
class Content:
    """What a file says, as it says it."""

    source: str
    root: Path  # names are relative to it
    size_hint: str  # how this format gives sizes
    last_pixel_counts: bool = False
    paths: dict[str, Path] = field(default_factory=dict)  # image name -> picture, for every image listed
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def name_of(self, written: str) -> str:
        """The name of an image: with forward slashes, whatever system the list was made on."""
        return located(self.root, written.replace("\\", "/"))[1]

    def list_image(self, where: str, written: str) -> str:
        """Note an image and return its name."""
        if not written:
            raise DataError(f"{where}: the image's path is empty; give it or remove the entry.")
        path, name = located(self.root, written.replace("\\", "/"))
        self.paths.setdefault(name, path)
        return name

    def set_size(self, where: str, name: str, width: object, height: object) -> None:
        """Note an image's size unless both numbers are missing, and refuse what is no size or another one."""
        if width in (None, "") and height in (None, ""):
            return
        try:
            size = (float(width), float(height))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            size = (0.0, 0.0)
        if not all(side >= 1 and side.is_integer() for side in size):
            raise DataError(
                f"{where}: the size of {name}, {width} x {height}, is not two whole numbers of pixels; mend it."
            )
        known = self.sizes.setdefault(name, (int(size[0]), int(size[1])))
        if known != size:
            raise DataError(
                f"{where}: {name} is {width} x {height} pixels here and {known[0]} x {known[1]} before; mend one."
            )


def read_content(path: Path, images: Path | None, split: str) -> Content:
    """Tell the format, and read."""
    if path.is_dir():
        return _read_wsol(_split_folder(path, split), images)
    beginning = _beginning(path)
    if beginning.startswith(("{", "[")):
        return _read_coco(path, images)
    first = beginning.partition("\n")[0].strip()
    columns = [name.strip(' "').lower() for name in first.split(",")]
    key = next((name for name in _PATH_COLUMNS if name in columns), None)
    if key is not None and set(BOX_COLUMNS) & set(columns):
        return _read_csv(path, key, images, split)
    if _is_box_line(first):
        return _read_wsol(path, images)
    raise DataError(f"{path}: this is no list of boxes that boxless reads (it begins with {first[:80]!r}); {_KNOWN}")


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(_BEGINNING)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file or folder of boxes; check the path.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from error
    return start.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace").lstrip()


def _is_box_line(line: str) -> bool:
    fields = line.rsplit(",", 4)[1:]
    try:
        return len([float(each) for each in fields]) == 4
    except ValueError:
        return False


def _read_csv(path: Path, key: str, images: Path | None, split: str) -> Content:
    content = Content(str(path), images or path.parent, "add the columns width,height")
    table = read_table(path, (key, *BOX_COLUMNS))
    splits: set[str] = set()
    for row in table.rows:
        stated = row_split(row) or split
        splits.add(stated)
        if stated != split:
            continue
        name = content.list_image(row.where, row.values[key])
        content.set_size(row.where, name, row.values.get("width"), row.values.get("height"))
        corners = [row.values[column] for column in BOX_COLUMNS]
        if any(corners):
            content.lines.append(Line(row.where, name, corners, row.values.get("score")))
    if splits and split not in splits:
        raise DataError(f"{path}: no line is of the split {split!r}; there are {', '.join(sorted(splits))}: name one.")
    return content


def _read_coco(path: Path, images: Path | None) -> Content:
    content = Content(str(path), images or path.parent, "give width and height in each entry of 'images'")
    document = CocoDocument(path)
    for number, image in document.images.items():
        where = f"{path}: image {number}"
        name = content.list_image(where, str(image["file_name"]))
        content.set_size(where, name, image.get("width"), image.get("height"))
    for where, image, box in document.boxed():
        name = content.list_image(where, str(image["file_name"]))
        corners = (0, 0, 0, 0) if box == [0, 0, 0, 0] else box_from_corner(box, where)
        content.lines.append(Line(where, name, corners))
    return content


def _split_folder(path: Path, split: str) -> Path:
    """The text file of boxes in a folder of one split, or in that of the wanted split."""
    if (path / LOCALIZATION).is_file():
        return path / LOCALIZATION
    found = {each: folder for folder, each in metadata_folders(path)}
    if not found:
        raise DataError(f"{path}: this folder has no boxes that boxless reads; {_KNOWN} Give the file itself.")
    if split not in found:
        raise DataError(f"{path}: there is no folder for the split {split!r}; there are {', '.join(found)}: name one.")
    if not (found[split] / LOCALIZATION).is_file():
        raise DataError(f"{found[split]}: the file {LOCALIZATION} is missing there; add it.")
    return found[split] / LOCALIZATION


def _read_wsol(path: Path, images: Path | None) -> Content:
    """Boxes of a text file; which images there are, and their sizes, as the files beside it say."""
    folder = path.parent
    hint = f"add {SIZES} beside (path,width,height)"
    content = Content(str(path), images or folder, hint, last_pixel_counts=True)
    all_listed = (folder / IDS).is_file()
    for each in (IDS, WITHOUT_BOX):
        for where, line in read_lines(folder / each) if (folder / each).is_file() else ():
            content.list_image(where, line)
    unlisted: dict[str, None] = {}
    for where, written, corners in box_lines(path):
        name = content.name_of(written)
        if all_listed and name not in content.paths:
            unlisted[name] = None
        else:
            content.lines.append(Line(where, content.list_image(where, written), corners))
    if unlisted:
        content.problems.append(f"boxes of images that {IDS} does not list are left out: {some(unlisted)}")
    for written, (width, height) in image_sizes(folder).items():
        content.set_size(str(folder / SIZES), content.name_of(written), width, height)
    return content
