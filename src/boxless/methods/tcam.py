"""TCAM: a decoder learns from a few seeds of a frame's map, over which those of the frames before it are laid.

Belharbi, Ben Ayed, McCaffrey and Granger, "TCAM: Temporal Class Activation Maps for Object Localization in
Weakly-Labeled Unconstrained Videos", WACV 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge, Gt, Le, Lt

from boxless.backbones.base import Backbone
from boxless.methods.base import Paper, Space
from boxless.methods.seeded import Pixels, SeededCAM, SeedLosses, SeedSampler, Share, Weight
from boxless.pseudo._regions import Region


@final
class TCAM(SeededCAM):
    """A classifier, and a decoder on the same backbone, taught by maps of a frame and of those just before it.

    First the classifier learns. Then a map of each training frame is taken, of its own class, and the maps of the
    frames before it in its shot are laid over it, elementwise the maximum: an object moves little from one frame to
    the next, and what its classifier misses in one it may see in another. The decoder learns from pixels that are drawn
    from the fused map in each step, more likely the higher they are (see `boxless.pseudo.pixels.sample_seeds`), from
    the dense CRF loss, and from a loss that keeps foreground and background from vanishing, while all else stays as it
    is. The result is the foreground's probability, the same for each class that is asked for. What localizes a frame
    is that frame alone.

    The maps are CAM by default, as in the authors' code, or any that a recipe names as ``pseudo.source``, such as
    ``layercam``, the best of those that the paper compares itself with. Of images that are no frames, and of the first
    frame of a shot, the map stands alone. Classifier and decoder are those of F-CAM here, whose paper is by the same
    authors; as there, squares are for 224 x 224 pixels and go with the size of the images.

    Args:
        neighbours: Frames before each whose maps are laid over its own; the authors' code has 1. Those of the whole
            training set count, also where training itself sees only some of its frames.
        region: Where object seeds come from: ``all`` that is above Otsu's threshold of the map, as in the authors'
            recipe; or of its connected components the ``largest``, or the ``densest``.
        foreground_share: Part of that region, the highest of the map, that object seeds are drawn from; 0.6 in the
            authors' recipe.
        background_share: Part of the pixels, the lowest of the map, that background is drawn from; 0.1 there.
        count: Seeds of each kind; 1 there.
        dilation: Side of the square that each seed grows to; 3 there.
        seed_weight: Weight of the partial cross-entropy on the seeds.
        crf_weight: Weight of the dense CRF loss, as the papers count it for 224 x 224 pixels; it means the same at any
            size. The paper has 2e-9.
        crf_scale: Maps and images are resized by this for the dense CRF loss: half the sides, a quarter of the time.
        size_weight: Weight of the size loss; 0.01 in the authors' recipe.
        barrier: How steep the barrier of the size loss is at the end of training, where it began at 1. The authors
            multiply it by 1.01 in each of 100 epochs.
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
        "TCAM: Temporal Class Activation Maps for Object Localization in Weakly-Labeled Unconstrained Videos",
        "WACV",
        2023,
        "https://arxiv.org/abs/2208.14542",
    )
    # Not in the thesis' table 4.4; about the authors' own values.
    search_space: ClassVar[Mapping[str, Space]] = {
        "neighbours": Space(0, 4),
        "foreground_share": Space(0.2, 1.0),
        "background_share": Space(0.05, 0.8),
        "size_weight": Space(0.0, 0.2),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        neighbours: Annotated[int, Ge(0)] = 1,
        region: Region = "all",
        foreground_share: Share = 0.6,
        background_share: Share = 0.75,
        count: Pixels = 10,
        dilation: Pixels = 3,
        seed_weight: Weight = 1.0,
        crf_weight: Weight = 8e-9,
        crf_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        size_weight: Weight = 0.01,
        barrier: Annotated[float, Ge(1)] = 2.7,
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
            sampler=SeedSampler(
                count=count,
                background_share=background_share,
                dilation=dilation,
                region=region,
                foreground_share=foreground_share,
                weighted=True,
            ),
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
        self.neighbours = neighbours
