"""CAM: the classifier's weights, applied to the feature grid before pooling, show where the class is.

Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative Localization", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch.nn.functional as F
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization


@final
class CAM(Method):
    """Global average pooling and one linear layer; its weights turn the features into a map for each class.

    Args:
        stage: Backbone stage whose grid is read; -1 is the last. A finer stage gives finer maps from weaker features.
        hidden: Channels of a 3x3 convolution with ReLU between the backbone and the pooling, which the paper puts on
            networks that end in fully connected layers ("conv6", 1024 channels); 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Zhou et al.",
        "Learning Deep Features for Discriminative Localization",
        "CVPR",
        2016,
        "https://arxiv.org/abs/1512.04150",
    )
    search_space: ClassVar[Mapping[str, Space]] = {"hidden": Space(choices=(0, 256, 512, 1024))}

    def __init__(
        self, backbone: Backbone, num_classes: int, *, stage: int = -1, hidden: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__(backbone, num_classes)
        (tapped,) = backbone.tap(stage)
        channels = hidden or tapped.channels
        self.neck: nn.Module = (
            nn.Sequential(nn.Conv2d(tapped.channels, hidden, 3, padding=1), nn.ReLU()) if hidden else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification(self._logits(self._grid(batch.images)), batch)}

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grid = self._grid(images)
        logits = self._logits(grid)
        classes = asked_classes(logits, classes)
        # Equation 2 of the paper: M_c(x, y) = sum_k w_k^c f_k(x, y); the bias shifts the whole map, so it is left out.
        maps = F.conv2d(grid, self.classifier.weight[:, :, None, None])
        return Localization(logits, normalize(pick(maps, classes)), classes)

    def _grid(self, images: Tensor) -> Tensor:  # (b, 3, h, w) -> (b, c, h', w')
        grid: Tensor = self.neck(self.backbone(images).grid)
        return grid

    def _logits(self, grid: Tensor) -> Tensor:  # (b, c, h, w) -> (b, k)
        logits: Tensor = self.classifier(self.dropout(grid.mean((2, 3))))
        return logits
