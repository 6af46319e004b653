"""ACoL: a second classifier learns from what is left when the places that the first one saw best are erased.

Zhang, Wei, Feng, Yang and Huang, "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR
2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Le
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.attention import attention
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.head import class_maps
from boxless.methods.neck import Neck
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization


@final
class ACoL(Method):
    """Two classifiers of the same shape on one grid of features; a map is the higher of their maps at each place.

    Each is two 3x3 convolutions with ReLU and a 1x1 convolution to one map for each class, whose mean is the class's
    score. The class scores that are given are those of the first, as in the authors' code.

    Args:
        threshold: Places where the first classifier's map of the image's class, scaled to [0, 1], is at least this are
            erased for the second. The default is that of wsolevaluation.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolutions. The paper has 1,024; 256 are this package's default for every such
            convolution, which on frozen features was as good in less time (benchmarks/results/accuracy.json).
    """

    paper = Paper(
        "Zhang et al.",
        "Adversarial Complementary Learning for Weakly Supervised Object Localization",
        "CVPR",
        2018,
        "https://arxiv.org/abs/1804.06962",
    )
    search_space: ClassVar[Mapping[str, Space]] = {"threshold": Space(0.0, 1.0)}

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        threshold: Annotated[float, Ge(0), Le(1)] = 0.7,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(1)] = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.threshold = threshold
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0)
        self.first = class_maps(self.neck.channels, hidden, num_classes)
        self.second = class_maps(self.neck.channels, hidden, num_classes)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        grid = self.neck(self.backbone(batch.images).grids)
        first = self.first(grid)
        second = self._complement(grid, first, batch.targets)
        return {
            "first": classification(first.mean((2, 3)), batch),
            "second": classification(second.mean((2, 3)), batch),
        }

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grid = self.neck(self.backbone(images).grids)
        first = self.first(grid)
        logits = first.mean((2, 3))
        classes = asked_classes(logits, classes)
        fused = []
        for column in classes.unbind(1):  # what is erased depends on the class
            seen = normalize(pick(first, column[:, None]))
            second = normalize(pick(self._erased(grid, seen), column[:, None]))
            fused.append(torch.maximum(seen, second))  # as the paper fuses them
        return Localization(logits, torch.cat(fused, 1), classes)

    def _complement(self, grid: Tensor, first: Tensor, targets: Tensor) -> Tensor:
        """The second classifier's maps (b, k, h, w) of the grid without what the first one saw of these classes."""
        return self._erased(grid, attention(first, targets))

    def _erased(self, grid: Tensor, seen: Tensor) -> Tensor:
        maps: Tensor = self.second(grid * (seen < self.threshold))
        return maps
