"""F-CAM: a decoder to full resolution learns from a few seeds of a CAM, drawn anew in each step.

Belharbi, Sarraf, Pedersoli, Ben Ayed, McCaffrey and Granger, "F-CAM: Full Resolution Class Activation Maps via Guided
Parametric Upscaling", WACV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge, Gt, Le, Lt

from boxless.backbones.base import Backbone
from boxless.methods.base import Paper, Space
from boxless.methods.seeded import Pixels, SeededCAM, SeedLosses, SeedSampler, Share, Weight


@final
class FCAM(SeededCAM):
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
        background_share: Share = 0.75,
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
        super().__init__(
            backbone,
            num_classes,
            sampler=SeedSampler(count=count, background_share=background_share, erosion=erosion, dilation=dilation),
            decoding=SeedLosses(
                seed_weight=seed_weight,
                crf_weight=crf_weight,
                crf_scale=crf_scale,
                size_weight=size_weight,
                barrier=barrier,
            ),
            stride=stride,
            fuse=fuse,
            hidden=hidden,
            dropout=dropout,
            width=width,
            resolution=resolution,
            last=last,
        )
