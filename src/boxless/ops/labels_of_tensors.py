"""Connected components of a batch of masks, each pixel with the number of its component, on the masks' own device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.ops._numba import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


def labels_of_tensors(masks: Tensor) -> Tensor:
    """The 8-connected components of masks (b, h, w) bool: (b, h, w) int64, 0 where a mask is False.

    A component's number is 1 plus the place of its first pixel, row by row. Masks have fewer than 2^24 pixels each.
    """
    if masks.device.type == "cpu":
        return torch.from_numpy(_flooded(masks.contiguous().numpy()))
    return joined(masks)


def joined(masks: Tensor) -> Tensor:
    """`labels_of_tensors` in operations that an accelerator is good at; a processor takes ten times as long for them.

    Pixels point to a pixel of their component, at first to themselves. In each round the pixel that one points to, and
    it itself, take the first pixel that its neighbours point to: so whole parts of a component change at once, and few
    rounds are needed, whatever its shape (Zhang, Azad and Hu, "FastSV: A Distributed-Memory Connected Component
    Algorithm with Fast Convergence", 2020).
    """
    height, width = masks.shape[1:]
    total = height * width
    # Counted down, so that the first pixel has the highest number and pooling finds it; 0 is outside.
    numbers = torch.arange(total, 0, -1, device=masks.device).view(height, width) * masks
    while True:
        flat = numbers.flatten(1)
        near = F.max_pool2d(numbers[:, None].float(), 3, 1, 1)[:, 0].long() * masks
        pointed = F.pad(flat, (0, 1)).scatter_reduce(1, total - flat, near.flatten(1), "amax")
        found = torch.maximum(near, pointed.gather(1, total - flat).view_as(near)) * masks
        if torch.equal(found, numbers):
            return (total + 1 - numbers) * masks
        numbers = found


@compiled
def _flooded(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each component filled from its first pixel on."""
    count, height, width = masks.shape
    labels = np.zeros(masks.shape, dtype=np.int64)
    waiting = np.empty(height * width, dtype=np.int64)
    for image in range(count):
        for first in range(height * width):
            if not masks[image, first // width, first % width] or labels[image, first // width, first % width]:
                continue
            labels[image, first // width, first % width] = first + 1
            waiting[0], left = first, 1
            while left:
                left -= 1
                row, column = waiting[left] // width, waiting[left] % width
                for down in range(max(row - 1, 0), min(row + 2, height)):
                    for across in range(max(column - 1, 0), min(column + 2, width)):
                        if masks[image, down, across] and not labels[image, down, across]:
                            labels[image, down, across] = first + 1
                            waiting[left] = down * width + across
                            left += 1
    return labels
