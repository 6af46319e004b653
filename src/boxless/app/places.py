"""The images that a page may show: those of one folder, and those that were dropped on the page. No others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import final

from boxless.data.images import IMAGE_SUFFIXES, is_image, read_size, walk
from boxless.errors import DataError, RunError
from boxless.files import unwritable
from boxless.formats.records import check_name
from boxless.predict.sources import Source

DROPPED = "dropped"  # the folder of such images beside the review's file, and what their names begin with


@final
class Places:
    """Where images are taken from.

    Args:
        folder: Searched to the bottom; None if the page shows dropped images alone.
        save_to: The folder of the review; it has dropped images, and nothing in it is taken for a new image.

    Raises:
        DataError: The folder does not exist, is none, or has a place of its own for what is dropped.
    """

    def __init__(self, folder: Path | None, save_to: Path) -> None:
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of images; check the path.")
        self.root = None if folder is None else folder.resolve()
        self.dropped = save_to.resolve() / DROPPED
        if self.root is not None and (self.root / DROPPED).exists() and self.root / DROPPED != self.dropped:
            raise DataError(
                f"{self.root / DROPPED}: what is dropped on the page goes by this name; rename that folder, or give "
                "the folders beside it one at a time."
            )
        if self.root is not None and self.root.is_relative_to(save_to.resolve()):
            raise DataError(
                f"{folder}: lies in the folder of the review, {save_to}; choose another one with --save-to."
            )

    def list(self) -> tuple[list[Source], dict[str, str]]:
        """All images now, and those that may not be shown, with the reason."""
        sources, refused = [], {}
        for root, prefix in ((self.root, ""), (self.dropped, f"{DROPPED}/")):
            if root is None or not root.is_dir():
                continue
            for name in walk(root):
                if not is_image(name) or (not prefix and self._of_review(root / name)):
                    continue
                source = Source(root / name, prefix + name)
                try:
                    check_name(source.name)
                    self.check(source.path)
                    sources.append(source)
                except DataError as error:
                    refused[source.name] = str(error)
        return sources, refused

    def check(self, path: Path) -> None:
        """Refuse a file outside of the folders, wherever links and ``..`` may lead.

        Raises:
            DataError: It lies outside, or is not there.
        """
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path}: cannot be found; it was removed, or is a broken link.") from error
        if not any(root is not None and real.is_relative_to(root) for root in (self.root, self.dropped)):
            raise DataError(
                f"{path}: leads out of the folder given, to {real}, and is not shown; give the folder that it lies in."
            )

    def take(self, upload: Path) -> Source:
        """Keep an uploaded image, under its own name or one near it.

        Raises:
            DataError: It is no image.
            RunError: It cannot be kept.
        """
        name = upload.name
        check_name(name)
        if not is_image(name):
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise DataError(f"{name}: no image by its suffix; known suffixes: {known}.")
        read_size(upload)
        try:
            self.dropped.mkdir(parents=True, exist_ok=True)
            path = self._unused(name)
            shutil.copyfile(upload, path)
        except OSError as error:
            raise RunError(unwritable(self.dropped / name, error).replace("--out", "--save-to")) from error
        return Source(path, f"{DROPPED}/{path.name}")

    def _unused(self, name: str) -> Path:
        """A path that nothing has: ``photo.jpg``, then ``photo-2.jpg``, and so on."""
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        number, path = 1, self.dropped / name
        while True:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
                return path
            except FileExistsError:
                number += 1
                path = self.dropped / f"{stem}-{number}{suffix}"

    def _of_review(self, path: Path) -> bool:
        """Whether it lies in the folder of the review: exports hold links to images, which would be seen twice."""
        return path.is_relative_to(self.dropped.parent)
