"""TrCAM-V: a decoder on a transformer's patches and class token learns from a few pixels of what CLIP sees in a frame.

Murtaza, Belharbi, Pedersoli and Granger, "Leveraging Transformers for Weakly Supervised Object Localization in
Unconstrained Videos", ANNPR 2024; appendix II of the first author's thesis, whose equations are meant here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, Stage
from boxless.methods.decoder import Decoder
from boxless.methods.foreground import localization
from boxless.methods.head import ClassHead
from boxless.methods.neck import Neck
from boxless.methods.seeded import CLASSIFICATION, Pixels, SeedLosses, SeedSampler, Share, Weight
from boxless.pseudo._regions import Region
from boxless.types import Batch, Features, Localization

LOCALIZATION = Stage("localization", images=True, pseudo="any", sources=("run", "cam", "spectral"), classifies=False)
Reads = Literal["both", "patches", "attention"]


@final
class TrCAMV(Method):
    """An encoder, a classification head, and a decoder to a background and a foreground map in full resolution.

    First the head learns (equation II-3), on class tokens of a transformer, or on an averaged grid. Then a map of each
    training frame is taken, and the decoder learns from pixels that are drawn from it in each step (II-1 and II-2, see
    `boxless.pseudo.pixels.sample_seeds`), the more likely the higher they are; from a loss that keeps foreground and
    background from vanishing; and from the dense CRF loss (II-5), while all else stays as it is. The result is the
    foreground's probability, the same for each class that is asked for. No frame needs another, in training or after,
    so images serve as well.

    The maps are those of CLIP-ES for the class's name, if the backbone is a CLIP transformer or the weights of
    ``open_clip:ViT-B-16/openai`` are on this machine, unless names look like codes. Else they are CAM of the method's
    own classifier; or, as a head on class tokens has none, boxes of normalized cuts of the backbone's features which it
    scores, as for DiPS. A recipe says otherwise as ``pseudo.source`` and ``pseudo.classifier``: ``run`` and a CLIP
    model; ``run`` and the folder of a run, such as one of CLIPSeg; ``spectral``, ``attention``, or any map. Outside the
    box that is drawn of several, a map counts as 0.

    The thesis has DeiT with self-supervised weights, which learns with the head; any backbone is taken. It does not
    give the shares, the numbers of pixels or the region's least size; the authors' code has those of TCAM. Squares are
    for 224 x 224 pixels and go with the size of the images.

    Args:
        reads: What the decoder reads of a transformer: its ``patches``; ``both`` these and the class token, beside each
            patch, as the thesis has it; or the whole ``attention`` of the last block, a channel for each head and each
            token that attends, as the authors' code has it: then images are of one size for good. A backbone without a
            class token has its patches, or its grid, read by ``both``.
        region: Where object pixels come from: the ``densest`` connected component above Otsu's threshold of the map, as
            in the thesis; the ``largest``; or ``all``, as in the recipe of the authors' code.
        foreground_share: n of equation II-1, the part of that region, the highest of the map, that object pixels are
            drawn from; 0.6 in the authors' recipe.
        background_share: The part of all pixels, the lowest of the map, that background is drawn from; 0.1 there.
        count: Pixels drawn of each kind; 1 there.
        dilation: Side of the square that each drawn pixel grows to; 3 there.
        seed_weight: Weight of the pixel alignment loss (lambda_PAL, equation II-4), a mean over drawn pixels.
        size_weight: Weight of the absolute size loss (lambda_ASL); 0.01 in the authors' recipe, which leaves it out.
        barrier: How steep the barrier of the size loss is at the end of training, where it began at 1. The authors
            multiply it by 1.01 in each of 100 epochs.
        crf_weight: Weight of the dense CRF loss (lambda_CRF), as the papers count it for 224 x 224 pixels; it means the
            same at any size. The thesis has 2e-9.
        crf_scale: Maps and images are resized by this for the dense CRF loss: half the sides, a quarter of the time.
        blocks: The head reads the class tokens of so many last blocks, 1 in the thesis and 4 in the authors' code; of
            no use without a class token.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay coarser stages over that grid.
        hidden: Channels of a 3x3 convolution before the head's pooling; of no use with a class token.
        dropout: Probability of dropping a feature before the head's linear layer in training.
        width: Channels of the decoder's first block, halved from block to block: 192 in the authors' code. Null takes
            half of what is read, in several times the time.
        resolution: Input pixels per cell of the decoder's maps before they are enlarged: 1 in the authors' code.
        last: How the decoder ends: by a ``convolution``, or by a ``block`` with ReLU as in the authors' code.
    """

    paper = Paper(
        "Murtaza et al.",
        "Leveraging Transformers for Weakly Supervised Object Localization in Unconstrained Videos",
        "ANNPR",
        2024,
        "https://arxiv.org/abs/2407.06018",
    )
    stages = (CLASSIFICATION, LOCALIZATION)
    class_specific = False
    # The thesis has weights in [0, 1] without more; about the values of the authors' code.
    search_space: ClassVar[Mapping[str, Space]] = {
        "size_weight": Space(0.0, 0.2),
        "foreground_share": Space(0.2, 1.0),
        "background_share": Space(0.05, 0.8),
        "count": Space(1, 100, log=True),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        reads: Reads = "both",
        region: Region = "densest",
        foreground_share: Share = 0.6,
        background_share: Share = 0.75,
        count: Pixels = 10,
        dilation: Pixels = 3,
        seed_weight: Weight = 1.0,
        size_weight: Weight = 0.01,
        barrier: Annotated[float, Ge(1)] = 2.7,
        crf_weight: Weight = 8e-9,
        crf_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
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
        self.sample = SeedSampler(
            count=count,
            background_share=background_share,
            dilation=dilation,
            region=region,
            foreground_share=foreground_share,
            weighted=True,
        )
        self.decoding = SeedLosses(
            seed_weight=seed_weight,
            crf_weight=crf_weight,
            crf_scale=crf_scale,
            size_weight=size_weight,
            barrier=barrier,
        )
        self.head = ClassHead(
            backbone, num_classes, blocks=blocks, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout
        )
        self.input = Attended(backbone) if reads == "attention" else Patches(backbone, stride, fuse, reads == "both")
        self.decoder = Decoder(
            channels=self.input.channels,
            stride=self.input.stride,
            width=width,
            resolution=resolution,
            last=last,
            narrow=reads != "attention",
        )

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """The decoder while the classifier learns, then all but the decoder."""
        return (self.decoder,) if stage == CLASSIFICATION else (self.backbone, self.head)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equation II-3 in the first stage; in the second equation II-5, term by term."""
        features = self.backbone(batch.images)
        if self.stage == CLASSIFICATION or batch.pseudo is None:
            return {"classification": classification(self.head(features), batch)}
        maps = self.decoder(self.input(features, batch.images), batch.pseudo.grid)
        return self.decoding(maps, self.sample(batch.pseudo), batch.images, self.backbone, progress)

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images))
        return scores

    def as_classifier(self) -> nn.Module:
        return self.head.as_network(self.backbone)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        features = self.backbone(images)
        maps = self.decoder(self.input(features, images), (images.shape[2], images.shape[3]))
        return localization(self.head(features), maps, classes)


@final
class Patches(nn.Module):
    """A backbone's grid; of a transformer with the class token of the last block beside each patch, if asked for."""

    def __init__(self, backbone: Backbone, stride: int, fuse: bool, token: bool) -> None:
        """After the head has tapped the tokens."""
        super().__init__()
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0, also=True)
        self.token = token and backbone.class_token
        width = backbone.stages[backbone.token_taps[-1]].channels if self.token else 0
        self.channels, self.stride = self.neck.channels + width, self.neck.stride

    def forward(self, features: Features, images: Tensor) -> Tensor:
        """(b, c, h, w)."""
        grid: Tensor = self.neck(features.grids)
        if not self.token or features.prefix is None:
            return grid
        token = features.prefix[:, -1, 0, :, None, None]
        return torch.cat([grid, token.expand(-1, -1, *grid.shape[2:])], 1)


@final
class Attended(nn.Module):
    """What each patch gets of the attention of each head and token in the last block, as channels."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        backbone.tap_attention(-1, rows="all")
        self.stride, self.side = backbone.stages[-1].stride, int(getattr(backbone, "image_size"))  # noqa: B009
        self.prefix, self.cells = backbone.prefix_tokens, -(-self.side // self.stride)
        self.channels = backbone.heads * (self.prefix + self.cells**2)

    def forward(self, features: Features, images: Tensor) -> Tensor:
        """(b, heads * tokens, h, w).

        Raises:
            ConfigError: The images have another size than the backbone was built for.
        """
        height, width = images.shape[2:]
        if (height, width) != (self.side, self.side):
            raise ConfigError(
                f"method.reads: attention has {self.channels} channels for images of {self.side} x {self.side} pixels, "
                f"and these have {height} x {width}; resize them to that, or train with reads=both."
            )
        attention = features.attention[-1][..., self.prefix :]
        return attention.reshape(len(attention), self.channels, self.cells, self.cells)
