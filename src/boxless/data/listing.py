"""What a reader of one data format hands over, and the contract that such a reader keeps."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from boxless.types import Item, Shot

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog
    from boxless.listener import Listener

Numbers = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled image, before classes have numbers."""

    path: Path
    name: str  # relative to the data's root, with forward slashes
    labels: tuple[str, ...]  # class names, at least one
    split: str | None = None  # "train", "val" or "test"; None for all entries if the data have no splits
    shot: Shot | None = None  # of a frame of a video; those of a shot follow one another, in time


@dataclass(slots=True)
class Listing:
    """All labelled images of a source."""

    root: Path
    entries: list[Entry]
    problems: list[str] = field(default_factory=list)  # what the user should know, in plain sentences
    empty_classes: list[str] = field(default_factory=list)  # named by the source, yet without an image
    only_learned: set[str] = field(default_factory=set)  # names that serve to learn from, and are left out elsewhere
    only_measured: set[str] = field(default_factory=set)  # names that are left out of train


class Source(Protocol):
    """A data format: how to know it, its labels, and, apart from these, its boxes."""

    takes_images: bool  # whether the pictures may lie elsewhere, in a folder that the caller names

    def recognise(self, path: Path) -> str | None:
        """Why ``path`` is of this format, as the end of a sentence that begins with "it is"; None if it is not."""

    def read(self, path: Path, images: Path | None) -> Listing:
        """The labelled images; no box. Raises ``DataError`` naming file and line."""

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """Boxes by item name and a sentence saying where from; None if the source has none.

        An item with an empty list was looked at, and shows no object.
        """


@runtime_checkable
class Slow(Protocol):
    """A source that may take long to read."""

    listener: Listener  # hears of the progress


def located(root: Path, written: str) -> tuple[Path, str]:
    """Where an image lies that a list names relative to ``root``, and the stable name that it gets."""
    path = root / written
    plain = posixpath.normpath(written) == written and not written.startswith("..") and "\\" not in written
    return path, written if plain and not os.path.isabs(written) else name_under(path, root)  # noqa: PTH117 - speed


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is there; of a name that no system can hold, such as one of 5,000 letters, the answer is no."""
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises an error there


def name_under(path: Path, root: Path) -> str:
    """The stable name of an image: its path below ``root``; elsewhere, the whole path without its anchor."""
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 - links stay as they are
    inside = absolute.is_relative_to(base)
    return (absolute.relative_to(base) if inside else absolute.relative_to(absolute.anchor)).as_posix()


def kind_of(entries: Iterable[Entry] | Iterable[Item]) -> str:
    """What these data are of: "video" if any entry is a frame of one, else "image"."""
    return "video" if any(entry.shot for entry in entries) else "image"


def names_of(items: Iterable[Item], kind: str) -> list[str]:
    """The names of images that are no frames, or of the videos that frames are of, each once."""
    if kind == "image":
        return [item.name for item in items if item.shot is None]
    return list(dict.fromkeys(item.shot.video for item in items if item.shot is not None))


def some(names: Iterable[str], limit: int = 3) -> str:
    """The first few names for a message, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def missing_images(missing: Mapping[str, str], mend: str) -> str:
    """The message for images that are listed but not there: place in the list -> path looked for."""
    where, path = next(iter(missing.items()))
    others = f" {len(missing) - 1} more are missing: {some(list(missing)[1:])}." if len(missing) > 1 else ""
    return f"{where}: there is no image {path}; {mend}.{others}"
