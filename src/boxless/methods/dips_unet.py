"""DiPS with a U-Net: DiPS' first form, whose localizer is a whole network of its own beside the classifier.

Murtaza, Belharbi, Pedersoli, Sarraf and Granger, "Discriminative Sampling of Proposals in Self-Supervised Transformers
for Weakly Supervised Object Localization", WACV Workshops 2023; appendix I of the first author's thesis, whose
equations are meant here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.losses.partial import partial_cross_entropy
from boxless.methods.base import Method, Paper, Space, Stage
from boxless.methods.decoder import NARROWEST, UNetDecoder
from boxless.methods.dips import CLASSIFICATION, LOCALIZATION, Pixels, Share, Weight
from boxless.methods.foreground import crf_term, localization
from boxless.methods.head import ClassHead
from boxless.methods.sampling import PixelSampler
from boxless.pseudo.records import Proposals
from boxless.types import Batch, Features, Localization


@final
class DiPSUNet(Method):
    """A classifier, and a U-Net that learns to bare what the classifier needs to see of an image.

    First the classifier learns, as that of DiPS. Then boxes are proposed for each training image (see
    `boxless.pseudo.proposals`), and the U-Net learns from three losses while the classifier stays as it is: from pixels
    that are drawn anew in each step about one of the boxes (L_CPA), from the dense CRF loss (L_CRF), and from the
    classifier's cross-entropy on the image times the foreground's probability (L_CLS). The map is that probability, the
    same for each class that is asked for.

    The paper's U-Net has an encoder of its own, a ResNet50 trained on ImageNet, and learns as a whole; with the
    ResNet50 that classifies it has the thesis' 58.078 million parameters. Here it reads the classifier's own grids
    unless told otherwise: with a frozen backbone these are computed once.

    Args:
        pixel_weight: Weight of L_CPA, of a mean over drawn pixels; the paper's lie from 0 to 1.
        class_weight: Weight of L_CLS, one more pass through the classifier, forth and back, in each step; 0 spares it.
            The paper's lie from 0 to 1. In the authors' code the classifier is shown the image times the attention map
            that pixels are drawn from, which does not depend on the U-Net, so that this loss taught nothing, whatever
            its weight; their search on ILSVRC ended at 0.669. With the gradient it is content with a map of the whole
            image, which hides nothing from the classifier: at 0.67 the map spreads so on the sample
            (docs/pseudo-labels.md). The default is a smaller one that is not measured yet.
        crf_weight: Weight of L_CRF, as the papers count it for 224 x 224 pixels; it means the same at any size. The
            paper has 2e-9; see DiPS.
        crf_scale: Maps and images are resized by this for the dense CRF loss: half the sides, a quarter of the time.
        foreground_share: n, the part of a box's pixels that foreground is drawn from, the highest.
        background_share: n, the part of the pixels that background is drawn from, the lowest.
        count: Pixels drawn of each kind, of images as large as those that are trained on.
        background_count: Another number for the background; null draws as many.
        background: Draw background ``anywhere``, as the paper does, or ``outside`` all boxes, as DiPS' later form.
        dilation: Side of the square that each drawn pixel grows to, odd; the authors' code has 3, the paper none.
        encoder: ``shared`` reads the classifier's grids; ``own`` is a copy of the backbone, as it was before any
            training, that learns with the decoder, at the rate of a backbone. Where the features of a frozen backbone
            are kept, images are mirrored at random but not cropped: ``training.cache_features: false`` has them so.
        blocks: The classifier reads the class tokens of so many last blocks; of no use without a class token.
        stride: Input pixels per cell of the grid that it reads else: the last stage with this stride or a finer one.
        fuse: Lay coarser stages over that grid.
        hidden: Channels of a 3x3 convolution before its pooling; of no use with a class token.
        dropout: Probability of dropping a feature before its linear layer in training.
        width: Channels of the decoder's first block, halved from block to block, but not below 8; 256 in the paper.
        resolution: Input pixels per cell of the decoder's maps before they are enlarged: 1 in the paper.
    """

    paper = Paper(
        "Murtaza et al.",
        "Discriminative Sampling of Proposals in Self-Supervised Transformers for Weakly Supervised Object "
        "Localization",
        "WACV Workshops",
        2023,
        "https://arxiv.org/abs/2209.09209",
    )
    stages = (CLASSIFICATION, LOCALIZATION)
    class_specific = False
    # The paper's ranges of weights, and the authors' code's of shares and counts.
    search_space: ClassVar[Mapping[str, Space]] = {
        "pixel_weight": Space(0.0, 1.0),
        "class_weight": Space(0.0, 1.0),
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
        class_weight: Weight = 0.1,
        crf_weight: Weight = 8e-9,
        crf_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        foreground_share: Share = 0.3,
        background_share: Share = 0.5,
        count: Pixels = 10,
        background_count: Pixels | None = None,
        background: Literal["outside", "anywhere"] = "anywhere",
        dilation: Pixels = 1,
        encoder: Literal["shared", "own"] = "shared",
        blocks: Annotated[int, Ge(1)] = 4,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        width: Annotated[int, Ge(1)] = 32,
        resolution: Annotated[int, Ge(1)] = 4,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.pixel_weight, self.class_weight = pixel_weight, class_weight
        self.crf_weight, self.crf_scale = crf_weight, crf_scale
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
        self.decoder = UNetDecoder(backbone.stages, widths=_widths(backbone, width), resolution=resolution)
        self.encoder = _own(backbone) if encoder == "own" else None
        self._places = self._reader.also_tap(*self.decoder.taps)

    @property
    def _reader(self) -> Backbone:
        """What the decoder's grids come from."""
        return self.backbone if self.encoder is None else self.encoder

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """The U-Net while the classifier learns, then the classifier."""
        if stage == LOCALIZATION:
            return (self.backbone, self.head)
        return (self.decoder,) if self.encoder is None else (self.decoder, self.encoder)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The classification in the first stage, equation A I-5 in the second."""
        if self.stage == CLASSIFICATION or batch.pseudo is None:
            return {"classification": classification(self.scores(batch.images), batch)}
        maps = self._decode(self._reader(batch.images), batch.pseudo.grid)
        losses = {"pixels": self.pixel_weight * partial_cross_entropy(maps, self.sample(batch.pseudo))}
        if self.class_weight:
            losses["foreground"] = self.class_weight * classification(self._bared_scores(batch.images, maps), batch)
        if self.crf_weight:
            losses["crf"] = crf_term(maps, batch.images, self.backbone, weight=self.crf_weight, scale=self.crf_scale)
        return losses

    def sample(self, proposals: Proposals, generator: torch.Generator | None = None) -> Tensor:
        """Pseudo-labels (b, h, w) about one of the proposals of each image, all equally likely (section 3.3)."""
        return self.sampler(proposals, generator)

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images))
        return scores

    def as_classifier(self) -> nn.Module:
        return self.head.as_network(self.backbone)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        features = self.backbone(images)
        read = features if self.encoder is None else self.encoder(images)
        maps = self._decode(read, (images.shape[2], images.shape[3]))
        return localization(self.head(features), maps, classes)

    def _decode(self, features: Features, size: tuple[int, int]) -> Tensor:  # (b, 2, *size)
        maps: Tensor = self.decoder([features.grids[place] for place in self._places], size)
        return maps

    def _bared_scores(self, images: Tensor, maps: Tensor) -> Tensor:
        """Class scores of normalised images times the foreground's probability: the rest takes the mean colour."""
        bared = images * maps.float().softmax(1)[:, 1:]
        # Not by a call of the backbone, which lets no gradient through where it is frozen.
        scores: Tensor = self.head(self.backbone.extract(bared))
        return scores


def _own(backbone: Backbone) -> Backbone:
    """A copy of a backbone that learns and has nothing tapped, be the backbone frozen or not."""
    own = copy.deepcopy(backbone)
    own.frozen = False
    own.tap()
    own.tap_tokens()
    return own.requires_grad_(requires_grad=True).train(mode=True)


def _widths(backbone: Backbone, width: int) -> tuple[int, ...]:
    """As many as any decoder of this backbone takes."""
    doublings = max(stage.stride for stage in backbone.stages).bit_length()
    return tuple(max(width >> step, min(width, NARROWEST)) for step in range(doublings))
