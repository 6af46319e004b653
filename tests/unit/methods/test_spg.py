from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.methods.spg import SPG, guidance, pseudo_mask
from boxless.types import Batch

NAMES = ("b2_high", "b2_low", "b1_high", "b1_low", "c_high", "c_low")
THRESHOLDS = {"default": (), "other": (0.6, 0.3, 0.52, 0.5, 0.9, 0.51)}


def ramp(top: float) -> torch.Tensor:
    """(1, 1, 5, 20) from 0 on, in a hundred steps to just below ``top``."""
    return (torch.arange(100) / 100 * top).reshape(1, 1, 5, 20)


def test_above_the_upper_threshold_is_object_and_below_the_lower_background() -> None:
    found, sure = pseudo_mask(ramp(1.0), 0.095, 0.695)
    assert found.flatten().tolist() == [i >= 70 for i in range(100)]  # 30 pixels: just enough
    assert sure.flatten().tolist() == [i < 10 or i >= 70 for i in range(100)]


def test_with_fewer_than_30_object_pixels_those_above_7_tenths_of_the_maximum_are() -> None:
    found, _ = pseudo_mask(torch.cat([ramp(1.0), ramp(0.5), ramp(1.0)]), 0.0, 0.705)
    # 29 exceed .705 in the first and third and none in the second; .7 of .99 is .693, of .495 it is .3465
    assert found[0].flatten().tolist() == [i >= 70 for i in range(100)]
    assert found[1].flatten().tolist() == [i >= 70 for i in range(100)]
    assert torch.equal(found[2], found[0])


def test_background_is_settled_last() -> None:
    """.7 of the highest is below the lower threshold."""
    found, sure = pseudo_mask(ramp(0.1), 0.085, 0.9)
    assert found.flatten().tolist() == [i >= 85 for i in range(100)]
    assert sure.all()


def test_guidance_is_the_mean_over_the_sure_pixels_of_the_batch() -> None:
    logits = torch.cat([torch.full((1, 1, 5, 20), 2.0), torch.full((1, 1, 5, 20), -1.0)])
    source = torch.cat([ramp(1.0), torch.full((1, 1, 5, 20), 0.5)])  # the second is sure of nothing: .5 < .6
    source[1, 0, 0, 0] = 0.05
    # but its only fallback, .7 of .5, makes 99 of its pixels object and 1 background
    expected = 30 * F.softplus(torch.tensor(-2.0)) + 10 * F.softplus(torch.tensor(2.0))
    expected = (expected + 99 * F.softplus(torch.tensor(1.0)) + F.softplus(torch.tensor(-1.0))) / 140
    assert guidance(logits, source, 0.095, 0.695).item() == pytest.approx(expected.item(), rel=1e-6)


def test_sure_of_nothing_costs_nothing() -> None:
    logits = torch.ones(1, 1, 4, 4, requires_grad=True)
    loss = guidance(logits, torch.zeros(1, 1, 4, 4), 0.0, 0.7)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, [logits])[0].abs().sum() == 0


@pytest.mark.parametrize("case", ["default", "other"])
def test_a_step_is_that_of_wsolevaluation(
    case: str, pyramid: Callable[[], Backbone], peer_steps: dict[str, Any], step_cases: ModuleType
) -> None:
    expected = peer_steps["spg"][case]
    settings = dict(zip(NAMES, THRESHOLDS[case], strict=False))
    method = SPG(pyramid(), 4, stride=4, fuse=False, hidden=5, guide=6, **settings).double()
    parts = [method.neck.convolution, method.classifier, method.b1, method.b2, method.shared, method.c]
    step_cases.fill(parts)
    step_cases.sharpen(method.shared[1])
    images, labels = step_cases.images(3, 224), step_cases.labels(3)
    losses = method.losses(Batch(images, labels, F.one_hot(labels, 4).double(), torch.arange(3)), 0.0)
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(expected["loss"], rel=1e-9)
    gradients = torch.autograd.grad(total, [p for part in parts for p in part.parameters()])
    assert step_cases.fingerprint(gradients) == pytest.approx(expected["gradients"], rel=1e-6)


def test_the_peers_cases_reach_object_background_and_neither(peer_steps: dict[str, Any]) -> None:
    pixels = [count for case in peer_steps["spg"].values() for count in case["pixels"]]
    assert all(counts[0] and counts[2] for counts in pixels)
    assert sum(counts[1] > 0 for counts in pixels) >= 5


def test_heads_read_the_classifiers_grid_and_the_stage_before_it(pyramid: Callable[[], Backbone]) -> None:
    for settings, taps in (
        ({"stride": 2, "fuse": True}, (0, 1, 2)),
        ({"stride": 4, "fuse": True}, (1, 2)),
        ({"stride": 1, "fuse": False}, (0, 0)),  # there is none before the first
    ):
        method = SPG(pyramid(), 2, hidden=3, guide=3, **settings)  # type: ignore[arg-type]
        assert method.backbone.taps == taps
        assert method.localize(torch.rand(1, 3, 8, 8)).maps.shape[2] == 8 // settings["stride"]


def test_a_map_is_the_classifiers_and_its_mean_the_score(pyramid: Callable[[], Backbone]) -> None:
    method = SPG(pyramid(), 2, stride=1, fuse=False, hidden=0, guide=3)
    with torch.no_grad():
        method.classifier.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])[..., None, None])
        method.classifier.bias.copy_(torch.tensor([0.5, -100.0]))
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [5.0, 2.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    said = method.localize(image, torch.tensor([[0, 1]]))
    torch.testing.assert_close(said.maps[0, 0], torch.tensor([[0.0, 0.5], [0.5, 1.0]]))
    torch.testing.assert_close(said.maps[0, 1], torch.tensor([[0.0, 0.2], [1.0, 0.4]]))
    torch.testing.assert_close(said.logits, torch.tensor([[2.5, -96.0]]))


def test_a_lower_threshold_above_its_upper_one_is_refused(pyramid: Callable[[], Backbone]) -> None:
    with pytest.raises(ConfigError, match=r"method.b1_low: 0.6 exceeds method.b1_high, 0.5"):
        SPG(pyramid(), 2, stride=1, b1_low=0.6)
