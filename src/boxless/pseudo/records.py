"""The record of proposals: boxes of a batch of images, what they are of, and how they lie in another view of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proposals:
    """The best boxes of each image of a batch, best first; places that are not filled hold zeros and are not valid."""

    boxes: Tensor  # (b, k, 4) float32, half-open xyxy, in pixels of the grid: whole numbers until they are `shown`
    scores: Tensor  # (b, k) float32 in [0, 1]
    maps: Tensor  # (b, k) int64, the map that each box is of
    valid: Tensor  # (b, k) bool; none of an image whose maps are all flat
    kept_largest: Tensor  # (b,) bool: no box was large enough, and the largest was kept
    activations: (
        Tensor  # (b, k, h', w') float16 in [0, 1], the map that each box is of, as coarse as its source gave it
    )
    grid: tuple[int, int]  # (height, width) of what the boxes lie on
    views: Tensor | None = None  # (b, 5) how the images are shown, see `shown`; None: as they are

    def select(self, index: Tensor) -> Proposals:
        """The proposals of some images, (n,) places in this batch."""
        return self._each(lambda tensor: tensor[index.to(tensor.device)])

    def to(self, device: torch.device | str) -> Proposals:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def shown(self, views: Tensor) -> Proposals:
        """The proposals of images that are shown cropped or mirrored; boxes may reach over their borders.

        Args:
            views: (b, 5) the part of each image that is shown, x0, y0, x1, y1 as fractions of its width and height, and
                1 where that is then mirrored, left and right, else 0.
        """
        views = views.to(self.boxes)
        height, width = self.grid
        size = torch.tensor([width, height, width, height]).to(views)
        start, part = views[:, None, :2].repeat(1, 1, 2), (views[:, 2:4] - views[:, :2])[:, None].repeat(1, 1, 2)
        boxes = (self.boxes - start * size) / part
        mirrored = torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], 2)
        boxes = torch.where(views[:, 4, None, None] > 0, mirrored, boxes)
        return replace(self, boxes=torch.where(self.valid[..., None], boxes, 0), views=views)

    def on(self, grid: tuple[int, int]) -> Proposals:
        """The same, with boxes in pixels of another grid, (height, width), that covers the same images."""
        height, width = (new / old for new, old in zip(grid, self.grid, strict=True))
        factors = torch.tensor([width, height, width, height]).to(self.boxes)
        return replace(self, boxes=self.boxes * factors, grid=grid)

    def levels(self, chosen: Tensor) -> Tensor:
        """The activations (b, h, w) float32 of one box of each image, on the grid and as the images are shown.

        Args:
            chosen: (b,) int64, the number of the box.
        """
        coarse = self.activations[torch.arange(len(chosen), device=chosen.device), chosen][:, None].float()
        if self.views is None:
            return F.interpolate(coarse, self.grid, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)
        x0, y0, x1, y1, mirrored = (each[:, None] for each in self.views.unbind(1))
        across, down = (
            ((torch.arange(length, device=coarse.device) + 0.5) / length).expand(len(coarse), -1)
            for length in reversed(self.grid)
        )
        across = x0 + torch.where(mirrored > 0, 1 - across, across) * (x1 - x0)
        down = y0 + down * (y1 - y0)
        shape = (len(coarse), *self.grid)
        places = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], 3) * 2 - 1
        return F.grid_sample(coarse, places, padding_mode="border", align_corners=False)[:, 0].clamp(0, 1)

    def fused(self, owners: Tensor, count: int) -> Proposals:
        """The maps of ``count`` images, each the elementwise maximum of all of its own, as `of_maps` made them.

        Args:
            owners: (b,) int64, of each map here the place of its image, below ``count``.
            count: Images.
        """

        def highest(values: Tensor) -> Tensor:
            shape = (count, *values.shape[1:])
            into = torch.zeros(shape, dtype=torch.float32, device=values.device)
            index = owners.to(values.device).view(-1, *[1] * (values.ndim - 1)).expand_as(values)
            return into.scatter_reduce(0, index, values.float(), "amax").to(values.dtype)

        return self._each(highest)

    def remarks(self) -> tuple[str, ...]:
        """What the user should hear of these images; nothing if each has a box that is large enough."""
        total, small = len(self.valid), int(self.kept_largest.sum())
        empty = total - int(self.valid.any(1).sum())
        said = []
        if small:
            said.append(f"{small:,} of {total:,} images have no region of the minimum size; each keeps its largest.")
        if empty:
            said.append(f"{empty:,} of {total:,} images have no proposal: their maps are flat, or they cannot be read.")
        return tuple(said)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Proposals:
        changed: dict[str, Any] = {
            each.name: change(value) for each in fields(self) if isinstance(value := getattr(self, each.name), Tensor)
        }
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The boxes of one image before they are scored: by map, in each the largest region first; no box twice."""

    boxes: Floats  # (n, 4) half-open xyxy, in pixels of the map
    maps: Integers  # (n,) the first map that shows the box
    kept_largest: bool  # whether no box was larger than the minimum


def of_maps(maps: Tensor, size: tuple[int, int]) -> Proposals:
    """One map of each image (b, 1, h, w) in [0, 1] as its pseudo-label: the box is all of ``size``, (height, width).

    A flat map shows nothing, and is not valid.
    """
    count, (height, width) = len(maps), size
    valid = maps.flatten(1).amax(1) > maps.flatten(1).amin(1)
    boxes = torch.tensor([0.0, 0, width, height], device=maps.device).expand(count, 1, 4)
    return Proposals(
        boxes=torch.where(valid[:, None, None], boxes, 0),
        scores=valid[:, None].float(),
        maps=torch.zeros(count, 1, dtype=torch.int64, device=maps.device),
        valid=valid[:, None],
        kept_largest=torch.zeros_like(valid),
        activations=maps.half() * valid[:, None, None, None],
        grid=size,
    )


def collect(
    best: Sequence[tuple[Candidates, Floats]], activations: Sequence[Tensor], top_k: int, grid: tuple[int, int]
) -> Proposals:
    """The record of a batch: of each image its boxes with their scores, best first, and the maps (n, h', w') of each.

    An image has at most ``top_k``. One without any may have maps of another size than the others, which is not read.
    """
    shape = (len(best), top_k)
    boxes, scores = np.zeros((*shape, 4), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    maps, valid = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    side = next((each.shape[1:] for each in activations if len(each)), activations[0].shape[1:])
    levels = torch.zeros(*shape, *side, dtype=torch.float16)
    for row, ((pool, score), own) in enumerate(zip(best, activations, strict=True)):
        filled = slice(len(score))
        levels[row, filled] = own if len(own) else levels[row, filled]
        boxes[row, filled], scores[row, filled] = pool.boxes, score
        maps[row, filled], valid[row, filled] = pool.maps, True
    return Proposals(
        boxes=torch.from_numpy(boxes),
        scores=torch.from_numpy(scores),
        maps=torch.from_numpy(maps),
        valid=torch.from_numpy(valid),
        kept_largest=torch.tensor([pool.kept_largest for pool, _ in best], dtype=torch.bool),
        activations=levels,
        grid=grid,
    )
