"""HaS: patches of the training images are hidden at random, so that the class has to be seen in all of the object.

Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action Localization",
ICCV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.methods.base import Needs, Paper, Space
from boxless.methods.cam import CAM
from boxless.types import Batch


@final
class HaS(CAM):
    """CAM's network, which in training sees each image with some squares of a regular grid hidden.

    Args:
        patch: Side of a square in pixels. The paper tries 16, 32, 44 and 56 in images of 224 pixels; wsolevaluation has
            4. Smaller images want smaller squares.
        drop_rate: Probability that a square is hidden, drawn for each square of each image; the paper's is 0.5.
        area: Part of the image that a square covers, in place of ``patch``: the same for images of any size.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU before the pooling; 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Singh and Lee",
        "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action Localization",
        "ICCV",
        2017,
        "https://arxiv.org/abs/1704.04232",
    )
    needs = Needs(own_forward=True)
    # Thesis, table 4.4. Of what its "drop area" is a part it does not say; here, of the image. The paper's squares have
    # an area of 0.005 to 0.06.
    search_space: ClassVar[Mapping[str, Space]] = {"drop_rate": Space(0.0, 1.0), "area": Space(0.0, 1.0)}

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        patch: Annotated[int, Ge(1)] = 32,
        drop_rate: Annotated[float, Ge(0), Le(1)] = 0.5,
        area: Annotated[float, Ge(0), Le(1)] | None = None,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout)
        self.patch, self.drop_rate, self.area = patch, drop_rate, area

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        side = self.patch if self.area is None else side_of(self.area, batch.images)
        images = hide(batch.images, side, self.drop_rate) if self.training else batch.images
        return super().losses(replace(batch, images=images), progress)


def side_of(area: float, images: Tensor) -> int:
    """The side in pixels, at least 1, of a square that covers this part of each image (b, c, h, w)."""
    return max(1, round(math.sqrt(area * images.shape[2] * images.shape[3])))


def hide(images: Tensor, patch: int, drop_rate: float) -> Tensor:
    """A copy of the images (b, c, h, w) with squares of ``patch`` pixels set to zero, each with this probability.

    The squares tile each image from its upper left corner; those at the right and lower edge may be cut. Images are
    normalised, so that zero is the data's mean colour, as the paper wants it: what the first layer gives should have
    the same mean in training, with patches hidden, as in use, with none.
    """
    count, _, height, width = images.shape
    rows, columns = -(-height // patch), -(-width // patch)
    kept = torch.rand(count, 1, rows, columns, device=images.device) >= drop_rate
    kept = kept.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[..., :height, :width]
    return images * kept
