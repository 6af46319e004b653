"""Training examples: which images make up a step, and how each is shown. Both follow from the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from boxless.data.images import read_image
from boxless.data.transforms import Augment, Preprocess
from boxless.errors import DataError
from boxless.stream import ordered_map
from boxless.training.randomness import generator
from boxless.training.shots import draw, in_shots
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
        self.shots = in_shots(items)
        self.refused: dict[int, str] = {}  # images that cannot be read, and why; training goes on without them
        self.labels = torch.tensor([item.labels[0] for item in items])
        self.targets = torch.zeros(len(items), num_classes)
        for row, item in enumerate(items):
            self.targets[row, list(item.labels)] = 1

    def __len__(self) -> int:
        return len(self.items)

    @property
    def per_epoch(self) -> int:
        """How many of them an epoch shows: all images, and of frames one a shot."""
        return len(self.shots)

    def drawn(self, epoch: int) -> list[int]:
        """Those that an epoch shows."""
        if self.per_epoch == len(self.items):
            return list(range(len(self.items)))
        return draw(self.items, self.shots, epoch, self.seed)

    def check_readable(self) -> None:
        """Raise a DataError if no image could be read."""
        if len(self.refused) == len(self.items):
            first = next(iter(self.refused.values()), "there are none")
            raise DataError(
                f"none of the {len(self.items)} training images can be read (the first: {first}); "
                "run 'boxless inspect' on the data."
            )

    def attempt(self, index: int, show: Callable[[int], Tensor]) -> Tensor | None:
        """The image as ``show`` gives it, or None if its file cannot be read, which is noted."""
        if index in self.refused:
            return None
        try:
            return show(index)
        except DataError as error:
            self.refused[index] = str(error)
            return None

    def stream(
        self, groups: Sequence[Sequence[int]], epoch: int, workers: int, *, mirror_only: bool = False
    ) -> Iterator[list[Tensor | None]]:
        """The images of each group in turn, decoded ahead in threads; None for one that cannot be read.

        Args:
            groups: Indices of the images.
            epoch: The epoch, which decides how each is shown.
            workers: Threads.
            mirror_only: Show only the two views that cached features are kept of.
        """

        def show(index: int) -> Tensor:
            if mirror_only:
                return self.plain(index, flipped=self.flipped(index, epoch))
            return self.shown(index, epoch)

        flat = [index for group in groups for index in group]
        images = ordered_map(lambda i: self.attempt(i, show), flat, workers=workers, ahead=64 + 8 * workers)
        for group in groups:
            yield [next(images) for _ in group]

    def plain(self, index: int, *, flipped: bool = False) -> Tensor:
        """One image as it is, (3, s, s), perhaps mirrored."""
        tensor = self.of_item(self.items[index])
        return tensor.flip(-1) if flipped else tensor

    def of_item(self, item: Item) -> Tensor:
        """Any image, one of them or not, as it is, (3, s, s)."""
        return self.preprocess(read_image(item.path, shrink_to=self.preprocess.size)[0])

    def shown(self, index: int, epoch: int) -> Tensor:
        """One image as training shows it in this epoch, (3, s, s)."""
        if self.augment is None:
            return self.plain(index)
        side = round(1.5 * self.preprocess.size)  # a crop of half the area, the least, is then not enlarged
        return self.augment(self._read(index, side), generator(self.seed, "augment", epoch, index))

    def view(self, index: int, epoch: int, *, mirror_only: bool = False) -> tuple[float, float, float, float, float]:
        """How training shows an image in this epoch, as `boxless.pseudo.records.Proposals.shown` takes it."""
        if mirror_only or self.augment is None:
            return 0.0, 0.0, 1.0, 1.0, float(self.flipped(index, epoch))
        crop, mirrored = self.augment.draw(generator(self.seed, "augment", epoch, index))
        return *crop, float(mirrored)

    def flipped(self, index: int, epoch: int) -> bool:
        """Whether training shows the mirrored view of a cached image in this epoch."""
        if self.augment is None:
            return False
        return bool(torch.rand((), generator=generator(self.seed, "flip", epoch, index)) < 0.5)

    def _read(self, index: int, side: int) -> Image.Image:
        return read_image(self.items[index].path, shrink_to=side)[0]


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
