"""Training examples: which images make up a step, and how each is shown. Both follow from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from boxless.data.images import read_image
from boxless.data.transforms import Augment, Preprocess
from boxless.errors import DataError
from boxless.training.randomness import generator
from boxless.types import Item


class Examples:
    """The images of one split, decoded on request.

    Args:
        items: The images and their labels.
        num_classes: Number of classes.
        preprocess: How an image becomes a tensor.
        augment: How it does so in training; None shows it as it is.
        seed: The run's seed.
    """

    def __init__(
        self,
        items: Sequence[Item],
        num_classes: int,
        preprocess: Preprocess,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.items, self.preprocess, self.augment, self.seed = items, preprocess, augment, seed
        self.labels = torch.tensor([item.labels[0] for item in items])
        self.targets = torch.zeros(len(items), num_classes)
        for row, item in enumerate(items):
            self.targets[row, list(item.labels)] = 1

    def __len__(self) -> int:
        return len(self.items)

    def plain(self, index: int, *, flipped: bool = False) -> Tensor:
        """One image as it is, (3, s, s), perhaps mirrored."""
        tensor = self.preprocess(self._read(index))
        return tensor.flip(-1) if flipped else tensor

    def shown(self, index: int, epoch: int) -> Tensor:
        """One image as training shows it in this epoch, (3, s, s)."""
        if self.augment is None:
            return self.plain(index)
        return self.augment(self._read(index), generator(self.seed, "augment", epoch, index))

    def flipped(self, index: int, epoch: int) -> bool:
        """Whether training shows the mirrored view of a cached image in this epoch."""
        return bool(torch.rand((), generator=generator(self.seed, "flip", epoch, index)) < 0.5)

    def _read(self, index: int) -> Image.Image:
        return read_image(self.items[index].path, shrink_to=self.preprocess.size)[0]


def usable(items: Sequence[Item], split: str, broken: Sequence[tuple[Path, str]]) -> tuple[Item, ...]:
    """The items less the broken ones.

    Raises:
        DataError: A class of the split has no readable image left.
    """
    bad = {path for path, _ in broken}
    kept = tuple(item for item in items if item.path not in bad)
    if not kept:
        raise DataError(f"split {split}: none of its {len(items)} images can be read; run 'boxless inspect' on the data.")
    return kept


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """The batches of one epoch: a permutation drawn for this epoch, cut into batches, the last perhaps smaller."""
    order = torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def share(batch: Sequence[int], parts: int, which: int) -> tuple[list[int], float]:
    """One of ``parts`` near-equal parts of a batch, and its weight.

    The weight makes the mean over parts of ``weight * loss`` the mean over the whole batch, as one device would have
    it. A part that would be empty takes the batch's first image with weight 0, since every device must do its step.
    """
    start, end = which * len(batch) // parts, (which + 1) * len(batch) // parts
    if start == end:
        return [batch[0]], 0.0
    return list(batch[start:end]), (end - start) * parts / len(batch)
