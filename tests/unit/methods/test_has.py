from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.methods.has import HaS, hide, side_of
from boxless.types import Batch


def hidden_by_hand(images: Tensor, kept: Tensor, patch: int) -> Tensor:
    result = images.clone()
    for image in range(len(images)):
        for row in range(images.shape[2]):
            for column in range(images.shape[3]):
                if not kept[image, row // patch][column // patch]:
                    result[image, :, row, column] = 0
    return result


def test_squares_are_hidden_in_each_image_by_its_own_draws() -> None:
    images = torch.rand(2, 3, 5, 8) + 1  # 5 rows: the lower squares are cut
    torch.manual_seed(4)
    got = hide(images, 3, 0.4)
    torch.manual_seed(4)
    kept = torch.rand(2, 1, 2, 3)[:, 0] >= 0.4
    assert 0 < kept.sum() < kept.numel()
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(got, hidden_by_hand(images, kept, 3))


@pytest.mark.parametrize(("rate", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_drop_rate_of_0_hides_nothing_and_of_1_all(rate: float, left: float) -> None:
    assert torch.equal(hide(torch.ones(2, 3, 6, 6), 2, rate), torch.full((2, 3, 6, 6), left))


def test_about_the_drop_rate_of_the_squares_is_hidden() -> None:
    torch.manual_seed(0)
    assert hide(torch.ones(10, 1, 64, 64), 2, 0.3).mean().item() == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("several", [False, True])
def test_one_step_is_the_one_worked_out_by_hand(
    several: bool,
    pyramid: Callable[[], Backbone],
    some_batch: Callable[..., Batch],
    descend: Callable[[HaS, Batch], dict[str, float]],
) -> None:
    batch, before = some_batch(several=several), some_batch().images
    torch.manual_seed(2)
    method = HaS(pyramid(), 4, patch=4, drop_rate=0.5, stride=1, fuse=False, hidden=0)
    weight, bias = method.classifier.weight.detach().clone(), method.classifier.bias.detach().clone()
    torch.manual_seed(7)
    loss = descend(method, batch)["classification"]

    torch.manual_seed(7)
    kept = torch.rand(3, 1, 2, 2)[:, 0] >= 0.5
    pooled = hidden_by_hand(batch.images, kept, 4).mean((2, 3))
    expected, by_weight, by_bias = 0.0, torch.zeros(4, 3), torch.zeros(4)
    for image in range(3):
        logits = weight @ pooled[image] + bias
        if several:
            expected -= sum(
                (logits[k] if batch.targets[image, k] else -logits[k]).sigmoid().log().item() / 12 for k in range(4)
            )
            slope = (logits.sigmoid() - batch.targets[image]) / 12
        else:
            expected -= logits.softmax(0)[batch.labels[image]].log().item() / 3
            slope = (logits.softmax(0) - batch.targets[image]) / 3
        by_weight, by_bias = by_weight + slope[:, None] * pooled[image], by_bias + slope
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(method.classifier.weight.detach(), weight - by_weight)
    torch.testing.assert_close(method.classifier.bias.detach(), bias - by_bias)
    assert torch.equal(batch.images, before)  # the caller's images are not written to


def test_nothing_is_hidden_when_not_training(pyramid: Callable[[], Backbone], some_batch: Callable[..., Batch]) -> None:
    method = HaS(pyramid(), 4, stride=1, drop_rate=1.0).eval()
    batch = some_batch()
    method.losses(batch, 0.0)
    assert torch.equal(method.backbone.seen, batch.images)
    method.train().losses(batch, 0.0)
    assert method.backbone.seen.abs().sum() == 0


@pytest.mark.parametrize(("area", "side"), [(0.0, 1), (0.0625, 4), (0.25, 8), (1.0, 16)])
def test_an_area_is_a_part_of_the_image_whatever_its_size(area: float, side: int) -> None:
    assert side_of(area, torch.empty(1, 3, 16, 16)) == side
    assert side_of(area, torch.empty(1, 3, 160, 160)) == (10 * side if area else 1)
