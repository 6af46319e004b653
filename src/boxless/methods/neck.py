"""The grid that a classifier pools: a stage of the backbone, coarser ones laid over it, and a convolution."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError


@final
class Neck(nn.Module):
    """Reads features on one grid of the wanted stride.

    Args:
        backbone: Where the features come from; its stages are tapped here, in place of those tapped before. What else
            reads the same pass taps after that, with `Backbone.also_tap`.
        stride: The grid is that of the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over it, upsampled: they tell classes apart better and keep the grid's detail.
        hidden: Channels of a 3x3 convolution with ReLU on top; 0 puts none.
        also: Keep the stages that were tapped before, for another reader of the same pass of the backbone.

    Attributes:
        channels: Channels of the grid that comes out.
        stride: Input pixels per cell of it.

    Raises:
        ConfigError: Every stage of the backbone is coarser than ``stride``.
    """

    def __init__(self, backbone: Backbone, *, stride: int, fuse: bool, hidden: int, also: bool = False) -> None:
        super().__init__()
        strides = [stage.stride for stage in backbone.stages]
        fine = [index for index, each in enumerate(strides) if each <= stride]
        if not fine:
            raise ConfigError(
                f"method.stride: {stride} is finer than any stage of this backbone; it has {min(strides)}."
            )
        # The first stage of each coarser stride: what some networks add after it is the same grid, only wider.
        coarse = [strides.index(each) for each in sorted(set(strides)) if each > stride] if fuse else []
        if not also:
            backbone.tap()
        self._places = backbone.also_tap(fine[-1], *coarse)
        self.stride = strides[fine[-1]]
        width = sum(backbone.stages[index].channels for index in (fine[-1], *coarse))
        self.channels = hidden or width
        self.convolution: nn.Module = (
            nn.Sequential(nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU()) if hidden else nn.Identity()
        )

    def forward(self, grids: tuple[Tensor, ...]) -> Tensor:
        """One grid (b, c, h, w) from those that the backbone gives."""
        first, *rest = (grids[place] for place in self._places)
        raised = [F.interpolate(each, first.shape[2:], mode="bilinear", align_corners=False) for each in rest]
        fused = torch.cat([first, *raised], 1) if rest else first
        grid: Tensor = self.convolution(fused)
        return grid
