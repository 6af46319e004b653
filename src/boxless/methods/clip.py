"""CLIP as it is: the likeness of each patch's embedding with that of the class's name.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. CLIP was trained to
tell whole images, and its patches know little of names: the baseline of table 3.4 of the thesis.
"""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Ge
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.methods.base import Paper
from boxless.methods.zero_shot import PatchText


@final
class CLIP(PatchText):
    """CLIP as it was trained; the one of its kind that also reads convolutional networks, cell by cell.

    Args:
        window: Side in pixels of windows that slide over larger images by half a side; where they overlap, similarities
            are averaged. null reads an image at once.
        refine: Steps of refinement by the colours of the image (PAMR), at its full size; 0 leaves maps on the grid.
    """

    paper = Paper(
        "Radford et al.",
        "Learning Transferable Visual Models From Natural Language Supervision",
        "ICML",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        window: Annotated[int, Ge(1)] | None = None,
        refine: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__(backbone, num_classes, window=window, refine=refine)

    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.backbone.embeddings(images)
