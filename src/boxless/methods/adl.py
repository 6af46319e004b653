"""ADL: inside the network, features are dropped where they are strongest, or else weighted by how strong they are.

Choe and Shim, "Attention-Based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.methods.base import Needs, Paper, Space
from boxless.methods.cam import CAM


@final
class ADL(CAM):
    """CAM's network with attention-based dropout layers between its stages in training.

    On a frozen backbone the layers still change what the classifier learns from, but the backbone cannot answer.

    Args:
        drop_rate: Probability that a layer drops the strongest places of a batch; else it weighs all places. The
            paper's is 0.75.
        threshold: Places whose attention reaches this part of the image's highest are the strongest. The default is
            that of wsolevaluation.
        stages: Stages of the backbone behind which a layer is put; negative ones count from the end. By default those
            that the classifier reads and the one before them; the paper's are in the last blocks of each network.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU before the pooling; 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Choe and Shim",
        "Attention-Based Dropout Layer for Weakly Supervised Object Localization",
        "CVPR",
        2019,
        "https://arxiv.org/abs/1908.10028",
    )
    needs = Needs(own_forward=True)
    search_space: ClassVar[Mapping[str, Space]] = {"drop_rate": Space(0.0, 1.0), "threshold": Space(0.0, 1.0)}

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        drop_rate: Annotated[float, Ge(0), Le(1)] = 0.75,
        threshold: Annotated[float, Ge(0), Le(1)] = 0.9,
        stages: tuple[int, ...] | None = None,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout)
        if stages is None:
            read = backbone.taps
            stages = tuple(sorted({max(min(read) - 1, 0), *read}))
        for stage in stages:
            backbone.insert(stage, AttentionDropout(drop_rate, threshold))


class AttentionDropout(nn.Module):
    """The layer: it keeps shape and scale, has no weights, and does nothing in evaluation.

    Attention is the mean over channels (section 3.1 of the paper). What is kept is not scaled up.

    Args:
        drop_rate: Probability of dropping, drawn once for the batch; else features are weighted.
        threshold: Places with at least this part of their image's highest attention are dropped.
    """

    def __init__(self, drop_rate: float, threshold: float) -> None:
        super().__init__()
        self.drop_rate, self.threshold = drop_rate, threshold

    def forward(self, grid: Tensor) -> Tensor:
        """The grid (b, c, h, w) with places dropped or weighted."""
        if not self.training:
            return grid
        attention = grid.mean(1, keepdim=True)
        if torch.rand(()) >= self.drop_rate:
            return grid * attention.sigmoid()
        return grid * (attention < self.threshold * attention.amax((2, 3), keepdim=True))
