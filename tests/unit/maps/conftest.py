"""Networks small enough that each of their numbers can be worked out."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

CLASSES = 5


class Toy(nn.Module):
    """A grid of stride 2 with two channels that are not changed on the way, average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.AvgPool2d(2)
        self.act = nn.ReLU(inplace=True)
        self.square = Square()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 3.0]]))
            self.fc.bias.copy_(torch.tensor([0.25, -0.5]))

    def forward(self, images: Tensor) -> Tensor:
        grid = self.square(self.act(self.stage(images)))
        return self.fc(self.dropout(grid.mean((2, 3))))


class Square(nn.Module):
    """So that the gradient before it is another one in each place."""

    def forward(self, grid: Tensor) -> Tensor:
        return grid * grid / 2


@pytest.fixture
def toy() -> Toy:
    return Toy().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def networks() -> dict[str, Any]:
    """One of each family, as timm makes them, with weights drawn at random."""
    torch.manual_seed(0)
    return {
        "resnet": ResNet(BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, channels=(4, 6, 8, 12)).eval(),
        "vit": timm.create_model("test_vit", num_classes=CLASSES, img_size=(64, 96)).eval(),
    }
