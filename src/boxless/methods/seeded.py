"""What methods share whose decoder learns from seeds: a few pixels above a map's Otsu threshold, and a few low ones.

F-CAM (Belharbi et al., WACV 2022) began it; TCAM and TrCAM-V are for frames of videos, and draw their seeds in another
way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.losses.partial import partial_cross_entropy
from boxless.losses.size import barrier_steepness, size_loss
from boxless.methods.base import Method, Stage
from boxless.methods.decoder import Decoder
from boxless.methods.foreground import crf_term, localization
from boxless.methods.head import GridClassifier
from boxless.methods.neck import Neck
from boxless.pseudo._regions import Region
from boxless.pseudo.pixels import choose_boxes, sample_seeds, within_boxes
from boxless.pseudo.records import Proposals
from boxless.types import Batch, Localization

CLASSIFICATION = Stage("classification", localizes=False)
LOCALIZATION = Stage("localization", images=True, pseudo="maps", sources=("cam",), classifies=False)
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
Pixels = Annotated[int, Ge(1)]
SIDE = 224  # of the images that the authors' erosion and dilation are for


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSampler:
    """Draws seeds as `boxless.pseudo.pixels.sample_seeds` does; squares are for 224 x 224 pixels and go with the size.

    Of pseudo-labels that are boxes, one is drawn for each image, and its map counts as 0 outside it.
    """

    count: int
    background_share: float
    dilation: int
    erosion: int = 1
    region: Region = "all"
    foreground_share: float = 1.0
    weighted: bool = False

    def __call__(self, pseudo: Proposals) -> Tensor:
        """Seeds (b, h, w) of each image, drawn from torch's own generator."""
        first = torch.zeros(len(pseudo.valid), dtype=torch.int64, device=pseudo.valid.device)
        alone = pseudo.valid.shape[1] == 1
        chosen = first if alone else choose_boxes(pseudo.boxes, pseudo.valid, pseudo.grid)
        scale = min(pseudo.grid) / SIDE
        return sample_seeds(
            pseudo.levels(chosen) * within_boxes(pseudo.boxes, chosen, pseudo.grid),
            count=self.count,
            background_share=self.background_share,
            erosion=odd(self.erosion * scale),
            dilation=odd(self.dilation * scale),
            region=self.region,
            foreground_share=self.foreground_share,
            weighted=self.weighted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedLosses:
    """The losses of a decoder: on the seeds, by the image's colours, and of the sizes; one of no weight is left out."""

    seed_weight: float
    crf_weight: float
    crf_scale: float
    size_weight: float
    barrier: float

    def __call__(
        self, maps: Tensor, labels: Tensor, images: Tensor, backbone: Backbone, progress: float
    ) -> dict[str, Tensor]:
        """Named, each with its weight.

        Args:
            maps: Scores (b, 2, h, w) before the softmax, background first.
            labels: Seeds (b, h, w).
            images: (b, 3, h, w), normalised for the backbone.
            backbone: What they are normalised for.
            progress: The part of training that is done.
        """
        losses = {"seeds": self.seed_weight * partial_cross_entropy(maps, labels)}
        if self.crf_weight:
            losses["crf"] = crf_term(maps, images, backbone, weight=self.crf_weight, scale=self.crf_scale)
        if self.size_weight:
            steepness = barrier_steepness(progress, growth=self.barrier, highest=self.barrier)
            losses["size"] = self.size_weight * size_loss(maps.softmax(1), steepness)
        return losses


class SeededCAM(Method):
    """A classifier on an averaged grid, and a decoder on the same backbone that learns from seeds of a map of it.

    Args:
        backbone: Where grids come from.
        num_classes: Classes.
        sampler: Of the seeds.
        decoding: The decoder's losses.
        stride: As `Neck` has it, and so are ``fuse`` and ``hidden``, which is the classifier's alone.
        fuse: See there.
        hidden: See there.
        dropout: Probability of dropping a pooled feature in training.
        width: As `Decoder` has it, and so are ``resolution`` and ``last``.
        resolution: See there.
        last: See there.
    """

    stages = (CLASSIFICATION, LOCALIZATION)
    class_specific = False

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        sampler: SeedSampler,
        decoding: SeedLosses,
        stride: int,
        fuse: bool,
        hidden: int,
        dropout: float,
        width: int | None,
        resolution: int,
        last: Literal["convolution", "block"],
    ) -> None:
        super().__init__(backbone, num_classes)
        self.sample, self.decoding = sampler, decoding
        self.pooled = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0, also=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.pooled.channels, num_classes)
        self.decoder = Decoder(
            channels=self.neck.channels, stride=self.neck.stride, width=width, resolution=resolution, last=last
        )

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """The decoder while the classifier learns, then all but the decoder."""
        return (
            (self.decoder,) if stage == CLASSIFICATION else (self.backbone, self.pooled, self.dropout, self.classifier)
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The classification in the first stage; in the second the seeds, the dense CRF, and the size."""
        grids = self.backbone(batch.images).grids
        if self.stage == CLASSIFICATION or batch.pseudo is None:
            return {"classification": classification(self._logits(grids), batch)}
        maps = self.decoder(self.neck(grids), batch.pseudo.grid)
        return self.decoding(maps, self.sample(batch.pseudo), batch.images, self.backbone, progress)

    def scores(self, images: Tensor) -> Tensor:
        return self._logits(self.backbone(images).grids)

    def as_classifier(self) -> nn.Module:
        return GridClassifier(
            lambda images: self.pooled(self.backbone(images).grids), (self.backbone, self.pooled), self.classifier
        )

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grids = self.backbone(images).grids
        grid = self.neck(grids)
        maps = self.decoder(grid, (images.shape[2], images.shape[3]))
        return localization(self._logits(grids), maps, classes)

    def _logits(self, grids: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.pooled(grids).mean((2, 3))))
        return logits


def odd(side: float) -> int:
    """The odd whole number nearest to a side."""
    return 2 * round((side - 1) / 2) + 1 if side > 1 else 1
