"""F-CAM: a decoder to full resolution learns from a few seeds of a CAM, drawn anew in each step.

Belharbi, Sarraf, Pedersoli, Ben Ayed, McCaffrey and Granger, "F-CAM: Full Resolution Class Activation Maps via Guided
Parametric Upscaling", WACV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.losses.partial import partial_cross_entropy
from boxless.losses.size import barrier_steepness, size_loss
from boxless.methods.base import Method, Paper, Space, Stage
from boxless.methods.decoder import Decoder
from boxless.methods.foreground import crf_term, localization
from boxless.methods.head import GridClassifier
from boxless.methods.neck import Neck
from boxless.pseudo.pixels import sample_seeds
from boxless.pseudo.records import Proposals
from boxless.types import Batch, Localization

CLASSIFICATION = Stage("classification", localizes=False)
LOCALIZATION = Stage("localization", images=True, pseudo="maps", sources=("cam",), classifies=False)
Weight = Annotated[float, Ge(0)]
Pixels = Annotated[int, Ge(1)]
SIDE = 224  # of the images that the authors' erosion and dilation are for


@final
class FCAM(Method):
    """A classifier on an averaged grid, and a decoder on the same backbone that is taught by the classifier's map.

    First the classifier learns. Then a map of each training image is taken, of its own class: by default CAM, or any
    that a recipe names as ``pseudo.source``. The decoder learns from pixels that are drawn from the map in each step
    (see `boxless.pseudo.pixels.sample_seeds`), from the dense CRF loss, and from a loss that keeps foreground and
    background from vanishing, while all else stays as it is. The result is the foreground's probability, the same for
    each class that is asked for.

    The paper's decoder is a U-Net on all stages of the encoder; here it is that of DiPS, on one grid over which coarser
    ones are laid. Sides of squares are for images of 224 x 224 and go with the size of those that are trained on.

    Args:
        seed_weight: Weight of the partial cross-entropy on the seeds.
        crf_weight: Weight of the dense CRF loss, as the papers count it for 224 x 224 pixels; it means the same at any
            size. The paper has 2e-9; on the sample four times that is better by far.
        crf_scale: Maps and images are resized by this for the dense CRF loss: half the sides, a quarter of the time.
        size_weight: Weight of the size loss; the paper's is 0.1 on CUB, which lets the object grow too large here.
        barrier: How steep the barrier of the size loss is at the end of training, where it began at 1. The authors
            multiply it by 1.01 in each epoch: 1.64 after their 50 on CUB.
        count: Seeds of each kind; the paper has one.
        background_share: Part of the pixels, the lowest of the map, that background is drawn from; 0.1 in the paper.
        erosion: Side of the square by which the region above Otsu's threshold shrinks before foreground is drawn from
            it.
        dilation: Side of the square that each seed grows to.
        stride: Input pixels per cell of the grid that both read: the last stage with this stride or a finer one.
        fuse: Lay coarser stages over that grid.
        hidden: Channels of a 3x3 convolution before the classifier's pooling.
        dropout: Probability of dropping a pooled feature in training.
        width: Channels of the decoder's first block, halved from block to block; null takes half of the grid's, in
            several times the time.
        resolution: Input pixels per cell of the decoder's maps before they are enlarged: 1 in the paper.
        last: How the decoder ends: by a ``convolution``, or by a ``block`` with ReLU.
    """

    paper = Paper(
        "Belharbi et al.",
        "F-CAM: Full Resolution Class Activation Maps via Guided Parametric Upscaling",
        "WACV",
        2022,
        "https://arxiv.org/abs/2109.07069",
    )
    stages = (CLASSIFICATION, LOCALIZATION)
    class_specific = False
    # Not in the thesis' table 4.4; about the authors' own values.
    search_space: ClassVar[Mapping[str, Space]] = {
        "size_weight": Space(0.0, 0.2),
        "background_share": Space(0.05, 0.7),
        "count": Space(1, 100, log=True),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        seed_weight: Weight = 1.0,
        crf_weight: Weight = 8e-9,
        crf_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        size_weight: Weight = 0.01,
        barrier: Annotated[float, Ge(1)] = 1.64,
        count: Pixels = 10,
        background_share: Annotated[float, Gt(0), Le(1)] = 0.75,
        erosion: Pixels = 11,
        dilation: Pixels = 3,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        width: Annotated[int, Ge(1)] | None = 64,
        resolution: Annotated[int, Ge(1)] = 4,
        last: Literal["convolution", "block"] = "convolution",
    ) -> None:
        super().__init__(backbone, num_classes)
        self.seed_weight, self.crf_weight, self.crf_scale = seed_weight, crf_weight, crf_scale
        self.size_weight, self.barrier = size_weight, barrier
        self.count, self.background_share, self.erosion, self.dilation = count, background_share, erosion, dilation
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
        losses = {"seeds": self.seed_weight * partial_cross_entropy(maps, self.sample(batch.pseudo))}
        if self.crf_weight:
            losses["crf"] = crf_term(maps, batch.images, self.backbone, weight=self.crf_weight, scale=self.crf_scale)
        if self.size_weight:
            steepness = barrier_steepness(progress, growth=self.barrier, highest=self.barrier)
            losses["size"] = self.size_weight * size_loss(maps.softmax(1), steepness)
        return losses

    def sample(self, pseudo: Proposals) -> Tensor:
        """Seeds (b, h, w) of the map of each image, drawn from torch's own generator."""
        levels = pseudo.levels(torch.zeros(len(pseudo.valid), dtype=torch.int64, device=pseudo.valid.device))
        scale = min(pseudo.grid) / SIDE
        return sample_seeds(
            levels,
            count=self.count,
            background_share=self.background_share,
            erosion=odd(self.erosion * scale),
            dilation=odd(self.dilation * scale),
        )

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
