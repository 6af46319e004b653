"""What a method may know of a network: stages of features on a grid, with their channels and strides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.types import Features


@dataclass(frozen=True, slots=True)
class Stage:
    """One place in a network where features can be read as a grid."""

    name: str
    channels: int
    stride: int  # input pixels per grid cell


class Backbone(nn.Module, ABC):
    """Images in, features on a grid out.

    A method says with :meth:`tap` which stages it reads; only those are computed and kept. Methods and backbones meet
    nowhere else, so any method runs on any backbone that has what it needs.

    Attributes:
        stages: Every stage that can be tapped, from fine to coarse.
        prefix_tokens: Class and register tokens before the patch tokens; 0 for convolutional networks.
        mean: Channel means that images are normalised with.
        std: Channel standard deviations that images are normalised with.
        licence: Licence of the pretrained weights, as their publisher states it.
    """

    stages: tuple[Stage, ...]
    prefix_tokens: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str

    def __init__(self) -> None:
        super().__init__()
        self.taps: tuple[int, ...] = ()
        self.frozen = False
        self.inserted = nn.ModuleList()
        self._places: list[int] = []  # the stage of each inserted module
        self._replayed: tuple[Tensor, Features] | None = None

    def tap(self, *stages: int) -> tuple[Stage, ...]:
        """Choose the stages that :meth:`forward` gives, by index; negative ones count from the end.

        Raises:
            ConfigError: There is no such stage; the message lists those there are.
        """
        self.taps = tuple(self._known(stage) for stage in stages)
        return tuple(self.stages[stage] for stage in self.taps)

    def insert(self, stage: int, module: nn.Module) -> Stage:
        """Let the output grid of a stage go through a module: what comes out is tapped there and goes on from there.

        The module takes and gives (b, c, h, w), whatever the network's own layout; class and register tokens pass by
        it. It belongs to the backbone's state. Its mode is that of the method, also where the backbone is frozen, so
        that it can change features in training; but no gradient reaches it there. A second module at the same stage
        comes after the first.

        Args:
            stage: Index of the stage; a negative one counts from the end.
            module: What is inserted.

        Raises:
            ConfigError: There is no such stage, or nothing can be inserted at it.
        """
        place = self._known(stage)
        self.admit(place)
        self.inserted.append(module.train(self.training))
        self._places.append(place)
        return self.stages[place]

    def admit(self, stage: int) -> None:
        """Prepare a stage for :meth:`insert`; a backbone whose :meth:`extract` heeds what is inserted overrides it.

        Raises:
            ConfigError: Nothing can be inserted at this stage.
        """
        raise ConfigError(f"stage {self.stages[stage].name}: nothing can be inserted into {type(self).__name__}.")

    def pass_through(self, stage: int, grid: Tensor) -> Tensor:
        """The output grid of a stage after the modules that were inserted there."""
        for place, module in zip(self._places, self.inserted, strict=True):
            if place == stage:
                grid = module(grid)
        return grid

    def _known(self, stage: int) -> int:
        count = len(self.stages)
        if not -count <= stage < count:
            listed = ", ".join(f"{i}: {s.name} (stride {s.stride})" for i, s in enumerate(self.stages))
            raise ConfigError(f"stage {stage}: this backbone has no such stage; it has {listed}.")
        return stage % count

    @torch.no_grad()
    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the last tapped grid for images of this size, found by a forward pass of zeros."""
        weight = next(self.parameters())
        with evaluating(self):
            shape = self(torch.zeros(1, 3, height, width, device=weight.device, dtype=weight.dtype)).grid.shape
        return int(shape[2]), int(shape[3])

    def freeze(self) -> None:
        """Keep the weights and the batch statistics as they are from now on."""
        self.frozen = True
        self.requires_grad_(requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; a frozen backbone stays in evaluation mode, but for what is inserted."""
        super().train(mode and not self.frozen)
        for module in self.inserted:
            module.train(mode)
        return self

    def forward(self, images: Tensor) -> Features:
        """Features of the tapped stages for normalised images (b, 3, h, w)."""
        if self._replayed is not None and images is self._replayed[0]:
            return self._replayed[1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.extract(images)

    @abstractmethod
    def extract(self, images: Tensor) -> Features:
        """Compute the features of the tapped stages for normalised images (b, 3, h, w)."""

    @contextmanager
    def replay(self, images: Tensor, features: Features) -> Iterator[None]:
        """Within it, a forward pass of this very tensor gives ``features``, which were computed before.

        So cached features serve a method that knows nothing of the cache. Any other tensor is computed as ever.
        """
        self._replayed = (images, features)
        try:
            yield
        finally:
            self._replayed = None


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it, a module and all in it are in evaluation mode; after it, each is in the mode it was found in."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode
