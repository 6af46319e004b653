"""SCLIP: in CLIP's last block tokens attend to those that are like them.

Wang, Mei and Yuille, "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference", ECCV 2024.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

from annotated_types import Ge
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.backbones.clip_tower import Grid
from boxless.methods.base import Paper
from boxless.methods.zero_shot import LastBlock


@final
class SCLIP(LastBlock):
    """Correlative self-attention (section 3.2) in place of the last block's own; all else is CLIP's, untrained.

    Args:
        window: Side in pixels of windows that slide over larger images by half a side, 224 in the paper; where they
            overlap, similarities are averaged. null reads an image at once.
        refine: Steps of refinement by the colours of the image (PAMR), at its full size; 0, as in the authors' code,
            leaves maps on the grid. They take 10 where they report it.
        scored: What classes are scored by: the image's embedding of ``clip``, or that of the ``changed`` network. The
            figures of the thesis (table 3.4) fit the latter, which is much the worse classifier.
    """

    paper = Paper(
        "Wang et al.",
        "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference",
        "ECCV",
        2024,
        "https://arxiv.org/abs/2312.01597",
    )

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        window: Annotated[int, Ge(1)] | None = None,
        refine: Annotated[int, Ge(0)] = 0,
        scored: Literal["clip", "changed"] = "clip",
    ) -> None:
        super().__init__(backbone, num_classes, window=window, refine=refine, scored=scored)

    def last_block(self, x: Tensor, grid: Grid) -> Tensor:
        """Equation 4: two softmaxes, of queries with queries and of keys with keys, are added and not averaged."""
        q, k, v = self.tower.qkv(self.last, self.tower.normed(self.last, x), grid)
        scale = q.shape[-1] ** -0.5
        weights = (q @ q.mT * scale).softmax(-1) + (k @ k.mT * scale).softmax(-1)
        return self.tower.mlp(self.last, self.tower.residual(self.last, x, self.tower.mixed(self.last, weights, v)))
