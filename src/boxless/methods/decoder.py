"""Decoders: from the grids of an encoder to a background and a foreground score for each pixel.

`Decoder` is the localization head of DiPS (chapter 2 of Murtaza's thesis): it reads one grid. `UNetDecoder` is that of
the study before it (the thesis' appendix I): a U-Net (Ronneberger, Fischer and Brox, MICCAI 2015) on the grids of a
whole network. Their batch normalisation counts what its own device sees, as the authors' does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.backbones.base import Stage
from boxless.errors import ConfigError

MAPS = 2  # background, foreground
NARROWEST = 8  # channels that halving stops at


@final
class EnlargedConvolution(nn.Conv2d):
    """A 3x3 convolution of a grid that is first enlarged twofold, its cells repeated.

    The kernel's nine weights meet four different cells at most, so the enlarged grid is never made: a transposed
    convolution by a 4x4 kernel gives the same from 4/9 of the products, on a processor in about half the time.
    """

    def __init__(self, channels: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(channels, outputs, 3, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        """A grid (b, c, h, w) to (b, outputs, 2h, 2w)."""
        small = self.weight.flip(2, 3).transpose(0, 1)
        # A weight meets a cell in the four places where the cell is repeated.
        rows = F.pad(small, (0, 0, 0, 1)) + F.pad(small, (0, 0, 1, 0))
        kernel = F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))
        return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)


@final
class Decoder(nn.Module):
    """Blocks that double a grid's sides and halve its channels, up to two maps.

    A block repeats each cell as 2 x 2 cells and lets two 3x3 convolutions without bias, each with batch normalisation
    and ReLU, go over them; 384 channels become 192, 96, 48 and 2. How the last block ends the thesis does not say; its
    2.396 G operations are those of a plain convolution, where what normalises, rectifies and enlarges counts as well.

    Args:
        channels: Channels of the grid.
        stride: Input pixels per cell of the grid; where it is no power of two times ``resolution``, the blocks give
            more cells than that, which are scaled down.
        width: Channels after the first block; they halve from block to block, but not below 8. None is half of
            ``channels``, as in the thesis. Less than that also puts a 1x1 convolution with batch normalisation and ReLU
            first, to twice ``width``: on wide grids most of a processor's time would go to the first block.
        resolution: Input pixels per cell of the maps before they are scaled to the image: 1 in the thesis. Coarser
            maps save most of a processor's time. With the stride or more, a convolution is all there is.
        last: What gives the two maps after the last doubling: a plain ``"convolution"`` of 3x3 with bias, or, as in the
            authors' code, a ``"block"``, whose ReLU forbids negative scores.
        narrow: False leaves the 1x1 convolution out, so that the first block takes all channels.

    Raises:
        ConfigError: A setting is below 1, ``last`` is unknown, or it is ``"block"`` and there is none to be last.
    """

    def __init__(
        self,
        *,
        channels: int,
        stride: int,
        width: int | None = None,
        resolution: int = 1,
        last: Literal["convolution", "block"] = "convolution",
        narrow: bool = True,
    ) -> None:
        super().__init__()
        width = max(channels // 2, 1) if width is None else width
        _refuse_below_one(channels=channels, stride=stride, width=width, resolution=resolution)
        count = doublings(stride, resolution)
        if last not in ("convolution", "block"):
            raise ConfigError(f"last: {last!r} is not known; it is 'convolution' or 'block'.")
        if last == "block" and not count:
            raise ConfigError(
                f"last: at resolution {resolution} a grid of stride {stride} is not enlarged, so there is no last "
                "block; take 'convolution', or a finer resolution."
            )
        layers: list[nn.Module] = []
        if narrow and width < channels // 2:
            layers += unit(nn.Conv2d(channels, 2 * width, 1, bias=False))
            channels = 2 * width
        for index in range(count - 1):
            inner = max(width >> index, min(width, NARROWEST))
            layers += enlarging_block(channels, inner)
            channels = inner
        if last == "block":
            layers += enlarging_block(channels, MAPS)
        elif count:
            layers.append(EnlargedConvolution(channels, MAPS, bias=True))
        else:
            layers.append(nn.Conv2d(channels, MAPS, 3, padding=1))
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def forward(self, grid: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores (b, 2, *size) before the softmax, background first, from a grid (b, c, h, w).

        Args:
            grid: The encoder's.
            size: Height and width of the images; scores that come out otherwise are scaled bilinearly.
        """
        return _fit(self.layers(grid.contiguous(memory_format=torch.channels_last)), size)


@final
class UNetDecoder(nn.Module):
    """A U-Net on a network's grids, coarse to fine: blocks as in `Decoder` that also see the grid of their stride.

    Where the network has no grid of a block's stride, the block sees only what comes from the block before.

    Args:
        stages: All stages of the network; of those of one stride the last is read.
        widths: Channels after each block; of five widths a network of stride 16 needs the first four.
        resolution: Input pixels per cell of the maps before they are scaled to the image: 1 in the thesis. Finer grids
            are not read.

    Attributes:
        taps: Indices of the stages that are read, fine to coarse: what to ask a backbone to tap.

    Raises:
        ConfigError: There is no stage, a width or the resolution is below 1, or there are fewer widths than blocks.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        widths: tuple[int, ...] = (256, 128, 64, 32, 16),
        resolution: int = 1,
    ) -> None:
        super().__init__()
        if not stages:
            raise ConfigError("stages: there is none to decode; give those of a backbone.")
        _refuse_below_one(resolution=resolution, widths=min(widths, default=1))
        coarsest = max(stage.stride for stage in stages)
        count = doublings(coarsest, resolution)
        if count > len(widths):
            raise ConfigError(
                f"widths: {len(widths)} are too few; {count} blocks lead from stride {coarsest} to resolution "
                f"{resolution}. Give {count} widths, or a coarser resolution."
            )
        lasting = {stage.stride: index for index, stage in enumerate(stages)}
        read = [lasting.get(coarsest >> step) if not coarsest % (1 << step) else None for step in range(count + 1)]
        self.taps = tuple(index for index in reversed(read) if index is not None)
        channels = [stages[index].channels if index is not None else 0 for index in read]
        ends = (channels[0], *widths[:count])
        self.blocks = nn.ModuleList(map(_Joining, ends[:-1], channels[1:], ends[1:]))
        self.scores = nn.Conv2d(ends[-1], MAPS, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, grids: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Scores (b, 2, *size) before the softmax, background first.

        Args:
            grids: Those of the stages that `taps` names, fine to coarse, each (b, c, h, w).
            size: Height and width of the images; scores that come out otherwise are scaled bilinearly.

        Raises:
            ConfigError: There are more or fewer grids than stages that are read.
        """
        if len(grids) != len(self.taps):
            raise ConfigError(f"grids: {len(grids)} were given; this decoder reads {len(self.taps)}, see `taps`.")
        left = [each.contiguous(memory_format=torch.channels_last) for each in grids]
        grid = left.pop()
        for block in self.blocks:
            grid = block(grid, left.pop() if block.beside is not None else None)
        return _fit(self.scores(grid), size)


@final
class _Joining(nn.Module):
    """A block whose first convolution sees the enlarged grid and a finer one, if there is any, side by side."""

    def __init__(self, channels: int, finer: int, outputs: int) -> None:
        super().__init__()
        self.below = EnlargedConvolution(channels, outputs)
        # A convolution of two grids side by side is the sum of one of each.
        self.beside = _convolution(finer, outputs) if finer else None
        self.rest = nn.Sequential(*_ending(outputs), *unit(_convolution(outputs, outputs)))

    def forward(self, grid: Tensor, fine: Tensor | None) -> Tensor:
        grid = self.below(grid)
        if self.beside is not None and fine is not None:
            # Where the finer grid's sides are odd, they are not twice those of the coarser.
            same = grid.shape[2:] == fine.shape[2:]
            grid = self.beside(fine) + (grid if same else F.interpolate(grid, fine.shape[2:], mode="nearest"))
        joined: Tensor = self.rest(grid)
        return joined


def enlarging_block(channels: int, outputs: int) -> list[nn.Module]:
    """The layers of a block that doubles a grid's sides: two 3x3 convolutions, each normalised, with ReLU."""
    return [*unit(EnlargedConvolution(channels, outputs)), *unit(_convolution(outputs, outputs))]


def unit(convolution: nn.Conv2d) -> list[nn.Module]:
    """A convolution, batch normalisation and ReLU."""
    return [convolution, *_ending(convolution.out_channels)]


def _ending(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _convolution(channels: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(channels, outputs, 3, padding=1, bias=False)


def doublings(stride: int, resolution: int) -> int:
    """How often a grid of this stride is enlarged twofold until its cells are no larger than the resolution."""
    return (-(-stride // resolution) - 1).bit_length()


def _fit(scores: Tensor, size: tuple[int, int]) -> Tensor:
    if scores.shape[2:] == torch.Size(size):
        return scores
    return F.interpolate(scores, size, mode="bilinear", align_corners=False)


def _refuse_below_one(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise ConfigError(f"{name}: {value} is too small; give 1 or more.")
