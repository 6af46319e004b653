"""SPG: the surest places of the classifier's map teach inner layers what is object and what is not, and they it.

Zhang, Wei, Kang, Yang and Huang, "Self-produced Guidance for Weakly-supervised Object Localization", ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.losses.classification import classification
from boxless.methods.attention import attention, enlarge
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.neck import Neck
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization

FEWEST = 30  # pixels above the upper threshold with which it holds
FALLBACK = 0.7  # of the map's maximum, where there are fewer
Fraction = Annotated[float, Ge(0), Le(1)]


@final
class SPG(Method):
    """A classifier whose map is a 1x1 convolution, and three heads that learn to tell object from background.

    B2 learns from the classifier's map of the image's class, B1 from what B2 says, and C from the mean of what B1 and
    B2 say. In each, pixels above an upper threshold are object, below a lower one background, and the rest counts for
    nothing. All is compared at the size of the images (the authors' code: 224 x 224), and nothing flows back into what
    is learnt from. The heads serve training only: maps are the classifier's.

    Args:
        b2_high: Object for B2 is where the classifier's map, scaled to [0, 1], is above this.
        b2_low: Background for B2 is where it is below this.
        b1_high: Object for B1 is where the probability that B2 gives is above this.
        b1_low: Background for B1 is where it is below this.
        c_high: Object for C is where the mean probability that B1 and B2 give is above this.
        c_low: Background for C is where it is below this.
        guide: Channels of the 3x3 convolutions in the heads. The paper has 512; fewer for the reason told of
            ``hidden``.
        stride: Input pixels per cell of the grid that the classifier and B2 read: the last stage with this stride or a
            finer one. B1 reads the stage before.
        fuse: Lay the coarser stages over that grid, for the classifier.
        hidden: Channels of the 3x3 convolution with ReLU below the classifier and C; 0 puts none. The paper has 1,024;
            256 on frozen features were as good in less time for the plain classifier
            (benchmarks/results/accuracy.json).
    """

    paper = Paper(
        "Zhang et al.",
        "Self-produced Guidance for Weakly-supervised Object Localization",
        "ECCV",
        2018,
        "https://arxiv.org/abs/1807.08902",
    )
    # Not in the thesis' table 4.4; halves, so that no lower threshold can exceed its upper one.
    search_space: ClassVar[Mapping[str, Space]] = {
        **{f"{head}_high": Space(0.5, 1.0) for head in ("b2", "b1", "c")},
        **{f"{head}_low": Space(0.0, 0.5) for head in ("b2", "b1", "c")},
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        b2_high: Fraction = 0.7,
        b2_low: Fraction = 0.01,
        b1_high: Fraction = 0.5,
        b1_low: Fraction = 0.05,
        c_high: Fraction = 0.7,
        c_low: Fraction = 0.1,
        guide: Annotated[int, Ge(1)] = 256,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.thresholds = {"b2": (b2_low, b2_high), "b1": (b1_low, b1_high), "c": (c_low, c_high)}
        for head, (low, high) in self.thresholds.items():
            if low > high:
                raise ConfigError(f"method.{head}_low: {low} exceeds method.{head}_high, {high}; it must not.")
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
        main = backbone.taps[0]
        earlier, later, *_ = backbone.tap(max(main - 1, 0), *backbone.taps)
        self.cell = later.stride  # input pixels per cell of the classifier's grid
        self.classifier = nn.Conv2d(self.neck.channels, num_classes, 1)
        self.b1, self.b2 = _step(earlier.channels, guide), _step(later.channels, guide)
        self.shared = nn.Sequential(_step(guide, guide), nn.Conv2d(guide, 1, 1))
        self.c = nn.Sequential(_step(self.neck.channels, guide), nn.Conv2d(guide, 1, 1))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        earlier, *grids = self.backbone(batch.images).grids
        grid = self.neck(tuple(grids))
        maps = self.classifier(grid)
        # Where features were computed before, there are no images: their size follows from the grid's.
        size = (maps.shape[2] * self.cell, maps.shape[3] * self.cell)
        b1, b2 = enlarge(self.shared(self.b1(earlier)), size), enlarge(self.shared(self.b2(grids[0])), size)
        sure_b2 = b2.detach().sigmoid()
        sure_c = (b1.detach().sigmoid() + sure_b2) / 2
        seen = attention(maps, batch.targets, size)
        return {
            "classification": classification(maps.mean((2, 3)), batch),
            "b2": guidance(b2, seen, *self.thresholds["b2"]),
            "b1": guidance(b1, sure_b2, *self.thresholds["b1"]),
            "c": guidance(enlarge(self.c(grid), size), sure_c, *self.thresholds["c"]),
        }

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        _, *grids = self.backbone(images).grids
        maps = self.classifier(self.neck(tuple(grids)))
        logits = maps.mean((2, 3))
        classes = asked_classes(logits, classes)
        return Localization(logits, normalize(pick(maps, classes)), classes)


def guidance(logits: Tensor, source: Tensor, low: float, high: float) -> Tensor:
    """The mean binary cross-entropy over the pixels of the batch that a source is sure of; 0 if there are none.

    Args:
        logits: (b, 1, h, w) what learns.
        source: (b, 1, h, w) in [0, 1], what it learns from.
        low: Below it a pixel is background.
        high: Above it a pixel is object; in an image with fewer than 30 such pixels 0.7 of its maximum instead.
    """
    target, sure = pseudo_mask(source, low, high)
    each = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return (each * sure).sum() / sure.sum().clamp(min=1)


def pseudo_mask(source: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Which pixels (b, 1, h, w) are object, and which are object or background; see :func:`guidance`.

    Background is settled last: a pixel below ``low`` is background whatever the maximum is.
    """
    count = (source > high).sum((1, 2, 3), keepdim=True)
    highest = source.amax((1, 2, 3), keepdim=True)
    background = source < low
    found = (source > torch.where(count < FEWEST, FALLBACK * highest, high)) & ~background
    return found, found | background


def _step(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU())
