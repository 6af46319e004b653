"""From the examples of a split to what one device gets in one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from boxless.pseudo.records import Proposals
from boxless.stream import default_workers
from boxless.training.examples import Examples, epoch_batches, share
from boxless.training.features import FeatureCache


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a batch that goes through the network at once."""

    images: Tensor  # (b, 3, s, s); (b, 3, 0, 0) where only cached features are needed
    labels: Tensor  # (b,)
    targets: Tensor  # (b, k)
    index: Tensor  # (b,) on the CPU
    cached: tuple[Tensor, ...]  # grids and prefix tokens, or nothing
    pseudo: Proposals | None  # of the images as they are shown
    weight: float  # makes the sum over all parts on all devices, divided by the devices, the mean over the batch


@dataclass(slots=True)
class Feeder:
    """The steps of an epoch, as one device sees them.

    Args:
        examples: The training images.
        cache: Their features, if they were computed before.
        batch_size: Images a step over all devices.
        accumulate: Parts that one device's share is cut into.
        seed: The run's seed.
        rank: This device's number.
        world: Number of devices.
        device: Where tensors go.
        needs_images: Load the images even where features are cached; each stage of training says so.
        pseudo: Proposals of all training images, on the CPU, in a stage that learns from them.
    """

    examples: Examples
    cache: FeatureCache | None
    batch_size: int
    accumulate: int
    seed: int
    rank: int
    world: int
    device: torch.device
    needs_images: bool = False
    pseudo: Proposals | None = None

    def steps(self, epoch: int, first: int) -> Iterator[list[Part]]:
        """The parts of each batch of an epoch, from batch number ``first`` on."""
        shown = self.examples.drawn(epoch)
        places = list(epoch_batches(len(shown), self.batch_size, self.seed, epoch))[first:]
        batches = [[shown[place] for place in batch] for batch in places]
        shares = [self._share(batch) for batch in batches]
        if self.cache is not None and not self.needs_images:
            for shared in shares:
                yield [self._cached(indices, weight, epoch) for indices, weight in shared]
            return
        groups = [indices for shared in shares for indices, _ in shared]
        loaded = self.examples.stream(groups, epoch, default_workers(), mirror_only=self.cache is not None)
        for shared in shares:
            yield [self._loaded(indices, weight, next(loaded), epoch) for indices, weight in shared]

    def _share(self, batch: list[int]) -> list[tuple[list[int], float]]:
        parts = self.world * self.accumulate
        shares = (share(batch, parts, self.rank * self.accumulate + i) for i in range(self.accumulate))
        return [(indices, weight / self.accumulate) for indices, weight in shares]

    def _cached(self, indices: list[int], weight: float, epoch: int) -> Part:
        readable = [i for i in indices if i not in self.examples.refused]
        kept = readable or indices[:1]
        return self._part(torch.empty(len(kept), 3, 0, 0), kept, weight if readable else 0.0, epoch)

    def _loaded(self, indices: list[int], weight: float, images: list[Tensor | None], epoch: int) -> Part:
        pairs = [(i, image) for i, image in zip(indices, images, strict=True) if image is not None]
        if not pairs:  # every device must do its step: an empty image that counts for nothing
            size = self.examples.preprocess.size
            return self._part(torch.zeros(1, 3, size, size), indices[:1], 0.0, epoch)
        return self._part(torch.stack([image for _, image in pairs]), [i for i, _ in pairs], weight, epoch)

    def _part(self, images: Tensor, indices: list[int], weight: float, epoch: int) -> Part:
        index = torch.tensor(indices)
        cached: tuple[Tensor, ...] = ()
        if self.cache is not None:
            flipped = [self.examples.flipped(i, epoch) for i in indices]
            cached = self.cache.read(indices, flipped, self.device).tensors
        layout = torch.channels_last if images.numel() else torch.contiguous_format
        return Part(
            images.to(self.device, memory_format=layout, non_blocking=True),
            self.examples.labels[index].to(self.device),
            self.examples.targets[index].to(self.device),
            index,
            cached,
            self._pseudo(indices, epoch),
            weight,
        )

    def _pseudo(self, indices: list[int], epoch: int) -> Proposals | None:
        if self.pseudo is None:
            return None
        mirror_only = self.cache is not None
        views = [self.examples.view(i, epoch, mirror_only=mirror_only) for i in indices]
        return self.pseudo.select(torch.tensor(indices)).to(self.device).shown(torch.tensor(views))
