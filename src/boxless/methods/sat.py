"""SAT: a token of its own learns to look at the object, and what it does not look at, no token attends to.

Wu, Zhai, Cao, Luo and Zha, "Spatial-Aware Token for Weakly Supervised Object Localization", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.backbones.steering import steerable, steered
from boxless.errors import ConfigError
from boxless.losses.classification import classification
from boxless.losses.regularity import batch_area, indecision
from boxless.methods.base import Method, Needs, Paper, Space, asked_classes
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization


@final
class SAT(Method):
    """A spatial token asks a transformer which patches are the object; the answer masks attention in its last blocks.

    The mask of a block is the sigmoid of what the spatial token attends to before the softmax, the mean over heads. All
    attention is multiplied by it after the softmax, so that the image's class can only be learnt from patches that it
    lets through. The map is the mean of the blocks' masks, one for all classes. Class scores are the averages of class
    maps that a 3x3 convolution makes of the patch tokens, as in TS-CAM.

    Two losses beside the classification have the same weight as it, as in the authors' code: masks of a batch take a
    given part of it, and each is near 0 or 1 everywhere; see `boxless.losses.regularity`. A frozen backbone is run in
    each step all the same, for the spatial token learns through it.

    In the authors' code the cosine of the learning rate is computed and never set, so that it is constant; here it is
    what the recipe says. Their weight decay spares tokens, norms and biases, and in training they drop whole paths of
    blocks at a rate of up to 0.1; here nothing is spared or dropped. They add 1e-5 to the range that a map is divided
    by, so that its highest value is a little below 1.

    Args:
        area: The part of all images together that masks take. The authors': 0.25 on CUB, 0.35 on ILSVRC.
        blocks: How many last blocks are masked; the authors' 3.
    """

    paper = Paper(
        "Wu et al.",
        "Spatial-Aware Token for Weakly Supervised Object Localization",
        "ICCV",
        2023,
        "https://arxiv.org/abs/2303.10438",
    )
    needs = Needs(steering=True, own_forward=True)
    class_specific = False
    search_space: ClassVar[Mapping[str, Space]] = {"area": Space(0.0, 1.0)}  # the thesis, table 4.4

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        area: Annotated[float, Ge(0), Le(1)] = 0.25,
        blocks: Annotated[int, Ge(1)] = 3,
    ) -> None:
        super().__init__(backbone, num_classes)
        steerable(backbone)
        if blocks > backbone.blocks:
            raise ConfigError(f"method.blocks: got {blocks}; {backbone.title} has {backbone.blocks}.")
        self.area, self.masked = area, range(-blocks, 0)
        backbone.tap_tokens()
        backbone.tap_attention()
        (last,) = backbone.tap(-1)
        self.token = nn.Parameter(torch.empty(last.channels))
        self.position = nn.Parameter(torch.empty(last.channels))
        for parameter in (self.token, self.position):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.head = nn.Conv2d(last.channels, num_classes, 3, padding=1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        logits, masks = self._look(batch.images)
        return {
            "classification": classification(logits, batch),
            "area": batch_area(masks, self.area),
            "normalization": indecision(masks),
        }

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        logits, masks = self._look(images)
        classes = asked_classes(logits, classes)
        maps = normalize(masks)[:, None].expand(-1, classes.shape[1], -1, -1)
        return Localization(logits, maps, classes)

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores (b, k), and the mean of the blocks' masks (b, h, w)."""
        with steered(self.backbone, self.token + self.position, self.masked, mask) as masks:
            grid = self.backbone(images).grid
        return self.head(grid).mean((2, 3)), torch.stack(masks).mean(0)


def mask(scores: Tensor) -> Tensor:
    """Which tokens are of the object, (b, n), by what the spatial token attends to before the softmax (b, heads, n)."""
    return scores.mean(1).sigmoid()
