"""NL-CCAM: places of the grid learn from each other, and a map adds likely classes and subtracts unlikely ones.

Yang, Kim, Kim and Kim, "Combinational Class Activation Maps for Weakly Supervised Object Localization", WACV 2020.
The block is that of Wang, Girshick, Gupta and He, "Non-local Neural Networks", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.methods.base import Paper, Space, asked_classes
from boxless.methods.cam import CAM
from boxless.ops.maps import normalize
from boxless.types import Localization


@final
class NLCCAM(CAM):
    """CAM's network with non-local blocks before the pooling; a map is a combination of the maps of all classes.

    The paper has a block after each stage of a VGG16 with leaky ReLU, trained as a whole. Here blocks stand on the grid
    that is pooled: a block starts as the identity, and inside a frozen backbone it would stay that.

    Args:
        blocks: Non-local blocks on the grid, one after the other; 0 leaves CAM's network.
        power: How fast the weights of classes fall from the first rank to the middle one; 2 is the paper's quadratic
            function, 1 a straight line.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU before the blocks; 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Yang et al.",
        "Combinational Class Activation Maps for Weakly Supervised Object Localization",
        "WACV",
        2020,
        "https://arxiv.org/abs/1910.05518",
    )
    # The thesis (table 4.4) searches nothing of this method's own; the settings that CAM has too are searched alike.
    search_space: ClassVar[Mapping[str, Space]] = CAM.search_space

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        blocks: Annotated[int, Ge(0)] = 1,
        power: Annotated[float, Gt(0)] = 2.0,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout)
        self.power = power
        self.blocks = nn.Sequential(*(NonLocal(self.neck.channels) for _ in range(blocks)))

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grid = self._grid(images)
        logits = self._logits(grid)
        classes = asked_classes(logits, classes)
        weights = rank_weights(self.num_classes, self.power).to(logits)[ranks(logits, classes)]
        # Maps are linear in the classifier's weights: these are combined, not the maps of a thousand classes.
        maps = torch.einsum("bnk,kc,bchw->bnhw", weights, self.classifier.weight, grid)
        return Localization(logits, normalize(maps), classes)

    def _grid(self, images: Tensor) -> Tensor:  # (b, 3, h, w) -> (b, c, h', w')
        grid: Tensor = self.blocks(super()._grid(images))
        return grid


class NonLocal(nn.Module):
    """The embedded Gaussian block: to each place is added what all places say, weighted by how alike they are.

    The scale of the batch normalisation starts at zero, so that a new block changes nothing.

    Args:
        channels: Channels of the grid; places are compared in half as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.query, self.key, self.value = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, grid: Tensor) -> Tensor:
        """The grid (b, c, h, w) with what places say to each other added."""
        query, key, value = (part(grid).flatten(2) for part in (self.query, self.key, self.value))
        alike = torch.softmax(query.transpose(1, 2) @ key, 2)  # (b, place that asks, place that answers)
        heard = (value @ alike.transpose(1, 2)).unflatten(2, grid.shape[2:])
        added: Tensor = self.norm(self.out(heard))
        return grid + added


def rank_weights(count: int, power: float = 2.0) -> Tensor:
    """What the map of each class counts for, (count,), the likeliest class first.

    The authors' code has 200 classes: the first 100 weights fall from 1 to 0 and the last 100 from 0 to -1, as squares
    of evenly spaced numbers. Any number of classes is split in the same way: the first half, rounded down, falls from 1
    to 0, the last half mirrors it, and the middle one of an odd number counts for nothing. A half of one class counts
    for 1, and a single class too.
    """
    if count == 1:
        return torch.ones(1)
    first = torch.linspace(1, 0, count // 2) ** power
    return torch.cat([first, torch.zeros(count % 2), -first.flip(0)])


def ranks(logits: Tensor, classes: Tensor) -> Tensor:
    """The place (b, n, k) of each class in the order of scores, with the class asked for moved to the front.

    The paper explains the predicted class, which is in front. For another one, those likelier move back by one place.

    Args:
        logits: (b, k) class scores.
        classes: (b, n) the classes asked for.
    """
    if torch.compiler.is_exporting():  # ONNX has no sort by that name, but its own keeps equal ones in order too
        order = logits.argsort(1, descending=True)
    else:
        order = logits.argsort(stable=True, dim=1, descending=True)
    place = order.argsort(1)[:, None].expand(-1, classes.shape[1], -1)
    asked = place.gather(2, classes[:, :, None])
    return torch.where(place == asked, 0, place + (place < asked))
