"""What a method may know of a network: stages of features on a grid, with their channels and strides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from boxless.backbones.table import BACKBONES
from boxless.errors import ConfigError
from boxless.types import Features

if TYPE_CHECKING:
    from boxless.backbones.steering import Steering
    from boxless.text.towers import TextTower


@dataclass(frozen=True, slots=True)
class Stage:
    """One place in a network where features can be read as a grid."""

    name: str
    channels: int
    stride: int  # input pixels per grid cell


class Backbone(nn.Module, ABC):
    """Images in, features on a grid out.

    A method says with :meth:`tap` which grids it reads, with :meth:`tap_tokens` which tokens, and with
    :meth:`tap_attention` whose attention; only those are computed and kept. Methods and backbones meet nowhere else, so
    any method runs on any backbone that has what it needs.

    Attributes:
        stages: Every stage that can be tapped, from fine to coarse.
        prefix_tokens: Class and register tokens before the patch tokens; 0 for convolutional networks.
        class_token: Whether the first of them is a class token that :meth:`tap_tokens` gives.
        blocks: Transformer blocks whose attention :meth:`tap_attention` gives; 0 where the network has none such.
        heads: Heads of the attention of the last of them.
        mean: Channel means that images are normalised with.
        std: Channel standard deviations that images are normalised with.
        licence: Licence of the pretrained weights, as their publisher states it.
        text_dimensions: Width of the space that it shares with a text tower; 0 where it shares none.
        any_size: Whether images of another size than the one it was built for are taken.
    """

    stages: tuple[Stage, ...]
    prefix_tokens: int
    class_token: bool = False
    blocks: int = 0
    heads: int = 0
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    text_dimensions: int = 0
    any_size: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.taps: tuple[int, ...] = ()
        self.token_taps: tuple[int, ...] = ()
        self.attention_taps: tuple[int, ...] = ()
        self.attention_rows: Literal["class", "all"] = "class"
        self.steering: Steering | None = None  # set by `boxless.backbones.steering.steered` alone
        self.frozen = False
        self.inserted = nn.ModuleList()
        self._places: list[int] = []  # the stage of each inserted module
        self._replayed: tuple[Tensor, Features] | None = None

    def tap(self, *stages: int) -> tuple[Stage, ...]:
        """Choose the stages whose grids :meth:`forward` gives, by index; negative ones count from the end.

        They replace those chosen before; none at all is a choice too.

        Raises:
            ConfigError: There is no such stage; the message lists those there are.
        """
        self.taps = tuple(self._known(stage) for stage in stages)
        return tuple(self.stages[stage] for stage in self.taps)

    def also_tap(self, *stages: int) -> tuple[int, ...]:
        """Choose further stages, for a second reader of the same forward pass, and keep those chosen before.

        Returns:
            The place of each stage in ``Features.grids``; a stage that was chosen before keeps its place.

        Raises:
            ConfigError: There is no such stage.
        """
        wanted = [self._known(stage) for stage in stages]
        self.taps += tuple(stage for stage in dict.fromkeys(wanted) if stage not in self.taps)
        return tuple(self.taps.index(stage) for stage in wanted)

    def tap_tokens(self, *stages: int) -> tuple[Stage, ...]:
        """Choose the stages whose class and register tokens :meth:`forward` gives, whether or not their grids are read.

        They replace those chosen before, by index as in :meth:`tap`; all have the same width.

        Raises:
            ConfigError: There is no such stage, the backbone has no such tokens, or they have several widths.
        """
        if stages and not self.gives_tokens:
            fitting = ", ".join(row.name for row in BACKBONES if row.prefix_tokens)
            raise ConfigError(f"{self.title} gives no class or register tokens; fitting: {fitting}.")
        known = tuple(self._known(stage) for stage in stages)
        widths = sorted({self.stages[stage].channels for stage in known})
        if len(widths) > 1:
            raise ConfigError(
                f"stages {', '.join(map(str, known))}: their tokens have several widths, {widths}; "
                "take stages of one width."
            )
        self.token_taps = known
        return tuple(self.stages[stage] for stage in known)

    def tap_attention(self, *blocks: int, rows: Literal["class", "all"] = "class") -> None:
        """Choose the transformer blocks whose attention :meth:`forward` gives: weights after the softmax, no dropout.

        They replace those chosen before; negative indices count from the last block.

        Args:
            blocks: Indices of blocks; none at all is a choice too.
            rows: ``class`` gives what the class token attends to, (b, heads, n), and costs next to nothing; ``all``
                the attention of every token, (b, heads, n, n). Of n tokens class and register tokens come first, then
                the grid's cells, row by row.

        Raises:
            ConfigError: There is no such block, the blocks' attention cannot be read, or there is no class token.
        """
        reason = "it is no plain vision transformer, whose blocks each attend to all tokens" if not self.blocks else ""
        if rows == "class" and not self.class_token:
            reason = reason or "it has no class token in its blocks"
        if blocks and reason:
            fitting = ", ".join(row.name for row in BACKBONES if row.prefix_tokens)
            whose = "a class token" if rows == "class" else "all tokens"
            raise ConfigError(f"{self.title} gives no attention of {whose}: {reason}; fitting: {fitting}.")
        for block in blocks:
            if not -self.blocks <= block < self.blocks:
                raise ConfigError(f"block {block}: {self.title} has {self.blocks} blocks, counted from 0.")
        self.attention_taps, self.attention_rows = tuple(block % self.blocks for block in blocks), rows

    @property
    def tapped(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Literal["class", "all"]]:
        """All that was chosen: stages for their grids, for their tokens, blocks for their attention, and its rows."""
        return self.taps, self.token_taps, self.attention_taps, self.attention_rows

    @contextmanager
    def other_taps(self) -> Iterator[None]:
        """Within it other taps can be chosen, at first there are none; after it, those found are back."""
        found = self.tapped
        self.taps, self.token_taps, self.attention_taps = (), (), ()
        try:
            yield
        finally:
            self.taps, self.token_taps, self.attention_taps, self.attention_rows = found

    def regrouped(self, tensors: Sequence[Tensor]) -> Features:
        """The features that these are the ``Features.tensors`` of, with the present taps."""
        grids, tokens = len(self.taps), len(self.taps) + bool(self.token_taps)
        prefix = tensors[grids] if self.token_taps else None
        return Features(tuple(tensors[:grids]), prefix, tuple(tensors[tokens:]))

    @property
    def gives_tokens(self) -> bool:
        """Whether :meth:`tap_tokens` can be asked for any."""
        return self.prefix_tokens > 0

    def text_tower(self) -> TextTower:
        """Build the text tower that it shares a space with, on the processor, with weights from the same source.

        It is no part of the backbone and is not kept.

        Raises:
            ConfigError: It shares a space with none.
        """
        fitting = ", ".join(row.name for row in BACKBONES if row.kind == "clip")
        raise ConfigError(f"{self.title} has no text tower; fitting: {fitting}; or name a model of texts apart.")

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return str(getattr(self, "name", type(self).__name__))

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
        """Grids and tokens of the tapped stages for normalised images (b, 3, h, w)."""
        if self._replayed is not None and images is self._replayed[0]:
            return self._replayed[1]
        learning = not self.frozen or self.steering is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
            return self.extract(images)

    @abstractmethod
    def extract(self, images: Tensor) -> Features:
        """Compute grids and tokens of the tapped stages for normalised images (b, 3, h, w)."""

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
