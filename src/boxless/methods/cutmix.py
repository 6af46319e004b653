"""CutMix: a rectangle of each training image comes from another one, and the labels are mixed as the areas are.

Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features", ICCV 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.distributions import Beta

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Needs, Paper, Space
from boxless.methods.cam import CAM
from boxless.types import Batch


@final
class CutMix(CAM):
    """CAM's network, trained on pairs of images of the same batch, cut together.

    Args:
        beta: Both parameters of the Beta distribution that the kept part of an image is drawn from; the paper's 1 draws
            it uniformly.
        probability: Probability that a batch is mixed at all; 1 in wsolevaluation, too.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU before the pooling; 0 puts none.
        dropout: Probability of dropping a pooled feature in training.
    """

    paper = Paper(
        "Yun et al.",
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        "ICCV",
        2019,
        "https://arxiv.org/abs/1905.04899",
    )
    needs = Needs(own_forward=True)
    # Not in the thesis' table 4.4; the range of beta goes from almost whole images to almost always halves.
    search_space: ClassVar[Mapping[str, Space]] = {
        "beta": Space(0.1, 10.0, log=True),
        "probability": Space(0.0, 1.0),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        beta: Annotated[float, Gt(0)] = 1.0,
        probability: Annotated[float, Ge(0), Le(1)] = 1.0,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout)
        self.beta, self.probability = beta, probability

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        # One draw for the batch, as in the authors' code: all images exchange the same rectangle.
        if not self.training or torch.rand(()) >= self.probability:
            return super().losses(batch, progress)
        height, width = batch.images.shape[2:]
        top, left, bottom, right = rectangle(height, width, float(Beta(self.beta, self.beta).sample()))
        order = torch.randperm(len(batch.images)).to(batch.images.device)
        images = batch.images.clone()
        images[..., top:bottom, left:right] = batch.images[order, :, top:bottom, left:right]
        other = replace(batch, labels=batch.labels[order], targets=batch.targets[order])
        # The share of the image that is left after the rectangle was cut at the edges, not the share that was drawn.
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        scores = self.scores(images)
        mixed = kept * classification(scores, batch) + (1 - kept) * classification(scores, other)
        return {"classification": mixed}


def rectangle(height: int, width: int, kept: float) -> tuple[int, int, int, int]:
    """A random rectangle (top, left, bottom, right), half-open, of the image's shape: equation 3 of the paper.

    It covers the part ``1 - kept`` of the image when its centre, drawn uniformly, is far enough from the edges; else it
    is cut there. Half sides are rounded down, as in the authors' code.
    """
    share = math.sqrt(1 - kept)
    half_height, half_width = int(height * share) // 2, int(width * share) // 2
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, left = max(row - half_height, 0), max(column - half_width, 0)
    return top, left, min(row + half_height, height), min(column + half_width, width)
