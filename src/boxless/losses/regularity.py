"""Terms that hold a map of the object small, smooth or sure, whatever it shows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.errors import ConfigError, DataError

# SAT's kernel is the outer product of these: square roots of the masses that the normal distribution has in three equal
# parts of [-49/6, 49/6], made to sum to one.
_SMOOTHING = (0.0512685, 0.8974630, 0.0512685)


def area(maps: Tensor, target: float = 0.0) -> Tensor:
    """How far the part of the image that a map takes is from ``target``: the mean over maps of ``|mean - target|``.

    With target 0 it is the mean of the map, the area term of BAS (Wu et al., CVPR 2022), which holds a
    map small; with a target it holds each map at a size. As a part of the image it does not depend on the resolution.

    Args:
        maps: (b, h, w) or (b, n, h, w), in [0, 1]. Half precision becomes float32 first.
        target: The part of the image to be taken, in [0, 1].

    Raises:
        DataError: Another shape, or no pixel.
        ConfigError: A target outside [0, 1].
    """
    _check_target(target)
    return (_checked(maps).mean((-2, -1)) - target).abs().mean()


def batch_area(maps: Tensor, target: float) -> Tensor:
    """How far the part of the images that all maps together take is from ``target``: ``|mean - target|``.

    The batch area loss of SAT (Wu et al., ICCV 2023). Objects are small in one image and large in the next; only over a
    batch is their size about the same, so that one map may take what another leaves. It needs batches that show many
    objects: over several devices each holds its own part of the batch at the target.

    Args:
        maps: (b, h, w) or (b, n, h, w), in [0, 1]. Half precision becomes float32 first.
        target: The part of the images to be taken, in [0, 1].

    Raises:
        DataError: Another shape, or no pixel.
        ConfigError: A target outside [0, 1].
    """
    _check_target(target)
    return (_checked(maps).mean() - target).abs()


def indecision(maps: Tensor) -> Tensor:
    """How far maps are from 0 and 1: the mean over their pixels of ``s * (1 - s)``, s a map slightly smoothed.

    The normalization loss of SAT (Wu et al., ICCV 2023), as the authors compute it: a pixel keeps 0.81 of its own value
    and gets 0.046 of each of its four neighbours', 0.003 of each diagonal one's. Beyond the border all is 0, so that
    there even a map of ones has some. It is 0.25 at most.

    Args:
        maps: (b, h, w) or (b, n, h, w), in [0, 1]. Half precision becomes float32 first.

    Raises:
        DataError: Another shape, or no pixel.
    """
    values = _checked(maps)
    taps = torch.tensor(_SMOOTHING, dtype=values.dtype, device=values.device)
    smooth = F.conv2d(values.reshape(-1, 1, *values.shape[-2:]), (taps[:, None] * taps)[None, None], padding=1)
    return (smooth * (1 - smooth)).mean()


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


def _check_target(target: float) -> None:
    if not 0 <= target <= 1:
        raise ConfigError(f"target: got {target}; it is a part of the image, in [0, 1].")


def _checked(maps: Tensor) -> Tensor:
    if maps.ndim not in (3, 4) or not maps.numel() or not maps.is_floating_point():
        raise DataError(
            f"maps: got {maps.dtype} of shape {tuple(maps.shape)}; give floats, (b, h, w) or (b, n, h, w), not empty."
        )
    return maps if maps.dtype == torch.float64 else maps.float()
