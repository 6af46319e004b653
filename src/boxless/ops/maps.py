"""What every method does to its maps at the end: bring them into [0, 1], and to another size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def normalize(maps: Tensor) -> Tensor:
    """Shift and scale each map (the last two dimensions) so that its lowest value is 0 and its highest 1.

    A constant map says nothing of any place and becomes all zeros. Half precision becomes float32 first, which
    thresholds need. Values that are not finite are passed on as nan.
    """
    maps = maps if maps.dtype == torch.float64 else maps.float()
    lowest, highest = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = highest - lowest
    return (maps - lowest) / torch.where(span == 0, torch.ones_like(span), span)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (b, n, h, w) bilinearly to ``size`` (height, width), corners not aligned.

    No value leaves the range of the map that it comes from, so that maps in [0, 1] stay there to the last digit.
    """
    resized = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    # The four weights sum to one only up to rounding.
    return resized.clamp(maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True))
