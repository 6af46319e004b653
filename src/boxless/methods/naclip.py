"""NACLIP: in CLIP's last block patches attend to those that are like them, and to their neighbours.

Hajimiri, Ben Ayed and Dolz, "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
WACV 2025.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.clip_tower import Grid
from boxless.methods.base import Paper
from boxless.methods.zero_shot import LastBlock


@final
class NACLIP(LastBlock):
    """Attention by keys alone with a Gaussian about each patch; nothing else is left of the last block; untrained.

    Args:
        std: Standard deviation of the Gaussian, in patches.
        reduced: Leave out the last block's residual connection and its feed-forward part, as the paper does.
        window: Side in pixels of windows that slide over larger images by half a side, 224 in the paper; where they
            overlap, similarities are averaged. null reads an image at once.
        refine: Steps of refinement by the colours of the image (PAMR), at its full size, 10 in the paper; 0 leaves
            maps on the grid.
        scored: What classes are scored by: the image's embedding of ``clip``, or that of the ``changed`` network. The
            figures of the thesis (table 3.4) fit the latter, which is much the worse classifier.
    """

    paper = Paper(
        "Hajimiri et al.",
        "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
        "WACV",
        2025,
        "https://arxiv.org/abs/2404.08181",
    )

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        std: Annotated[float, Gt(0)] = 5.0,
        reduced: bool = True,
        window: Annotated[int, Ge(1)] | None = None,
        refine: Annotated[int, Ge(0)] = 10,
        scored: Literal["clip", "changed"] = "clip",
    ) -> None:
        super().__init__(backbone, num_classes, window=window, refine=refine, scored=scored)
        self.std, self.reduced = std, reduced

    def last_block(self, x: Tensor, grid: Grid) -> Tensor:
        """Section 3.2: the Gaussian is added before the softmax; the class token has none."""
        _, k, v = self.tower.qkv(self.last, self.tower.normed(self.last, x), grid)
        near = F.pad(neighbourhood(grid, self.std), (self.tower.prefix, 0, self.tower.prefix, 0))
        weights = (k @ k.mT * k.shape[-1] ** -0.5 + near.to(k)).softmax(-1)
        attended = self.tower.mixed(self.last, weights, v)
        if self.reduced:
            return attended
        return self.tower.mlp(self.last, self.tower.residual(self.last, x, attended))


def neighbourhood(grid: Grid, std: float) -> Tensor:
    """How near patches are to each other, (p, p): a Gaussian of their distance, 1 of a patch with itself."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in grid)
    places = torch.cartesian_prod(rows, columns)
    distances = (places[:, None] - places).square().sum(-1)
    return torch.exp(-distances / (2 * std**2))
