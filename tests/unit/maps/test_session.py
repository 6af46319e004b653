"""What is kept of a pass, and what a network may do that makes a map impossible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps import extract
from boxless.maps.session import Session


def test_the_gradient_is_that_of_an_ordinary_backward_pass(toy: nn.Module) -> None:
    images = torch.rand(2, 3, 4, 6)
    with Session(toy, ["stage", "square"], gradients=True) as session:
        logits = session.forward(images)
        early, late = session.gradients(logits[:, 0].sum())
        kept = session.kept()
    grid = nn.functional.avg_pool2d(images, 2).requires_grad_()
    squared = grid * grid / 2
    squared.retain_grad()
    toy.fc(squared.mean((2, 3)))[:, 0].sum().backward()
    torch.testing.assert_close(early, grid.grad)
    torch.testing.assert_close(late, squared.grad)
    torch.testing.assert_close(kept[0], grid.detach())
    assert not any(each.requires_grad for each in kept)


def test_an_operation_in_place_after_a_layer_does_not_change_what_is_kept(toy: nn.Module) -> None:
    images = torch.randn(2, 3, 4, 6)
    for gradients in (True, False):
        with Session(toy, ["stage"], gradients=gradients) as session:
            session.forward(images)
            assert torch.equal(session.kept()[0], nn.functional.avg_pool2d(images, 2))
    assert nn.functional.avg_pool2d(images, 2).min() < 0  # so that the ReLU in place would have changed it


class Odd(nn.Module):
    """Does what its name says."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.stage = nn.Conv2d(3, 4, 3, 2, 1)
        self.same = nn.Identity()
        self.spare = nn.Identity()
        self.pair = Pair()
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Any:
        grid = self.stage(images)
        if self.what == "twice":
            grid = self.same(self.same(grid))
        if self.what == "pair":
            grid = self.pair(grid)[0]
        if self.what == "detached":
            grid = self.same(grid).detach()
        if self.what == "grid":
            return grid
        scores = self.head(grid.mean((2, 3)))
        return (scores, scores) if self.what == "tuple" else scores


class Pair(nn.Module):
    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        return grid, grid


def extract_gradient(network: nn.Module, layer: str) -> tuple[Tensor, ...]:
    with Session(network, [layer], gradients=True) as session:
        return session.gradients(session.forward(torch.rand(2, 3, 8, 8)).sum())


@pytest.mark.parametrize(
    ("what", "layer", "message"),
    [
        ("twice", "same", "runs it several times"),
        ("pair", "pair", "puts out tuple and not one tensor"),
        ("plain", "spare", "it is not run when the model classifies"),
        ("detached", "same", "the class score has no gradient there.*such as scorecam"),
        ("grid", "stage", r"gives shape \(2, 4, 4, 4\) and not class scores"),
        ("tuple", "stage", "gives tuple and not class scores"),
    ],
)
def test_what_makes_a_map_impossible_is_said(what: str, layer: str, message: str) -> None:
    network = Odd(what)
    with pytest.raises(ConfigError, match=message):
        extract_gradient(network, layer)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_that_cuts_its_gradient_has_maps_of_scores_alone() -> None:
    network, images = Odd("detached").eval(), torch.rand(2, 3, 8, 8)
    for name in ("gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam"):
        with pytest.raises(ConfigError, match=r"layer stage: the class score has no gradient there.*such as scorecam"):
            extract(name, network, images, layers="stage")
    assert extract("scorecam", network, images, layers="stage").maps.shape == (2, 4, 4)


def test_a_network_in_training_mode_is_read_in_evaluation_mode(toy: nn.Module) -> None:
    images = torch.rand(2, 3, 4, 6)
    expected = toy(images)
    with Session(toy.train(), ["stage"]) as session:
        torch.testing.assert_close(session.forward(images), expected)
        assert not toy.training
    assert toy.training
    assert toy.dropout.training
