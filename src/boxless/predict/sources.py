"""Files, folders and globs, as one ordered stream of images with names that stay the same from run to run."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, final

from boxless.data.images import IMAGE_SUFFIXES, is_image, walk
from boxless.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # typing has it from Python 3.13

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """One image to look at."""

    path: Path
    name: str  # with forward slashes, unique within one `Sources`


@dataclass(frozen=True, slots=True)
class _Given:
    """One thing that the caller named: ``root`` is the folder that names are relative to."""

    text: str
    root: Path
    kind: str  # "folder", "file" or "glob"


@final
class Sources:
    """The images under what the caller named; each iteration lists the disk anew, a folder at a time.

    In folders and globs files are taken by suffix, as `boxless.data.images` does; one named by hand is always tried.

    A name is the path relative to its root: the folder given, the folder of a file, the part of a glob before its first
    wildcard. With more than one root a name starts with the root's own name, numbered where two roots are called the
    same. So names are unique, and depend on the roots alone and not on which other images there are: a folder that
    grew keeps its names. An image that is reached twice is listed once. Hidden files and folders are left out.

    Args:
        given: A file, a folder (searched to the bottom), a glob (``**`` is allowed), or several of them.
        output: The folder that results go to; nothing in it is listed.

    Raises:
        DataError: A path that does not exist, or one that lies in ``output``. While iterating: no image was found.
    """

    def __init__(self, given: Paths, *, output: Path | None = None) -> None:
        several = [given] if isinstance(given, (str, os.PathLike)) else list(given)
        if not several:
            raise DataError("no source was given; name an image, a folder or a glob such as 'photos/**/*.jpg'.")
        self._given = [_inspect(os.fspath(each)) for each in several]
        self._output = output.resolve() if output is not None else None
        for each in self._given:
            _refuse_output(each, self._output)
        self._prefixes = _prefixes(each.root for each in self._given)

    @property
    def roots(self) -> tuple[str, ...]:
        """The absolute folders that names are relative to, in the order given: they and a path make a name."""
        return tuple(map(str, self._prefixes))

    def __iter__(self) -> Iterator[Source]:
        found = False
        for source in self._unique():
            found = True
            yield source
        if not found:
            names = ", ".join(each.text for each in self._given[:3]) + (" ..." if len(self._given) > 3 else "")
            raise DataError(
                f"{names}: no image found; known suffixes: {' '.join(sorted(IMAGE_SUFFIXES))}. "
                "Name a folder that holds images, or the files themselves."
            )

    def count(self) -> int:
        """How many images there are now."""
        return sum(1 for _ in self)

    def _unique(self) -> Iterator[Source]:
        everything = chain.from_iterable(self._list(each) for each in self._given)
        if len(self._given) == 1:
            yield from everything
            return
        seen: set[str] = set()
        for source in everything:
            key = os.path.abspath(source.path)  # noqa: PTH100 - Path.absolute keeps "..", which hides that two are one
            if key not in seen:
                seen.add(key)
                yield source

    def _list(self, given: _Given) -> Iterator[Source]:
        prefix = self._prefixes[_absolute(given.root)]
        for path in self._paths(given):
            yield Source(path, prefix + path.relative_to(given.root).as_posix())

    def _paths(self, given: _Given) -> Iterator[Path]:
        if given.kind == "file":
            yield Path(given.text)
        elif given.kind == "folder":
            hidden = _prefix_of_output(given.root, self._output)
            names = (name for name in walk(given.root) if is_image(name))
            yield from (given.root / name for name in names if hidden is None or not name.startswith(hidden))
        else:
            for text in sorted(glob.glob(given.text, recursive=True)):  # noqa: PTH207 - Path.glob finds hidden files
                path = Path(text)
                if is_image(text) and path.is_file() and not _inside(path, self._output):
                    yield path


def are_paths(sources: Paths | Iterable[Source]) -> TypeIs[Paths]:
    """Whether ``sources`` names what to list (a path or a list of paths), and is not the listed images themselves."""
    if isinstance(sources, (str, os.PathLike)):
        return True
    return isinstance(sources, (list, tuple)) and not any(isinstance(each, Source) for each in sources)


def _inspect(text: str) -> _Given:
    path = Path(text)
    if path.is_dir():
        return _Given(text, path, "folder")
    if path.exists():
        return _Given(text, path.parent, "file")
    if glob.has_magic(text):
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return _Given(text, Path(*fixed), "glob")
    raise DataError(f"{text}: no such file or folder; check the spelling, or put a glob in quotes ('photos/*.jpg').")


def _refuse_output(given: _Given, output: Path | None) -> None:
    inside = given.kind != "glob" and _inside(Path(given.text), output)
    if inside:
        raise DataError(
            f"{given.text}: lies in the output folder {output}, whose images are never read, since overlays would be "
            "taken for new images; choose an output folder that does not hold the images."
        )


def _inside(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder)


def _prefixes(roots: Iterable[Path]) -> dict[Path, str]:
    distinct = list(dict.fromkeys(map(_absolute, roots)))
    if len(distinct) == 1:
        return {distinct[0]: ""}
    prefixes: dict[Path, str] = {}
    taken: set[str] = set()
    for root in distinct:
        stem = root.name or "root"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        prefixes[root] = f"{name}/"
    return prefixes


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - as above; and links are kept, for they have the user's names


def _prefix_of_output(root: Path, output: Path | None) -> str | None:
    """What the names of files in the output folder begin with, if it lies under ``root``."""
    if output is None or not output.is_relative_to(root.resolve()):
        return None
    return f"{output.relative_to(root.resolve()).as_posix()}/"
