"""Annotators that choose one box among many proposals of an image; what proposes is told apart from what chooses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor

from boxless.pseudo.annotators import Annotator, Material, class_maps, map_of_class
from boxless.pseudo.labels import made_from
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Candidates, Proposals, collect
from boxless.pseudo.selection import Pool, Score, Selection, select
from boxless.types import Item

Share = Annotated[float, Gt(0), Le(1)]


class Choosing(Annotator):
    """An annotator whose one box is chosen as the thesis chooses: see `boxless.pseudo.selection`.

    A subclass proposes, and declares its settings, among them the two of this constructor.

    Args:
        share: The best part of the proposals, of which one is chosen.
        score: By which the classifier chooses: ``posterior`` as in the thesis, or ``product`` with how near the box's
            size is to the mean of the image's boxes.
        min_size: The part of the image that a proposal must be larger than, where there are such.
    """

    def __init__(self, *, share: float, score: Score, min_size: float = 0.0) -> None:
        self.share, self.score = share, score
        self.settings = ProposalSettings(top_k=1, min_size=min_size, score=score)

    @abstractmethod
    def pools(self, images: Tensor, material: Material, items: Sequence[Item]) -> list[Pool]:
        """The proposals of each image (b, 3, h, w), in its pixels; they do not depend on the batch mates."""

    @abstractmethod
    def proposed_from(self) -> Mapping[str, Any]:
        """What the proposals depend on besides the image, as JSON has it; ``by`` says what proposes."""

    def made_from(self, material: Material) -> Mapping[str, Any]:
        """See :class:`Annotator`."""
        own = {**self.proposed_from(), "share": self.share}
        return made_from("chosen", map_of_class(material.teacher), own, material.teacher)

    def selections(
        self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()
    ) -> list[Selection]:
        """See :class:`Annotator`."""
        return self._selected(images, labels, material, items)[0]

    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
        """See :class:`Annotator`."""
        found, maps = self._selected(images, labels, material, items)
        best = []
        for each in found:
            places = np.arange(len(each.boxes)) == each.chosen
            pool = Candidates(each.boxes[places], np.zeros(int(places.sum()), dtype=np.int64), kept_largest=False)
            best.append((pool, each.scores[places]))
        coarse = maps.half().cpu()
        grid = (images.shape[2], images.shape[3])
        return collect(best, [coarse[i, : len(score)] for i, (_, score) in enumerate(best)], 1, grid).to(images.device)

    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor:
        """The classifier's map of the class, whose peak has its say; see :class:`Annotator`."""
        return class_maps(images, labels, material)[0]

    def _selected(
        self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item]
    ) -> tuple[list[Selection], Tensor]:
        maps = class_maps(images, labels, material)[0]
        with torch.no_grad():
            pools = self.pools(images, material, items)
        chosen = select(
            pools,
            maps[:, 0],
            images,
            labels,
            material.teacher,
            num_classes=material.num_classes,
            share=self.share,
            score=self.score,
        )
        return chosen, maps
