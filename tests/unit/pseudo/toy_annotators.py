"""Annotators that are known by hand, named as ``toy_annotators:Name``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from boxless.pseudo.annotators import Annotator, Material
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals
from boxless.pseudo.selection import Selection
from boxless.types import Item


class Fixed(Annotator):
    """The boxes 8, 16, 40, 64 and, with half the score, the upper left quarter, in images of 64 x 64 pixels.

    Args:
        stop_at: Batches after which it is interrupted.
        empty: Whether it finds nothing.
    """

    seen: ClassVar[list[tuple[int, ...]]] = []  # the classes of each batch

    def __init__(self, *, stop_at: int = 1000, empty: bool = False) -> None:
        self.settings, self.stop_at, self.empty = ProposalSettings(top_k=2), stop_at, empty

    def made_from(self, material: Material) -> Mapping[str, Any]:
        return {"kind": "fixed", "empty": self.empty}

    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
        if len(self.seen) >= self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(tuple(labels.tolist()))
        count = len(images)
        assert images.shape == (count, 3, 64, 64)
        valid = torch.full((count, 2), not self.empty)
        boxes = torch.tensor([[8.0, 16, 40, 64], [0, 0, 32, 32]]).expand(count, 2, 4) * valid[..., None]
        return Proposals(
            boxes=boxes,
            scores=torch.tensor([0.5, 0.25]).expand(count, 2) * valid,
            maps=torch.zeros(count, 2, dtype=torch.int64),
            valid=valid,
            kept_largest=torch.zeros(count, dtype=torch.bool),
            activations=torch.zeros(count, 2, 4, 4, dtype=torch.float16),
            grid=(64, 64),
        )


class Staged(Fixed):
    """Chooses the first box of `Fixed` among three; the third is the image's lower right quarter, and the best."""

    def selections(
        self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()
    ) -> list[Selection]:
        assert [item.labels[0] for item in items] == labels.tolist()
        boxes = np.array([[8.0, 16, 40, 64], [0, 0, 32, 32], [32, 32, 64, 64]])
        mask = np.array([True, True, False])
        return [Selection(boxes, None, np.array([0.5, 0.9, 0.1]), mask, ~mask, 0) for _ in images]


class Blind(Fixed):
    """Finds nothing on images of the first class, and on the others what `Fixed` finds."""

    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
        found = super().__call__(images, labels, material, items)
        seen = (labels > 0).cpu()
        return replace(
            found,
            boxes=found.boxes * seen[:, None, None],
            scores=found.scores * seen[:, None],
            valid=found.valid & seen[:, None],
        )
