from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from boxless.backbones.base import Backbone, Stage
from boxless.errors import ConfigError
from boxless.methods.cam import CAM
from boxless.types import Batch, Features


class Identity(Backbone):
    """The image itself is the fine grid, its 2 x 2 means the coarse one."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = (Stage("fine", 3, 1), Stage("coarse", 3, 2), Stage("coarse again", 3, 2))
        self.prefix_tokens, self.licence = 0, "none"
        self.mean = self.std = (0.0, 0.0, 0.0)
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def extract(self, images: Tensor) -> Features:
        coarse = torch.nn.functional.avg_pool2d(images, 2)
        return Features(tuple((images, coarse, coarse * 9)[tap] for tap in self.taps))


def cam_by_hand(**settings: object) -> CAM:
    method = CAM(Identity(), 2, stride=1, fuse=False, hidden=0, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        method.classifier.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]]))
        method.classifier.bias.copy_(torch.tensor([0.5, -100.0]))
    return method.eval()


def test_the_map_is_the_weighted_sum_of_features_less_the_bias() -> None:
    """Equation 2 of the paper on a 2 x 2 image of 3 channels."""
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [5.0, 2.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    said = cam_by_hand().localize(image, torch.tensor([[0, 1]]))
    # class 0: red - blue = [[0, 2], [2, 4]]; class 1: 2 green = [[0, 2], [10, 4]]; then to [0, 1]
    torch.testing.assert_close(said.maps[0, 0], torch.tensor([[0.0, 0.5], [0.5, 1.0]]))
    torch.testing.assert_close(said.maps[0, 1], torch.tensor([[0.0, 0.2], [1.0, 0.4]]))
    # logits: the mean of the unnormalised map plus the bias: 2 + 0.5, 4 - 100
    torch.testing.assert_close(said.logits, torch.tensor([[2.5, -96.0]]))


def test_the_loss_is_the_cross_entropy_of_the_pooled_scores() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [5.0, 2.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    batch = Batch(image, torch.tensor([1]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    loss = cam_by_hand().losses(batch, 0.0)["classification"]
    assert loss.item() == pytest.approx(98.5)  # log(1 + exp(2.5 + 96))


def test_several_labels_are_learnt_as_independent_yes_or_no() -> None:
    image = torch.zeros(1, 3, 2, 2)
    batch = Batch(image, torch.tensor([0]), torch.tensor([[1.0, 1.0]]), torch.tensor([0]), multi_label=True)
    method = cam_by_hand()
    with torch.no_grad():
        method.classifier.bias.zero_()
    loss = method.losses(batch, 0.0)["classification"]
    assert loss.item() == pytest.approx(0.6931472)  # both at probability 1/2: log 2


def test_a_constant_map_is_all_zeros() -> None:
    said = cam_by_hand().localize(torch.ones(1, 3, 4, 4), torch.tensor([[0]]))
    assert said.maps.abs().sum() == 0


def test_fused_stages_are_the_finest_and_the_first_of_each_coarser_stride() -> None:
    method = CAM(Identity(), 2, stride=1, fuse=True, hidden=0).eval()
    assert method.neck.channels == 6
    image = torch.rand(1, 3, 4, 4)
    grid = method.neck(method.backbone(image).grids)
    torch.testing.assert_close(grid[:, :3], image)
    torch.testing.assert_close(grid[:, 3:].mean((2, 3)), image.mean((2, 3)))  # the plain coarse stage, not 9 times it


def test_a_coarser_grid_is_read_on_request() -> None:
    method = CAM(Identity(), 2, stride=2, fuse=False, hidden=0).eval()
    assert method.localize(torch.rand(1, 3, 4, 4)).maps.shape == (1, 1, 2, 2)


def test_a_stride_that_no_stage_has_is_refused() -> None:
    @dataclass
    class Coarse:
        stages: tuple[Stage, ...] = (Stage("only", 3, 16),)

    with pytest.raises(ConfigError, match=r"stride: 8 is finer .* it has 16"):
        CAM(Coarse(), 2, stride=8)  # type: ignore[arg-type]
