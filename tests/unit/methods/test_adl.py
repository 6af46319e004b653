from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.methods.adl import ADL, AttentionDropout
from boxless.types import Batch


def test_the_strongest_places_of_each_image_are_dropped() -> None:
    grid = torch.tensor([[[[1.0, 9.0], [2.0, 7.0]], [[3.0, 9.0], [2.0, 13.0]]], [[[1.0, 0.0], [0.0, 0.0]]] * 2])
    # Attention 2, 9; 2, 10 and 1, 0; 0, 0: at least 9 goes from the first, at least .9 from the second.
    dropped = AttentionDropout(1.0, 0.9).train()(grid)
    assert dropped[0].tolist() == [[[1.0, 0.0], [2.0, 0.0]], [[3.0, 0.0], [2.0, 0.0]]]
    assert dropped[1].abs().sum() == 0


def test_else_places_are_weighted_by_the_sigmoid_of_their_attention() -> None:
    grid = torch.tensor([[[[1.0, -1.0]], [[3.0, 1.0]]]])
    weights = torch.tensor([0.8807971, 0.5])  # sigmoid of 2 and of 0
    torch.testing.assert_close(AttentionDropout(0.0, 0.9).train()(grid), grid * weights)


def test_one_draw_decides_for_the_batch_and_drops_at_the_drop_rate() -> None:
    layer, grid = AttentionDropout(0.75, 0.9).train(), torch.rand(4, 2, 3, 3) + 0.1
    torch.manual_seed(0)
    dropped = [(layer(grid).amin((1, 2, 3)) == 0).tolist() for _ in range(400)]
    assert {sum(each) for each in dropped} == {0, 4}
    assert sum(each[0] for each in dropped) / 400 == pytest.approx(0.75, abs=0.06)


def test_in_evaluation_it_gives_what_it_takes() -> None:
    grid = torch.rand(1, 2, 3, 3)
    assert AttentionDropout(1.0, 0.0).eval()(grid) is grid


@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_the_layer_and_its_gradient_are_those_of_wsolevaluation(
    rate: float, peer_steps: dict[str, Any], step_cases: ModuleType
) -> None:
    expected = peer_steps["adl"][str(rate)]
    grid = step_cases.images(2, 6).requires_grad_()
    after = AttentionDropout(rate, 0.9).train()(grid)
    (gradient,) = torch.autograd.grad(after.square().sum(), [grid])
    assert after[:, 0].flatten().tolist() == pytest.approx(expected["after"], abs=1e-12)
    assert step_cases.fingerprint([gradient]) == pytest.approx(expected["gradient"], rel=1e-9)


def layer_by_hand(grid: Tensor, drop_rate: float) -> Tensor:
    """Loops over images and places, with the draw of the layer."""
    drops = torch.rand(()).item() < drop_rate
    images = []
    for image in grid:
        attention = [[image[:, y, x].sum() / len(image) for x in range(image.shape[2])] for y in range(image.shape[1])]
        highest = max(max(row) for row in attention)
        rows = []
        for y, row in enumerate(attention):
            factors = [float(a < 0.9 * highest) if drops else 1 / (1 + torch.exp(-a)) for a in row]
            rows.append(torch.stack([image[:, y, x] * factor for x, factor in enumerate(factors)], 1))
        images.append(torch.stack(rows, 1))
    return torch.stack(images)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_one_step_is_the_one_worked_out_by_hand(
    seed: int,
    pyramid: Callable[[], Backbone],
    some_batch: Callable[..., Batch],
    descend: Callable[[ADL, Batch], dict[str, float]],
) -> None:
    """Two layers: behind the finest grid, and behind its 2 x 2 means, that the classifier reads."""
    batch = some_batch()
    method = ADL(pyramid(), 4, drop_rate=0.5, stages=(0, 1), stride=2, fuse=False, hidden=0)
    weight = method.classifier.weight.detach().clone().requires_grad_()
    bias = method.classifier.bias.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    loss = descend(method, batch)["classification"]
    torch.manual_seed(seed)
    fine = layer_by_hand(batch.images, 0.5)
    coarse = torch.stack([fine[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]).mean(0)
    expected = F.cross_entropy(layer_by_hand(coarse, 0.5).mean((2, 3)) @ weight.T + bias, batch.labels)
    by_weight, by_bias = torch.autograd.grad(expected, [weight, bias])
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(method.classifier.weight, weight - by_weight)
    torch.testing.assert_close(method.classifier.bias, bias - by_bias)


def test_layers_are_by_default_behind_what_is_read_and_the_stage_before(pyramid: Callable[[], Backbone]) -> None:
    for settings, places in (
        ({"stride": 2, "fuse": True}, [0, 1, 2]),
        ({"stride": 4, "fuse": True}, [1, 2]),
        ({"stride": 1, "fuse": False}, [0]),
        ({"stride": 1, "stages": (-1,)}, [2]),
    ):
        backbone = pyramid()
        ADL(backbone, 2, **settings)  # type: ignore[arg-type]
        assert backbone._places == places


def test_on_a_frozen_network_it_drops_in_training_only() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("test_resnet", weights="random", image_size=64)
    backbone.freeze()
    method, images = ADL(backbone, 3, drop_rate=1.0), torch.rand(2, 3, 64, 64)
    plain = method.eval().backbone(images).grids
    dropped = method.train().backbone(images).grids
    again = method.eval().backbone(images).grids
    for before, within, after in zip(plain, dropped, again, strict=True):
        assert torch.equal(before, after)
        assert not torch.equal(before, within)
        assert (within == 0).all(1).flatten(1).any(1).all()  # whole places, in each image
