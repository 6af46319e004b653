"""CAM: the classifier's weights, applied to the feature grid before pooling, show where the class is.

Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative Localization", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.head import GridClassifier
from boxless.methods.neck import Neck
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization


class CAM(Method):
    """Global average pooling and one linear layer; its weights turn the features into a map for each class.

    The paper cuts each network where its grid is about 14 x 14, adds a 3x3 convolution with 1,024 channels, and pools
    that: ``fuse=False, hidden=1024``. By default coarser stages are laid over the grid and the convolution has 256
    channels: on frozen features that was as good in less time (benchmarks/results/accuracy.json).

    Args:
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU before the pooling; 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Zhou et al.",
        "Learning Deep Features for Discriminative Localization",
        "CVPR",
        2016,
        "https://arxiv.org/abs/1512.04150",
    )
    search_space: ClassVar[Mapping[str, Space]] = {
        "hidden": Space(choices=(0, 256, 512, 1024)),
        "dropout": Space(0.0, 0.7),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.neck.channels, num_classes)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification(self.scores(batch.images), batch)}

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of images (b, 3, h, w)."""
        return self._logits(self._grid(images))

    def as_classifier(self) -> nn.Module:
        parts = [each for each in self.children() if each is not self.classifier]
        return GridClassifier(self._grid, parts, self.classifier)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grid = self._grid(images)
        logits = self._logits(grid)
        classes = asked_classes(logits, classes)
        # Equation 2 of the paper: M_c(x, y) = sum_k w_k^c f_k(x, y); the bias shifts the whole map, so it is left out.
        maps = F.conv2d(grid, self.classifier.weight[:, :, None, None])
        return Localization(logits, normalize(pick(maps, classes)), classes)

    def _grid(self, images: Tensor) -> Tensor:  # (b, 3, h, w) -> (b, c, h', w')
        grid: Tensor = self.neck(self.backbone(images).grids)
        return grid

    def _logits(self, grid: Tensor) -> Tensor:  # (b, c, h, w) -> (b, k)
        logits: Tensor = self.classifier(self.dropout(grid.mean((2, 3))))
        return logits
