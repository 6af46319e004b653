"""CLIP's image transformers opened up: their tokens, attention and blocks, step by step.

What an image tower of open_clip computes in one call is here a sequence of steps, so that a method can put its own
attention in the place of the network's. Tokens are batch first, (b, t, c), class token first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from boxless.backbones.table import BACKBONES
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.backbones.base import Backbone

Grid = tuple[int, int]  # rows and columns of patches


class ClipTower(nn.Module, ABC):
    """The image transformer of a CLIP model, from images to the space that it shares with texts.

    ``x`` is a residual stream of tokens, ``y`` the same after the first norm of a block. A block is
    ``mlp(i, residual(i, x, mixed(i, attention(i, y, grid), v)))`` with ``y = normed(i, x)``.

    Args:
        visual: The network of open_clip that it opens up; its weights are the tower's.
        log_scale: Logarithm of what similarities of images and texts are multiplied with.

    Attributes:
        width: Channels of a token.
        heads: Heads of a block's attention.
        patch: Side of a patch, in pixels.
        depth: Number of blocks.
        prefix: Class tokens before the patches: 1, or 0 where the network has none.
        place: Where the blocks are in the network.
    """

    width: int
    heads: int
    patch: int
    prefix: int
    place: str
    log_scale: Tensor

    def __init__(self, visual: Any, log_scale: Tensor) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("log_scale", log_scale.detach().reshape(()).clone())

    @property
    def scale(self) -> Tensor:
        """What cosines of images and texts are multiplied with before a softmax over texts."""
        return self.log_scale.exp()

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    @abstractmethod
    def blocks(self) -> Any:
        """The network's own blocks."""

    @abstractmethod
    def tokens(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Tokens before the first block, and the grid of their patches, for images (b, 3, h, w) of any size.

        The position embedding is interpolated to the grid. Where patches do not divide the image, it is continued with
        zeros at its right and its bottom.
        """

    @abstractmethod
    def normed(self, index: int, x: Tensor) -> Tensor:
        """The first norm of a block."""

    @abstractmethod
    def qkv(self, index: int, y: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, heads, t, c / heads) of a block, as they meet in its attention."""

    @abstractmethod
    def mixed(self, index: int, weights: Tensor, v: Tensor) -> Tensor:
        """What attention gives: values summed by weights (b, heads, t, t), heads joined and projected, (b, t, c)."""

    @abstractmethod
    def residual(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        """The stream after the first half of a block, of which ``attended`` is what attention gives."""

    @abstractmethod
    def mlp(self, index: int, x: Tensor) -> Tensor:
        """The stream after the second half of a block."""

    @abstractmethod
    def block(self, index: int, x: Tensor, grid: Grid) -> Tensor:
        """A whole block as the network computes it, which is quicker than step by step."""

    @abstractmethod
    def last_norm(self, x: Tensor) -> Tensor:
        """The norm after the last block, of every token."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Every token in the space shared with texts, (b, t, d), from the stream after a block."""

    @abstractmethod
    def pooled(self, x: Tensor) -> Tensor:
        """The image's embedding (b, d) as the network computes it, from the stream after the last block."""

    def attention(self, index: int, y: Tensor, grid: Grid) -> Tensor:
        """Weights of a block's attention, (b, heads, t, t)."""
        q, k, _ = self.qkv(index, y, grid)
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)

    def class_attention(self, images: Tensor) -> Tensor:
        """What the class token of the last block attends to, of the patches: (b, heads, rows, columns)."""
        x, grid = self.tokens(images)
        for index in range(self.depth - 1):
            x = self.block(index, x, grid)
        weights = self.attention(self.depth - 1, self.normed(self.depth - 1, x), grid)
        return weights[:, :, 0, self.prefix :].reshape(*weights.shape[:2], *grid)

    def stage_names(self) -> list[tuple[str, int, int]]:
        """Name, channels and stride of each block."""
        return [(f"{self.place}.{index}", self.width, self.patch) for index in range(self.depth)]

    def read(self, images: Tensor, wanted: Collection[int]) -> dict[int, tuple[Tensor, Tensor]]:
        """Grid (b, c, h, w) and class tokens (b, p, c) after each wanted block; stage `depth` is the shared space.

        Blocks are read after the last norm, as what follows the last one sees them.
        """
        x, grid = self.tokens(images)
        found = {}
        for index in range(min(max(wanted) + 1, self.depth)):
            x = self.block(index, x, grid)
            if index in wanted:
                found[index] = self._parted(self.last_norm(x), grid)
        if self.depth in wanted:
            found[self.depth] = self._parted(self.embed(x), grid)
        return found

    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The image (b, d) and its patches (b, d, h, w) in the space shared with texts, not normalised."""
        x, grid = self.tokens(images)
        for index in range(self.depth):
            x = self.block(index, x, grid)
        return self.pooled(x), self._parted(self.embed(x), grid)[0]

    def _parted(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        patches = tokens[:, self.prefix :].mT
        return patches.reshape(*patches.shape[:2], *grid), tokens[:, : self.prefix]


def need_tower(backbone: Backbone, what: str) -> ClipTower:
    """The tower of a backbone, for what works on patch tokens of CLIP and on nothing else.

    Raises:
        ConfigError: It has none; the message lists backbones that do.
    """
    tower = getattr(backbone, "tower", None)
    if isinstance(tower, ClipTower):
        return tower
    raise ConfigError(
        f"{what} works on the patch tokens of a CLIP transformer, which backbone {backbone.title} does not have; "
        f"fitting: {fitting()}."
    )


def fitting() -> str:
    """Curated backbones that have such a tower, for messages."""
    return ", ".join(row.name for row in BACKBONES if row.kind == "clip" and row.prefix_tokens)
