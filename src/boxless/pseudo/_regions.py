"""Sets of pixels as masks of a batch: what boxes cover, what Otsu's threshold leaves, grown and shrunk."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from boxless.ops.labels_of_tensors import labels_of_tensors

LEVELS = 256
LEAST = 0.05  # the part of a map below which no component is the densest
Region = Literal["all", "densest", "largest"]  # above Otsu's threshold: see `chosen_regions`


def covered(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Which of ``length`` pixels in a row lie between two ends, each (b, k): (b, k, length) bool.

    A pixel counts if its centre does; where ends hold no centre, the pixel in their middle counts. Ends beyond the row
    are cut off; what then has no length covers nothing.
    """
    low, high = low.clamp(0, length), high.clamp(0, length)
    first, last = (low - 0.5).ceil(), (high - 0.5).ceil()
    thin = first >= last
    first = torch.where(thin, ((low + high) / 2).floor().clamp(max=length - 1), first)
    last = torch.where(thin, first + 1, last)
    last = torch.where(high > low, last, first)
    places = torch.arange(length, device=low.device)
    return (places >= first[..., None]) & (places < last[..., None])


def dilated(masks: Tensor, side: int) -> Tensor:
    """Masks (b, h, w) grown by squares of an odd side."""
    for dim in (1, 2):  # down, then across
        grown, length = masks.clone(), masks.shape[dim]
        for step in range(1, min(side // 2, length - 1) + 1):
            kept = length - step
            grown.narrow(dim, step, kept).logical_or_(masks.narrow(dim, 0, kept))
            grown.narrow(dim, 0, kept).logical_or_(masks.narrow(dim, step, kept))
        masks = grown
    return masks


def eroded(masks: Tensor, side: int) -> Tensor:
    """Masks (b, h, w) shrunk by squares of an odd side; what lies outside the image takes nothing away."""
    return ~dilated(~masks, side)


def otsu_regions(levels: Tensor) -> Tensor:
    """Pixels of maps (b, h, w) in [0, 1] above Otsu's threshold among 256 whole levels; nothing of a flat map.

    The level of a value is ``floor(255 * value)``, and the threshold is kept within [1, 254]: as in F-CAM's code, so
    that level 0 and 1 are never object, and 255 always is.
    """
    whole = (levels * (LEVELS - 1)).long().flatten(1)
    counts = torch.zeros(len(whole), LEVELS, dtype=torch.float64, device=whole.device)
    counts.scatter_add_(1, whole, torch.ones_like(whole, dtype=torch.float64))
    weight = counts.cumsum(1)
    moment = (counts * torch.arange(LEVELS, device=whole.device)).cumsum(1)
    parted = weight * (whole.shape[1] - weight)  # 0 where one of both groups is empty
    between = (moment * whole.shape[1] - moment[:, -1:] * weight) ** 2 / parted.clamp(min=1)
    threshold = torch.where(parted > 0, between, -1.0).argmax(1, keepdim=True).clamp(1, LEVELS - 2)
    many = whole.amax(1, keepdim=True) > whole.amin(1, keepdim=True)
    return ((whole > threshold) & many).view(levels.shape)


def chosen_regions(levels: Tensor, regions: Tensor, which: Region) -> Tensor:
    """One 8-connected component of the region (b, h, w) of each map, or all of it; nothing where that is nothing.

    The ``densest`` has the highest mean level of those that are at least `LEAST` of the map, or is the largest if none
    is; of several equal ones the first is taken, by its first pixel, row by row.
    """
    if which == "all":
        return regions
    labels = labels_of_tensors(regions).flatten(1)
    empty = torch.zeros(len(labels), labels.shape[1] + 1, device=labels.device)
    areas = empty.scatter_add(1, labels, (labels > 0).float())
    best = areas.argmax(1, keepdim=True)
    if which == "densest":
        sums = empty.scatter_add(1, labels, torch.where(labels > 0, levels.flatten(1), 0))
        means = torch.where(areas >= LEAST * labels.shape[1], sums / areas.clamp(min=1), 0)
        best = torch.where(means.amax(1, keepdim=True) > 0, means.argmax(1, keepdim=True), best)
    return ((labels == best) & (labels > 0)).view(regions.shape)
