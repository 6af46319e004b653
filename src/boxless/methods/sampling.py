"""The pixels that a method learns from, drawn about one of an image's proposals as the method's settings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from boxless.pseudo.pixels import choose_boxes, sample_pixels
from boxless.pseudo.records import Proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSampler:
    """Draws pseudo-labels for pixels; its settings are those of `boxless.pseudo.pixels.sample_pixels`."""

    foreground_share: float
    background_share: float
    count: int
    background_count: int | None
    background: Literal["outside", "anywhere"]
    dilation: int
    otsu: bool = False

    def __call__(self, proposals: Proposals, generator: torch.Generator | None = None) -> Tensor:
        """Pseudo-labels (b, h, w) about one of the proposals of each image, all equally likely (section 2.3.4)."""
        chosen = choose_boxes(proposals.boxes, proposals.valid, proposals.grid, generator=generator)
        return sample_pixels(
            proposals.levels(chosen),
            proposals.boxes,
            proposals.valid,
            foreground_share=self.foreground_share,
            background_share=self.background_share,
            count=self.count,
            background_count=self.background_count,
            chosen=chosen,
            background=self.background,
            otsu=self.otsu,
            dilation=self.dilation,
            generator=generator,
        )
