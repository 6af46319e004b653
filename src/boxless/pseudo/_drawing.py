"""Random choices in each row of a batch at once, from a generator on any device or the device's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TIES = 2**31  # random numbers that part equal values: so many that two of them hardly ever meet


def by_value(levels: Tensor, generator: torch.Generator | None) -> Tensor:
    """The places (b, n) of float32 levels (b, n), not negative, from the lowest up; equal ones in random order."""
    # Bits of positive floats, read as whole numbers, have the order of the floats; adding 0 takes the sign from -0.
    bits = (levels.contiguous() + 0.0).view(torch.int32).long()
    place = levels.device if generator is None else generator.device
    ties = torch.randint(TIES, levels.shape, generator=generator, device=place).to(levels.device)
    keys = bits * TIES + ties
    # numpy sorts whole numbers several times as fast as torch does on a processor.
    return keys.argsort(1) if keys.device.type != "cpu" else torch.from_numpy(np.argsort(keys.numpy(), axis=1))


def first_share(among: Tensor, share: float) -> Tensor:
    """Of the True places of each row (b, n) the first ``share``: rounded down, but at least one if there are any."""
    most = (among.sum(1, keepdim=True).double() * share + 1e-9).floor().clamp(min=1)  # 0.29 * 100 is below 29
    return among & (among.cumsum(1) <= most)


def draw(weights: Tensor, counts: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    """So many places of each row, drawn one after the other in proportion to the weights of those that are left.

    An exponential number divided by a weight is the time at which its place comes in: the first ones are such a draw
    (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 2006).

    Args:
        weights: (b, n); places of weight 0 are never drawn.
        counts: (b,) how many to draw, at most as many as have a weight.
        most: A bound on all counts.
        generator: Where random numbers come from.

    Returns:
        (b, n) bool, True where drawn.
    """
    place = weights.device if generator is None else generator.device
    times = torch.empty(weights.shape, device=place).exponential_(generator=generator).to(weights.device)
    # In float64 no small weight makes a time infinite, which is kept for those never drawn; Apple's devices lack it.
    if times.device.type == "mps":
        late = torch.where(weights > 0, times.log() - weights.log(), torch.inf)
    else:
        late = torch.where(weights > 0, times.double() / weights, torch.inf)
    first = late.topk(min(most, weights.shape[1]), dim=1, largest=False).indices
    valid = torch.arange(first.shape[1], device=first.device) < counts[:, None]
    return torch.zeros_like(weights, dtype=torch.bool).scatter(1, first, valid)


def choose(among: Tensor, generator: torch.Generator | None) -> Tensor:
    """One True place of each row (b, n), all equally likely: (b,); 0 for a row that has none."""
    place = among.device if generator is None else generator.device
    random = torch.rand(among.shape, generator=generator, device=place).to(among.device)
    return torch.where(among, random, -1).argmax(1)
