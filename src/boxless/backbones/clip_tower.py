"""CLIP's image transformers opened up: their tokens, attention and blocks, step by step.

What an image tower of open_clip computes in one call is here a sequence of steps, so that a method can put its own
attention in the place of the network's. Tokens are batch first, (b, t, c), class token first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

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

    def attention(self, index: int, y: Tensor, grid: Grid, rows: Literal["class", "all"] = "all") -> Tensor:
        """Weights of a block's attention, (b, heads, t, t), or of the class token's alone, (b, heads, t)."""
        q, k, _ = self.qkv(index, y, grid)
        asked = q[:, :, :1] if rows == "class" else q
        weights = (asked @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        return weights[:, :, 0] if rows == "class" else weights

    def stage_names(self) -> list[tuple[str, int, int]]:
        """Name, channels and stride of each block."""
        return [(f"{self.place}.{index}", self.width, self.patch) for index in range(self.depth)]

    def read(
        self, images: Tensor, wanted: Collection[int], attending: Collection[int], rows: Literal["class", "all"]
    ) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
        """Grid (b, c, h, w) and class tokens (b, p, c) after each wanted block; stage `depth` is the shared space.

        Blocks are read after the last norm, as what follows the last one sees them. Beside them, the attention of other
        blocks, as :meth:`attention` gives it.
        """
        x, grid = self.tokens(images)
        found, attention = {}, {}
        for index in range(min(max({*wanted, *attending}) + 1, self.depth)):
            if index in attending:
                attention[index] = self.attention(index, self.normed(index, x), grid, rows)
            x = self.block(index, x, grid)
            if index in wanted:
                found[index] = self._parted(self.last_norm(x), grid)
        if self.depth in wanted:
            found[self.depth] = self._parted(self.embed(x), grid)
        return found, attention

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
