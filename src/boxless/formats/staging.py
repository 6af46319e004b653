"""Folders that are filled aside and then put in place, for formats of many files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from boxless.errors import RunError
from boxless.files import unwritable


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder; at the end each entry of it takes the place of its namesake in ``folder``.

    So no file of an earlier, larger set of images stays behind, and files in ``folder`` that the writer does not own
    are left alone. On an error nothing in ``folder`` changed.

    Raises:
        RunError: The folder cannot be written to, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the folder itself: renames stay on one file system even where the folder is a mount point.
        staging = Path(tempfile.mkdtemp(prefix=".writing.", suffix=".tmp", dir=folder))
    except OSError as error:
        raise RunError(unwritable(folder, error)) from error
    try:
        (staging / "new").mkdir()
        (staging / "old").mkdir()
        yield staging / "new"
        for entry in sorted((staging / "new").iterdir()):
            target = folder / entry.name
            if target.is_dir() and not target.is_symlink():  # a folder is not replaced by a rename: move it out first
                target.rename(staging / "old" / entry.name)
            entry.replace(target)
    except OSError as error:
        raise RunError(unwritable(folder, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # not empty: the usual case
            folder.rmdir()


def open_unused(folder: Path, name: str, suffix: str) -> tuple[IO[str], PurePosixPath]:
    """Create a text file for the image ``name`` and say which name, less its suffix, it got.

    It is ``name`` with its suffix replaced. Where an earlier image took that (``a.jpg`` before ``a.png``), it is the
    stem with the image's own suffix (``a_png``), then ``a_png_2`` and so on: the same for the same order of images.
    """
    image = PurePosixPath(name)
    (folder / image.parent).mkdir(parents=True, exist_ok=True)
    for stem in _stems(image):
        try:
            return (folder / image.parent / (stem + suffix)).open("x", encoding="utf-8"), image.parent / stem
        except FileExistsError:
            continue
    raise AssertionError("unreachable: the stems do not end")


def _stems(image: PurePosixPath) -> Iterator[str]:
    yield image.stem
    qualified = f"{image.stem}_{image.suffix.removeprefix('.')}"
    yield qualified
    number = 2
    while True:
        yield f"{qualified}_{number}"
        number += 1
