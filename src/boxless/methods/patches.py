"""Patches: a frozen grid enlarged and refined, and each of its cells embedded in the space of anchors.

Nothing here makes the embeddings of all patches: of several hundred dimensions on a fine grid they would take most of
the memory and time. As the last step is linear, what is asked of them is worked out before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.methods.decoder import doublings, enlarging_block, unit

NARROWEST = 32  # channels that halving stops at


@dataclass(frozen=True, slots=True)
class Patches:
    """What patches are embedded from."""

    coarse: Tensor  # (b, c, h, w), enlarged bilinearly to the size of the fine grid
    fine: Tensor | None  # (b, f, h', w'); None if the coarse grid is fine enough
    size: tuple[int, int]  # (h', w')


@final
class PatchDecoder(nn.Module):
    """From an encoder's grid to embeddings z of patches on a finer one.

    An embedding is a linear function of the encoder's own features at its place, scaled bilinearly, and of what blocks
    of convolutions, each of which doubles the sides, have made of the grid around it. By the first alone, images are
    classified as well as by a linear classifier on the encoder; the second tells where an object ends.

    Args:
        channels: Of the grid.
        stride: Input pixels per cell of it.
        dimensions: Of an embedding.
        width: Channels of the first block; they halve from block to block, but not below 32.
        resolution: Input pixels per patch; a grid that is no coarser is not enlarged, and has no blocks.
    """

    def __init__(self, *, channels: int, stride: int, dimensions: int, width: int, resolution: int) -> None:
        super().__init__()
        count = doublings(stride, resolution)
        self.norm = nn.BatchNorm2d(channels)  # stages of a network differ in scale
        layers: list[nn.Module] = []
        inner = 0
        if count:
            layers += unit(nn.Conv2d(channels, 2 * width, 1, bias=False))
            inner = 2 * width
        for index in range(count):
            outputs = max(width >> index, min(width, NARROWEST))
            layers += enlarging_block(inner, outputs)
            inner = outputs
        self.blocks = nn.Sequential(*layers)
        self.projection = nn.Linear(channels + inner, dimensions)
        self.to(memory_format=torch.channels_last)

    def forward(self, grid: Tensor) -> Patches:
        """The patches of a grid (b, c, h, w)."""
        coarse = self.norm(grid.contiguous(memory_format=torch.channels_last))
        fine = self.blocks(coarse) if len(self.blocks) else None
        height, width = (coarse if fine is None else fine).shape[2:]
        return Patches(coarse, fine, (height, width))

    def at(self, patches: Patches, rows: Tensor, columns: Tensor) -> Tensor:
        """Embeddings (b, d, n) of the patches in these rows and columns, each (b, n) int64."""
        down, across = _enlarging(patches)
        across_weights = across[columns].to(patches.coarse)  # (b, n, w)
        lines = torch.einsum("bchw,bnw->bchn", patches.coarse, across_weights)
        found = torch.einsum("bchn,bnh->bnc", lines, down[rows].to(patches.coarse))
        if patches.fine is not None:
            image = torch.arange(len(rows), device=rows.device)[:, None]
            found = torch.cat([found, patches.fine.movedim(1, 3)[image, rows, columns]], 2)
        embedded: Tensor = self.projection(found)
        return embedded.mT

    def products(self, patches: Patches, vectors: Tensor) -> Tensor:
        """Dot products (b, n, h', w') of every patch's embedding with vectors (b, n, d)."""
        weights = vectors @ self.projection.weight
        channels = patches.coarse.shape[1]
        coarse, fine = weights[..., :channels], weights[..., channels:]
        found = torch.einsum("bchw,bnc->bnhw", patches.coarse, coarse)
        if patches.fine is not None:
            found = F.interpolate(found, patches.size, mode="bilinear", align_corners=False)
            found = found + torch.einsum("bchw,bnc->bnhw", patches.fine, fine)
        return found + (vectors @ self.projection.bias)[:, :, None, None]

    def mean(self, patches: Patches, weights: Tensor) -> Tensor:
        """The mean (b, d) of all patches' embeddings by weights (b, h', w'), those of an image summing to 1."""
        down, across = (each.to(weights) for each in _enlarging(patches))
        on_grid = down.mT @ weights @ across
        found = torch.einsum("bchw,bhw->bc", patches.coarse.to(weights), on_grid)
        if patches.fine is not None:
            found = torch.cat([found, torch.einsum("bchw,bhw->bc", patches.fine.to(weights), weights)], 1)
        embedded: Tensor = self.projection(found)
        return embedded


def _enlarging(patches: Patches) -> tuple[Tensor, Tensor]:
    """How much of each coarse row is in each fine one (h', h), and of each column (w', w)."""
    return tuple(  # type: ignore[return-value]
        _shares(length, to, patches.coarse.device)
        for length, to in zip(patches.coarse.shape[2:], patches.size, strict=True)
    )


def _shares(length: int, to: int, device: torch.device) -> Tensor:
    cells = torch.eye(length, device=device)[None]
    return F.interpolate(cells, to, mode="linear", align_corners=False)[0].T
