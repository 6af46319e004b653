"""Proposals of a data set on disk, made once: found again by what they were made from, wherever the image lies.

A folder for each setting, in it a file for each process that wrote, in it a line for each image::

    <folder>/<digest of the settings>/settings.json
                                      0000-of-0002.jsonl
                                      0001-of-0002.jsonl

Lines are only ever appended, each with a checksum. What a killed process left of a line, and any line that was damaged
since, counts as not there, so that its image is done again. Nothing is cut off or rewritten: processes may read while
others write, and a set that two processes began may be finished by three.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from boxless.errors import ConfigError, DataError, RunError
from boxless.files import unwritable, write_json
from boxless.listener import Listener
from boxless.pseudo._lines import Row, decode, encode, joined, rows_at, rows_of, whole_lines
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals

VERSION = 2  # of the lines, and of what proposals are computed by: another one makes all anew


def image_key(path: Path, label: int) -> str:
    """The name of an image in the store: a digest of the file's content, and the class that its boxes are scored for.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    content.update(f"\0{label}".encode())
    return content.hexdigest()


def network_digest(network: nn.Module) -> str:
    """A digest of a network's weights and buffers, for ``source`` of a `ProposalStore`."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@final
class ProposalStore:
    """The proposals of one setting; close it, or use it in a ``with`` statement.

    Args:
        folder: Where the files are; made at the first write.
        settings: Of the proposals.
        source: All else that they depend on, as JSON has it: the source of the maps with its settings, the digests of
            the networks, the size of the images. Another one is another set of proposals; the old one stays.
        rank: The number of this process, of those that share out the images.
        world: How many they are.

    Raises:
        ConfigError: A rank that is not from 0 to ``world`` - 1, or a source that JSON cannot hold.
        RunError: A file is there and cannot be read.
    """

    def __init__(
        self, folder: Path, settings: ProposalSettings, source: Mapping[str, Any], *, rank: int = 0, world: int = 1
    ) -> None:
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} of {world}: ranks run from 0 to one less than there are processes.")
        self.settings, self.rank, self.world = settings, rank, world
        self._made_from = {"version": VERSION, "settings": asdict(settings), "source": dict(source)}
        self.folder = folder / _digest(self._made_from)
        self.path = self.folder / f"{rank:04d}-of-{world:04d}.jsonl"
        self._places: dict[str, tuple[Path, int]] = {}  # the file and where in it the line begins
        self._read_to: dict[Path, int] = {}
        self._file: FileIO | None = None
        self.refresh()

    def __enter__(self) -> ProposalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """Learn what other processes wrote meanwhile."""
        for path in sorted(self.folder.glob("*.jsonl")):
            try:
                for offset, line in whole_lines(path, self._read_to.get(path, 0)):
                    self._read_to[path] = offset + len(line)
                    row = decode(line)
                    if row is not None:
                        self._places[row["key"]] = (path, offset)
            except OSError as error:
                raise RunError(f"{path}: cannot be read ({error.strerror or error}); mend or delete it.") from error

    def pending(self, keys: Sequence[str | None]) -> list[int]:
        """The places in ``keys`` that this process has still to do: every ``world``-th, less what is there.

        It hangs on the order of the keys, which must be the same in all processes, and not on how far others are. A
        key that occurs again, or is None, is left out.
        """
        first: dict[str, int] = {}
        for place in range(self.rank, len(keys), self.world):
            key = keys[place]
            if key is not None and key not in self._places:
                first.setdefault(key, place)
        return [*first.values()]

    def fill(
        self,
        keys: Sequence[str | None],
        make: Callable[[list[int]], Proposals],
        *,
        batch: int = 16,
        listener: Listener | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        """Make and write what this process has still to do; interrupted, it goes on there the next time.

        Args:
            keys: Of all images, as `image_key` gives them; None for one that cannot be read.
            make: Proposals of the images at some places in ``keys``, in that order.
            batch: Images in one call of ``make``, and in one write.
            listener: Hears of the progress.
            stop: Called after each write; it may raise to end the work.

        Raises:
            RunError: The files cannot be written; what was written stays.
        """
        hears = listener or Listener()
        self.refresh()
        todo = self.pending(keys)
        own = sum(key is not None for key in keys[self.rank :: self.world])
        hears.begin("proposals", own, own - len(todo))
        for start in range(0, len(todo), batch):
            places = todo[start : start + batch]
            self.write([str(keys[place]) for place in places], make(places))
            hears.advance(len(places))
            if stop is not None:
                stop()
        hears.end()

    def write(self, keys: Sequence[str], proposals: Proposals) -> None:
        """Append the proposals of some images, in one write to the operating system.

        Raises:
            DataError: There are not as many images as keys, or not as many places as the settings say.
            RunError: They cannot be written; what was there before stays readable.
        """
        expected = (len(keys), self.settings.top_k)
        if tuple(proposals.valid.shape) != expected:
            raise DataError(f"proposals of shape {tuple(proposals.valid.shape)}; the store takes {expected} here.")
        content = b"".join(encode(row) for row in rows_of(keys, proposals))
        try:
            file = self._file or self._begin()
            view = memoryview(content)
            while view:  # a part may be taken only, as just before a disk is full
                view = view[file.write(view) :]
        except OSError as error:
            self._drop()
            raise RunError(
                unwritable(self.path, error).replace("Nothing there changed", "What is there stays")
            ) from error
        self.refresh()

    def read(self, keys: Sequence[str | None]) -> Proposals:
        """The proposals of images in the order of their keys, whichever process made them; none are valid for None.

        Raises:
            DataError: Some are not there, none can be had at all, or the maps had several sizes.
        """
        if any(key is not None and key not in self._places for key in keys):
            self.refresh()
        rows = self._rows(keys)
        missing = [key for key, row in zip(keys, rows, strict=True) if key is not None and row is None]
        if missing:
            raise DataError(
                f"{self.folder}: {len(missing):,} of {len(keys):,} images have no proposals yet, the first is "
                f"{missing[0]}; make them by running the same command again."
            )
        grids = sorted({tuple(row["grid"]) for row in rows if row is not None})
        if len(grids) != 1:
            raise DataError(
                f"{self.folder}: proposals on maps of {len(grids)} sizes, {grids[:3]}, asked of {len(keys):,} images; "
                "they are read together where all maps are of one size."
            )
        return joined(rows, self.settings.top_k, grids[0])

    def close(self) -> None:
        """Make the file safe on disk and let it go; more can be written after that."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                with file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(unwritable(self.path, error)) from error

    def _begin(self) -> FileIO:
        """Open for appending. A line that was not finished is ended, so that it is one bad line and no more."""
        if not self.path.exists():
            write_json(self.folder / "settings.json", self._made_from)
        self._file = FileIO(self.path, "ab+")
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
        return self._file

    def _drop(self) -> None:
        """Let go of a file that could not be written; the next write opens it anew."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()

    def _rows(self, keys: Sequence[str | None]) -> list[Row | None]:
        """What the files hold of each key. A line that is no longer what it was is forgotten."""
        rows: list[Row | None] = [None] * len(keys)
        known = [(*self._places[key], place) for place, key in enumerate(keys) if key in self._places]
        for path, group in groupby(sorted(known), itemgetter(0)):
            offsets, places = zip(*((offset, place) for _, offset, place in group), strict=True)
            for place, row in zip(places, rows_at(path, offsets), strict=True):
                key = str(keys[place])
                if row is not None and row["key"] == key:
                    rows[place] = row
                else:
                    self._places.pop(key, None)
        return rows


def _digest(made_from: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(made_from, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"source of proposals: {error}; give text, numbers, lists and mappings of these.") from error
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
