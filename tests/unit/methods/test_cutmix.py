from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from boxless.backbones.base import Backbone
from boxless.methods.cutmix import CutMix, rectangle
from boxless.types import Batch


@pytest.mark.parametrize(
    ("kept", "centre", "expected"),
    [
        (0.75, (4, 8), (2, 4, 6, 12)),  # half of each side of 8 x 16
        (0.75, (0, 15), (0, 11, 2, 16)),  # cut at the upper right corner
        (0.6, (4, 8), (2, 3, 6, 13)),  # sides 5.06 and 10.1, halves rounded down
        (1.0, (3, 3), (3, 3, 3, 3)),  # nothing
        (0.0, (4, 8), (0, 0, 8, 16)),
    ],
)
def test_a_rectangle_has_the_images_shape_and_is_cut_at_the_edges(
    kept: float,
    centre: tuple[int, int],
    expected: tuple[int, int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = iter(centre)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(next(draws)))
    assert rectangle(8, 16, kept) == expected


def step_by_hand(
    batch: Batch, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor, float]:
    """The loss, its gradients and the kept share, by loops over pixels and classes, with the draws of the method."""
    torch.rand(())
    drawn = float(torch.distributions.Beta(1.0, 1.0).sample())
    side = int(8 * (1 - drawn) ** 0.5)
    row, column = int(torch.randint(8, ())), int(torch.randint(8, ()))
    order = torch.randperm(3)
    pooled, exchanged = torch.zeros(3, 3), 0
    for image in range(3):
        exchanged = 0
        for y in range(8):
            for x in range(8):
                inside = row - side // 2 <= y < row + side // 2 and column - side // 2 <= x < column + side // 2
                exchanged += inside
                pooled[image] += batch.images[order[image] if inside else image, :, y, x] / 64
    kept = 1 - exchanged / 64
    loss, by_weight, by_bias = 0.0, torch.zeros(4, 3), torch.zeros(4)
    for image in range(3):
        logits = weight @ pooled[image] + bias
        for share, owner in ((kept, image), (1 - kept, int(order[image]))):
            if batch.multi_label:
                said = logits.sigmoid()
                right = torch.where(batch.targets[owner] > 0, said, 1 - said)
                loss -= share * right.log().sum().item() / 12
                slope = share * (said - batch.targets[owner]) / 12
            else:
                said = logits.softmax(0)
                loss -= share * said[batch.labels[owner]].log().item() / 3
                slope = share * (said - torch.eye(4)[batch.labels[owner]]) / 3
            by_weight, by_bias = by_weight + slope[:, None] * pooled[image], by_bias + slope
    return loss, by_weight, by_bias, kept


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_step_is_the_one_worked_out_by_hand(
    seed: int,
    several: bool,
    pyramid: Callable[[], Backbone],
    some_batch: Callable[..., Batch],
    descend: Callable[[CutMix, Batch], dict[str, float]],
) -> None:
    batch = some_batch(several=several)
    torch.manual_seed(2)
    method = CutMix(pyramid(), 4, stride=1, fuse=False, hidden=0)
    weight, bias = method.classifier.weight.detach().clone(), method.classifier.bias.detach().clone()
    torch.manual_seed(seed)
    loss = descend(method, batch)["classification"]
    torch.manual_seed(seed)
    expected, by_weight, by_bias, kept = step_by_hand(batch, weight, bias)
    assert 0 < kept < 1
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(method.classifier.weight.detach(), weight - by_weight)
    torch.testing.assert_close(method.classifier.bias.detach(), bias - by_bias)
    assert torch.equal(batch.images, some_batch().images)  # the caller's images are not written to


def test_the_probability_is_that_of_mixing_a_batch(
    pyramid: Callable[[], Backbone], some_batch: Callable[..., Batch]
) -> None:
    method = CutMix(pyramid(), 4, stride=1, probability=0.3).train()
    batch, mixed = some_batch(), 0
    torch.manual_seed(0)
    for _ in range(200):
        method.losses(batch, 0.0)
        mixed += method.backbone.seen is not batch.images
    assert mixed / 200 == pytest.approx(0.3, abs=0.08)


def test_nothing_is_mixed_when_not_training(pyramid: Callable[[], Backbone], some_batch: Callable[..., Batch]) -> None:
    method, batch = CutMix(pyramid(), 4, stride=1).eval(), some_batch()
    state = torch.get_rng_state()
    method.losses(batch, 0.0)
    assert method.backbone.seen is batch.images
    assert torch.equal(torch.get_rng_state(), state)
