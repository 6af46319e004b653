"""Pseudo-masks from the maps that a classifier gives of the image's class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boxless.backbones.build import build_backbone
from boxless.pseudo.annotators import Material
from boxless.pseudo.masks import class_masks
from boxless.pseudo.teacher import Teacher
from boxless.types import Localization


@dataclass
class Known:
    """A method whose maps are known by hand."""

    maps: Tensor  # (b, k, h, w)

    def localize(self, images: Tensor, classes: Tensor) -> Localization:
        rows = torch.arange(len(images))[:, None]
        return Localization(torch.zeros(len(images), self.maps.shape[1]), self.maps[rows, classes], classes)


def material(maps: Tensor) -> Material:
    known: Any = Known(maps)
    return Material(nn.Module(), Teacher(nn.Identity(), lambda images: images, known), maps.shape[1])  # type: ignore[arg-type]


def test_all_of_the_foreground_is_in_the_mask_of_the_images_class() -> None:
    maps = torch.full((3, 2, 8, 8), 0.1)
    maps[0, 1, 1:3, 1:4] = 0.9
    maps[0, 1, 6, 5:8] = 0.8  # a second region
    maps[0, 0, :, 7] = 1.0  # of the other class
    maps[1, 1, :, :4] = 0.7
    wanted = maps[:, 1] > 0.5
    found = class_masks(torch.zeros(3, 3, 8, 8), torch.tensor([1, 1, 1]), material(maps))
    assert torch.from_numpy(found)[:2].equal(wanted[:2])
    assert not found[2].any()  # a flat map shows no place


def test_masks_have_the_size_of_images_and_are_empty_for_absent_classes() -> None:
    maps = torch.zeros(2, 2, 4, 4)
    maps[:, :, :, :2] = 1.0
    found = class_masks(torch.zeros(2, 3, 16, 16), torch.tensor([0, 1]), material(maps), absent=(0,))
    assert found.shape == (2, 16, 16)
    assert not found[0].any()
    assert found[1, :, :7].all()
    assert not found[1, :, 10:].any()


@pytest.mark.usefixtures("_seeded")
def test_a_network_without_a_localizer_is_seen_by_its_gradient() -> None:
    grid = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    network = nn.Sequential(grid, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    backbone = build_backbone("resnet18", weights="random", image_size=32)
    given = Material(backbone, Teacher(network, lambda images: images), 2)
    found = class_masks(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), given)
    assert found.shape == (2, 32, 32)
    assert 0 < found.mean() < 1


@pytest.fixture
def _seeded() -> None:
    torch.manual_seed(0)
