"""The classifier that several methods put on a grid: its last layer gives a map for each class."""

from __future__ import annotations

from torch import nn


def class_maps(channels: int, hidden: int, classes: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU and a 1x1 convolution: a grid (b, channels, h, w) to maps (b, classes, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, classes, 1),
    )
