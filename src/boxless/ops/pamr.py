"""Pixel-adaptive refinement: maps that follow the image's edges, from the likeness of near pixels alone.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SHARPNESS = 0.1  # of the standard deviation, by which differences of colour are divided
_EPSILON = 1e-8


@torch.no_grad()
def pamr(images: Tensor, maps: Tensor, *, steps: int = 10, dilations: Sequence[int] = (8, 16)) -> Tensor:
    """Replace each pixel of the maps by a weighted mean of its neighbours, again and again.

    A neighbour weighs the more the less its colour differs, in units of the colours' spread about the pixel: so a
    shift or a scaling of the image's channels changes next to nothing. Weights sum to 1, and no map leaves its range.

    Args:
        images: (b, c, h, w).
        maps: (b, n, h, w).
        steps: How often.
        dilations: Distances of the neighbours, in pixels: for each the eight about a pixel.
    """
    weights = _weights(images, dilations)  # (b, p, h, w)
    for _ in range(steps):
        total = torch.zeros_like(maps)
        for weight, neighbour in zip(weights.unbind(1), _neighbours(maps, dilations), strict=True):
            total.addcmul_(weight[:, None], neighbour)
        maps = total
    return maps


def _weights(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """How much each neighbour weighs, (b, 8 * dilations, h, w)."""
    count = 9 * len(dilations)  # the pixel itself is of each neighbourhood
    mean = (len(dilations) * images + sum(_neighbours(images, dilations))) / count
    squares = len(dilations) * (images - mean).square()
    for neighbour in _neighbours(images, dilations):
        squares += (neighbour - mean).square()
    spread = _EPSILON + _SHARPNESS * (squares / (count - 1)).sqrt()
    likeness = [-((images - neighbour).abs() / spread).mean(1) for neighbour in _neighbours(images, dilations)]
    return torch.stack(likeness, 1).softmax(1)


def _neighbours(values: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """For each distance and direction the neighbours (b, c, h, w) of all pixels; those outside are as at the border."""
    height, width = values.shape[2:]
    for distance in dilations:
        padded = F.pad(values, (distance,) * 4, mode="replicate")
        for row in (0, distance, 2 * distance):
            for column in (0, distance, 2 * distance):
                if (row, column) != (distance, distance):
                    yield padded[:, :, row : row + height, column : column + width]
