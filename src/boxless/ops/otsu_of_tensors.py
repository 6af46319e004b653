"""Otsu's threshold in torch operations alone, so that it can be part of an exported graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boxless.ops.otsu import BINS

_HIGHEST = math.nextafter(1, 0)


def otsu_of_tensors(maps: Tensor) -> Tensor:
    """Otsu's threshold of each map (..., h, w): (...) float64, digit for digit that of `boxless.ops.otsu`.

    Nothing is refused: values that are not finite count as 0.
    """
    values = maps.flatten(-2).double()
    values = torch.where(values.isfinite(), values, 0.0)
    lowest, highest = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    span = highest - lowest
    bins = ((values - lowest) / torch.where(span > 0, span, 1.0) * BINS).long().clamp(0, BINS - 1)
    counts = torch.zeros_like(values[..., :1]).expand(*values.shape[:-1], BINS)
    counts = counts.scatter_add(-1, bins, torch.ones_like(values))  # whole numbers, as are all sums of them
    numbers = torch.arange(BINS, dtype=torch.float64, device=maps.device)
    weight, moment = counts.cumsum(-1), (counts * numbers).cumsum(-1)
    total, moment_total = weight[..., -1:], moment[..., -1:]
    weight, moment = weight[..., :-1], moment[..., :-1]
    difference = moment * total - moment_total * weight
    between = difference * difference / (weight * (total - weight))
    cut = lowest + (between.argmax(-1, keepdim=True).double() + 0.5) * span / BINS
    threshold = (cut / torch.where(span > 0, highest, 1.0)).clamp(max=_HIGHEST)
    return torch.where(span > 0, threshold, 0.0)[..., 0]
