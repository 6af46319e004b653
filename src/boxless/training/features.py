"""Features of a frozen backbone, computed once and kept on disk in half precision."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.errors import RunError
from boxless.files import unwritable, write_json
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.events import Listener
from boxless.training.examples import Examples
from boxless.types import Features

CHUNK = 32  # images in a forward pass


class FeatureCache:
    """Grids of every image of a split, and of its mirror image where ``flips`` is true, as memory-mapped files.

    Filling can be interrupted: what is done is noted beside the files, and the same cache opened again goes on there.
    Features are half precision: maps keep 11 bits, more than the 8 that evaluators of the field look at.

    Args:
        folder: Where the files are; made if need be.
        backbone: The frozen backbone, with its taps set.
        examples: The images.
        flips: Keep the mirrored view too.
        key: What the features depend on besides the images; another key starts anew.
    """

    def __init__(self, folder: Path, backbone: Backbone, examples: Examples, *, flips: bool, key: str) -> None:
        self.folder, self.backbone, self.examples = folder, backbone, examples
        self.views = 2 if flips else 1
        self._key = hashlib.blake2b((key + _fingerprint(examples)).encode(), digest_size=16).hexdigest()
        self._grids: tuple[np.memmap[tuple[int, ...], np.dtype[np.float16]], ...] = ()
        self._prefix: np.memmap[tuple[int, ...], np.dtype[np.float16]] | None = None

    def fill(self, device: torch.device, listener: Listener, stop: Callable[[], None], *, name: str) -> None:
        """Compute what is not there yet; ``stop`` is called between chunks and may raise to end the work."""
        arrays = self._open(device)
        done = self._done()
        total = len(self.examples) * self.views
        listener.begin(f"features of {name}", total, done)

        def load(row: int) -> Tensor:
            return self.examples.plain(row // self.views, flipped=bool(row % self.views))

        images = ordered_map(load, range(done, total), workers=default_workers(), ahead=4 * CHUNK)
        for chunk in batched(images, CHUNK):
            rows = slice(done, done + len(chunk))
            tensors = _extract(self.backbone, torch.stack(chunk).to(device))
            try:
                for array, tensor in zip(arrays, tensors, strict=True):
                    array[rows] = tensor
            except OSError as error:
                raise RunError(unwritable(self.folder, error)) from error
            done += len(chunk)
            self._note(done)
            listener.advance(len(chunk))
            stop()
        listener.end()

    def open(self, device: torch.device) -> None:
        """Map the files of a filled cache."""
        self._open(device)

    def read(self, indices: Sequence[int], flipped: Sequence[bool], device: torch.device) -> Features:
        """The features of some images, in float32 on the device."""
        rows = [i * self.views + int(flip and self.views == 2) for i, flip in zip(indices, flipped, strict=True)]
        grids = tuple(torch.from_numpy(np.asarray(grid[rows])).to(device, torch.float32) for grid in self._grids)
        prefix = None if self._prefix is None else torch.from_numpy(np.asarray(self._prefix[rows]))
        return Features(grids, None if prefix is None else prefix.to(device, torch.float32))

    def remove(self) -> None:
        """Delete the files: the run has no more need of them."""
        self._grids, self._prefix = (), None
        shutil.rmtree(self.folder, ignore_errors=True)

    def bytes_needed(self, device: torch.device) -> int:
        """Size of the files when full."""
        sample = _extract(self.backbone, self.examples.plain(0)[None].to(device))
        return sum(array[0].size for array in sample) * 2 * self.views * len(self.examples)

    def _open(self, device: torch.device) -> list[np.memmap[tuple[int, ...], np.dtype[np.float16]]]:
        sample = _extract(self.backbone, self.examples.plain(0)[None].to(device))
        names = [f"grid{i}.f16" for i in range(len(self.backbone.taps))] + ["prefix.f16"]
        arrays = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, each in zip(names, sample, strict=False):
                shape = (len(self.examples) * self.views, *each.shape[1:])
                path = self.folder / name
                if self._done() == 0 or not path.exists():
                    self._note(0)
                    np.memmap(path, np.float16, "w+", shape=shape).flush()
                arrays.append(np.memmap(path, np.float16, "r+", shape=shape))
        except OSError as error:
            raise RunError(unwritable(self.folder, error)) from error
        grids = len(self.backbone.taps)
        self._grids, self._prefix = tuple(arrays[:grids]), (arrays[grids] if len(arrays) > grids else None)
        return arrays

    def _done(self) -> int:
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return 0
        return int(state["done"]) if state["key"] == self._key else 0

    def _note(self, done: int) -> None:
        write_json(self.folder / "state.json", {"key": self._key, "done": done})


@torch.no_grad()
def _extract(backbone: Backbone, images: Tensor) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float16]]]:
    if images.device.type == "cpu":
        images = images.contiguous(memory_format=torch.channels_last)
    features = backbone(images)
    tensors = [*features.grids, *([] if features.prefix is None else [features.prefix])]
    return [tensor.half().contiguous().cpu().numpy() for tensor in tensors]


def _fingerprint(examples: Examples) -> str:
    """Names, sizes and times of the files, so that a changed image is seen."""
    parts = []
    for item in examples.items:
        stat = item.path.stat()
        parts.append(f"{item.name}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return "\n".join(parts)
