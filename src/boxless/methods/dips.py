"""DiPS: a decoder on a frozen encoder learns from pixels drawn in boxes in which a classifier sees the image's class.

Murtaza, Belharbi, Pedersoli, Sarraf and Granger, "DiPS: Discriminative Pseudo-Label Sampling with Self-Supervised
Transformers for Weakly Supervised Object Localization", Image and Vision Computing 140, 2023; chapter 2 of the first
author's thesis, whose sections and equations are meant here.
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
from boxless.methods.base import Method, Paper, Space, Stage
from boxless.methods.decoder import Decoder
from boxless.methods.foreground import crf_term, localization
from boxless.methods.head import ClassHead
from boxless.methods.neck import Neck
from boxless.methods.sampling import PixelSampler
from boxless.pseudo.records import Proposals
from boxless.types import Batch, Localization

CLASSIFICATION = Stage("classification", localizes=False)
LOCALIZATION = Stage("localization", images=True, pseudo="boxes", sources=("attention", "spectral"), classifies=False)
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
Pixels = Annotated[int, Ge(1)]


@final
class DiPS(Method):
    """An encoder, a classification head, and a decoder to a background and a foreground map in full resolution.

    First the head learns (equation 2.2), on the class tokens of the last blocks of a transformer, or on an averaged
    grid. Then boxes are proposed for each training image (algorithm 2.1, see `boxless.pseudo.proposals`), and the
    decoder learns from pixels that are drawn anew in each step, about one of the image's boxes, and from the dense CRF
    loss (equation 2.4), while all else stays as it is. The map is the foreground's probability, the same for each class
    that is asked for: one pass gives class and map.

    The thesis freezes a self-supervised transformer; any backbone is taken, and one that is not frozen learns with the
    head and is held for the decoder. Numbers of pixels and the squares of ``dilation`` are for images of 224 x 224 in
    the thesis; here they are counted in pixels of the images that are trained on.

    Args:
        pixel_weight: Weight of the partial cross-entropy (lambda_1), of a mean over drawn pixels. The thesis searches
            it; the authors' code ended at 0.384 on ILSVRC.
        crf_weight: Weight of the dense CRF loss (lambda_2), as the papers count it for 224 x 224 pixels; it means the
            same at any size. The thesis has 2e-9; on the sample four times that is better by far, and six times it,
            with doubtful boxes, lets the object take all of the image.
        crf_scale: Maps and images are resized by this for the dense CRF loss: half the sides, a quarter of the time.
        foreground_share: n+, the part of a box's pixels that foreground is drawn from, the highest. The authors advise
            0.1 to 0.3; their search on ILSVRC ended at 0.94.
        background_share: n-, the part of the pixels outside all boxes that background is drawn from, the lowest. The
            same advice; their search ended at 0.91.
        count: Pixels drawn of each kind. The authors' code has 5,139 of the foreground and 2,399 of the background on
            ILSVRC, and advice of 1 to 10,000.
        background_count: Another number for the background, as in the authors' code; the thesis has both balanced.
        background: Draw background ``outside`` all boxes, or ``anywhere``, as appendix I and the authors' code do.
        dilation: Side of the square that each drawn pixel grows to, odd; the authors' code has 3, the thesis none.
        blocks: The head reads the class tokens of so many last blocks; of no use without a class token.
        stride: Input pixels per cell of the grid that head and decoder read: the last stage with this or a finer one.
        fuse: Lay coarser stages over that grid.
        hidden: Channels of a 3x3 convolution before the head's pooling; of no use with a class token.
        dropout: Probability of dropping a feature before the head's linear layer in training.
        width: Channels of the decoder's first block, halved from block to block; null takes half of the grid's, as the
            thesis does, in several times the time.
        resolution: Input pixels per cell of the decoder's maps before they are enlarged: 1 in the thesis, which takes a
            processor twice as long.
        last: How the decoder ends: by a ``convolution``, or by a ``block`` with ReLU as in the authors' code.
    """

    paper = Paper(
        "Murtaza et al.",
        "DiPS: Discriminative Pseudo-Label Sampling with Self-Supervised Transformers for Weakly Supervised Object "
        "Localization",
        "Image and Vision Computing",
        2023,
        "https://arxiv.org/abs/2310.06196",
    )
    stages = (CLASSIFICATION, LOCALIZATION)
    class_specific = False
    # Ranges of the thesis and the authors' code: weights from 0 to 1, shares from 0 to 1, counts from 1 to 10,000.
    search_space: ClassVar[Mapping[str, Space]] = {
        "pixel_weight": Space(0.0, 1.0),
        "foreground_share": Space(0.01, 1.0),
        "background_share": Space(0.01, 1.0),
        "count": Space(1, 10_000, log=True),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        pixel_weight: Weight = 1.0,
        crf_weight: Weight = 8e-9,
        crf_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        foreground_share: Share = 0.3,
        background_share: Share = 0.9,
        count: Pixels = 10,
        background_count: Pixels | None = None,
        background: Literal["outside", "anywhere"] = "outside",
        dilation: Pixels = 1,
        blocks: Annotated[int, Ge(1)] = 4,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        width: Annotated[int, Ge(1)] | None = 64,
        resolution: Annotated[int, Ge(1)] = 4,
        last: Literal["convolution", "block"] = "convolution",
    ) -> None:
        super().__init__(backbone, num_classes)
        self.pixel_weight, self.crf_weight, self.crf_scale = pixel_weight, crf_weight, crf_scale
        self.sampler = PixelSampler(
            foreground_share=foreground_share,
            background_share=background_share,
            count=count,
            background_count=background_count,
            background=background,
            dilation=dilation,
        )
        self.head = ClassHead(
            backbone, num_classes, blocks=blocks, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout
        )
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0, also=True)
        self.decoder = Decoder(
            channels=self.neck.channels, stride=self.neck.stride, width=width, resolution=resolution, last=last
        )

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """The decoder while the classifier learns, then all but the decoder (section 2.3.4)."""
        return (self.decoder,) if stage == CLASSIFICATION else (self.backbone, self.head)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equation 2.2 in the first stage, equation 2.4 in the second."""
        features = self.backbone(batch.images)
        if self.stage == CLASSIFICATION or batch.pseudo is None:
            return {"classification": classification(self.head(features), batch)}
        maps = self.decoder(self.neck(features.grids), batch.pseudo.grid)
        losses = {"pixels": self.pixel_weight * partial_cross_entropy(maps, self.sample(batch.pseudo))}
        if self.crf_weight:
            losses["crf"] = crf_term(maps, batch.images, self.backbone, weight=self.crf_weight, scale=self.crf_scale)
        return losses

    def sample(self, proposals: Proposals, generator: torch.Generator | None = None) -> Tensor:
        """Pseudo-labels (b, h, w) about one of the proposals of each image, all equally likely (section 2.3.4)."""
        return self.sampler(proposals, generator)

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images))
        return scores

    def as_classifier(self) -> nn.Module:
        return self.head.as_network(self.backbone)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        features = self.backbone(images)
        grid = self.neck(features.grids)
        maps = self.decoder(grid, (images.shape[2], images.shape[3]))
        return localization(self.head(features), maps, classes)
