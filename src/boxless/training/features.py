"""Features of a frozen backbone, computed once and kept on disk in half precision."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from math import prod
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

import numpy as np
import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.errors import RunError
from boxless.files import unwritable, write_json
from boxless.listener import Listener
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.types import Features

CHUNK = 32  # images in a forward pass


class FeatureCache:
    """Grids, tokens and attention of all images of a split, and of their mirror images if ``flips``, in plain files.

    Filling can be interrupted: what is done is noted beside the files, and the same cache opened again goes on there.
    An image that cannot be read leaves a row of zeros and is noted as refused. Features are half precision: maps keep
    11 bits, more than the 8 that evaluators of the field look at.

    Args:
        folder: Where the files are; made if need be.
        backbone: The frozen backbone, with its taps set.
        examples: The images.
        flips: Keep the mirrored view too.
        key: What the features depend on besides the images; another key starts anew.

    Attributes:
        key: A digest of that and of the images.
    """

    def __init__(self, folder: Path, backbone: Backbone, examples: Examples, *, flips: bool, key: str) -> None:
        self.folder, self.backbone, self.examples = folder, backbone, examples
        self.views = 2 if flips else 1
        self.key = hashlib.blake2b((key + str(flips) + _fingerprint(examples)).encode(), digest_size=16).hexdigest()
        self._maps: list[np.memmap[tuple[int, ...], np.dtype[np.float16]]] = []
        self._known_shapes: list[tuple[int, ...]] = []  # of one image's arrays

    def fill(self, device: torch.device, listener: Listener, stop: Callable[[], None], *, name: str) -> None:
        """Compute what is not there yet; ``stop`` is called between chunks and may raise to end the work."""
        done, total = self._done(), len(self.examples) * self.views
        shapes = self._shapes(device)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                files = [stack.enter_context(_open_at(self._path(i), done * 2 * prod(s))) for i, s in enumerate(shapes)]
                listener.begin(f"features of {name}", total, done)
                for chunk in batched(self._images(done, total), CHUNK):
                    for file, array in zip(files, _extract(self.backbone, torch.stack(chunk).to(device)), strict=True):
                        file.write(array.tobytes())
                        file.flush()
                    done += len(chunk)
                    self._note(done)
                    listener.advance(len(chunk))
                    stop()
                listener.end()
        except OSError as error:
            raise RunError(unwritable(self.folder, error)) from error
        self.open(device)

    def open(self, device: torch.device) -> None:
        """Map the files of a filled cache into memory."""
        rows = len(self.examples) * self.views
        self._done()  # reads which images were refused
        shapes = self._shapes(device)
        self._maps = [np.memmap(self._path(i), np.float16, "r", shape=(rows, *s)) for i, s in enumerate(shapes)]

    def read(self, indices: Sequence[int], flipped: Sequence[bool], device: torch.device) -> Features:
        """The features of some images, in float32 on the device."""
        rows = [i * self.views + int(flip and self.views == 2) for i, flip in zip(indices, flipped, strict=True)]
        tensors = [torch.from_numpy(np.asarray(each[rows])).to(device, torch.float32) for each in self._maps]
        return self.backbone.regrouped(tensors)

    @property
    def is_full(self) -> bool:
        """Whether nothing is left to compute."""
        return self._done() == len(self.examples) * self.views

    def publish(self, folder: Path) -> None:
        """Move the files of a filled cache to where other runs find them; what is there already is taken instead."""
        self._maps = []
        try:
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                passing = Path(mkdtemp(prefix=".moving-", dir=folder.parent))  # so that it is there whole or not at all
                shutil.move(self.folder, passing / folder.name)
                with suppress(OSError):  # another run was quicker
                    (passing / folder.name).rename(folder)
                shutil.rmtree(passing)
        except OSError as error:
            raise RunError(unwritable(folder, error)) from error
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = folder

    def remove(self) -> None:
        """Delete the files: the run has no more need of them."""
        self._maps = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def bytes_needed(self, device: torch.device) -> int:
        """Size of the files when full."""
        return sum(prod(shape) for shape in self._shapes(device)) * 2 * self.views * len(self.examples)

    def _images(self, start: int, end: int) -> Iterator[Tensor]:
        blank = torch.zeros(3, self.examples.preprocess.size, self.examples.preprocess.size)

        def load(row: int) -> Tensor:
            flipped = bool(row % self.views)
            image = self.examples.attempt(row // self.views, lambda index: self.examples.plain(index, flipped=flipped))
            return blank if image is None else image

        return ordered_map(load, range(start, end), workers=default_workers(), ahead=4 * CHUNK)

    def _shapes(self, device: torch.device) -> list[tuple[int, ...]]:
        if not self._known_shapes:
            size = self.examples.preprocess.size
            arrays = _extract(self.backbone, torch.zeros(1, 3, size, size, device=device))
            self._known_shapes = [array.shape[1:] for array in arrays]
        return self._known_shapes

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.f16"

    def _done(self) -> int:
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return 0
        if state["key"] != self.key:
            return 0
        self.examples.refused.update({int(index): reason for index, reason in state["refused"].items()})
        return int(state["done"])

    def _note(self, done: int) -> None:
        write_json(self.folder / "state.json", {"key": self.key, "done": done, "refused": self.examples.refused})


def _open_at(path: Path, offset: int) -> IO[bytes]:
    """Open a file for appending after its first ``offset`` bytes; what a killed run wrote beyond them is cut off."""
    file = path.open("ab")
    file.truncate(offset)
    return file


@torch.no_grad()
def _extract(backbone: Backbone, images: Tensor) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float16]]]:
    if images.device.type == "cpu":
        images = images.contiguous(memory_format=torch.channels_last)
    largest = torch.finfo(torch.float16).max
    return [each.clamp(-largest, largest).half().contiguous().cpu().numpy() for each in backbone(images).tensors]


def _fingerprint(examples: Examples) -> str:
    """Names, sizes and times of the files, so that a changed image is seen."""
    parts = []
    for item in examples.items:
        stat = item.path.stat()
        parts.append(f"{item.name}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return "\n".join(parts)
