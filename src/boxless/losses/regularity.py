"""Terms that hold a map of the object small and smooth, whatever it shows."""

from __future__ import annotations

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError


def area(maps: Tensor, target: float = 0.0) -> Tensor:
    """How far the part of the image that a map takes is from ``target``: the mean over maps of ``|mean - target|``.

    With target 0 it is the mean of the map, the area term of BAS (Wu et al., CVPR 2022), which holds a
    map small; with a target it is that of SAT (Wu et al., ICCV 2023), which holds it at a size. As a part of the image
    it does not depend on the resolution.

    Args:
        maps: (b, h, w) or (b, n, h, w), in [0, 1]. Half precision becomes float32 first.
        target: The part of the image to be taken, in [0, 1].

    Raises:
        DataError: Another shape, or no pixel.
        ConfigError: A target outside [0, 1].
    """
    if not 0 <= target <= 1:
        raise ConfigError(f"target: got {target}; it is a part of the image, in [0, 1].")
    return (_checked(maps).mean((-2, -1)) - target).abs().mean()


def total_variation(maps: Tensor) -> Tensor:
    """Anisotropic total variation: the sum of ``|difference|`` of vertical and horizontal neighbours over the pixels.

    Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992, with the sum
    of both directions in place of the gradient's length, as for the masks of Fong and Vedaldi (ICCV 2017) with their
    exponent at 1. For a mask of zeros and ones it is the length of the outline within the image, in pixels' sides,
    divided by the pixels: the same shape has half of it at twice the resolution. A map of one pixel has 0.

    Args:
        maps: (b, h, w) or (b, n, h, w); the mean over maps is taken. Half precision becomes float32 first.

    Raises:
        DataError: Another shape, or no pixel.
    """
    values = _checked(maps)
    height, width = values.shape[-2:]
    steps = values.diff(dim=-2).abs().sum((-2, -1)) + values.diff(dim=-1).abs().sum((-2, -1))
    return steps.mean() / (height * width)


def _checked(maps: Tensor) -> Tensor:
    if maps.ndim not in (3, 4) or not maps.numel() or not maps.is_floating_point():
        raise DataError(
            f"maps: got {maps.dtype} of shape {tuple(maps.shape)}; give floats, (b, h, w) or (b, n, h, w), not empty."
        )
    return maps if maps.dtype == torch.float64 else maps.float()
