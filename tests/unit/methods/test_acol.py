from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.methods.acol import ACoL
from boxless.methods.attention import attention
from boxless.types import Batch


def by_hand(pyramid: Callable[..., Backbone], **settings: float) -> ACoL:
    """One channel and two classes: the first classifier's maps are x and -x, the second's 2x and x."""
    method = ACoL(pyramid(1), 2, stride=1, fuse=False, hidden=1, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
        for part, last in ((method.first, (1.0, -1.0)), (method.second, (2.0, 1.0))):
            for layer in (0, 2):
                part[layer].weight[0, 0, 1, 1] = 1
            part[4].weight.copy_(torch.tensor(last)[:, None, None, None])
    return method


IMAGE = torch.tensor([[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]]])


def test_places_that_the_first_saw_best_are_erased_for_the_second(pyramid: Callable[..., Backbone]) -> None:
    """Class 0: the first map is x / 10, so that 8 and 10 reach .7; class 1: it is 1 - x / 10, so that 0 to 3 do."""
    method = by_hand(pyramid)
    for label, left in ((0, 21 / 9), (1, 33 / 9)):
        batch = Batch(IMAGE, torch.tensor([label]), torch.eye(2)[[label]], torch.tensor([0]))
        losses = method.losses(batch, 0.0)
        first, second = torch.tensor([[39 / 9, -39 / 9]]), torch.tensor([[2 * left, left]])
        assert losses["first"].item() == pytest.approx(F.cross_entropy(first, batch.labels).item())
        assert losses["second"].item() == pytest.approx(F.cross_entropy(second, batch.labels).item())


def test_a_map_is_the_higher_of_both_at_each_place(pyramid: Callable[..., Backbone]) -> None:
    said = by_hand(pyramid).localize(IMAGE, torch.tensor([[0, 1]]))
    # Class 0: x / 10, and of the second 2x without 8 and 10, over its maximum: x / 6.
    first = IMAGE[0, 0] / 10
    second = torch.where(IMAGE[0, 0] < 7, IMAGE[0, 0] / 6, 0)
    torch.testing.assert_close(said.maps[0, 0], torch.maximum(first, second))
    # Class 1: 1 - x / 10, and of the second x without 0 to 3, over its maximum.
    second = torch.where(IMAGE[0, 0] > 3, IMAGE[0, 0] / 10, 0)
    torch.testing.assert_close(said.maps[0, 1], torch.maximum(1 - first, second))
    torch.testing.assert_close(said.logits, torch.tensor([[39 / 9, -39 / 9]]))


@pytest.mark.parametrize("threshold", [0.7, 0.3])
def test_a_step_and_its_maps_are_those_of_wsolevaluation(
    threshold: float, pyramid: Callable[[], Backbone], peer_steps: dict[str, Any], step_cases: ModuleType
) -> None:
    expected = peer_steps["acol"][str(threshold)]
    method = ACoL(pyramid(), 4, threshold=threshold, stride=1, fuse=False, hidden=5).double()
    step_cases.fill([method.first, method.second])
    images, labels = step_cases.images(3, 12), step_cases.labels(3)
    losses = method.losses(Batch(images, labels, F.one_hot(labels, 4).double(), torch.arange(3)), 0.0)
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(expected["loss"], rel=1e-9)
    gradients = torch.autograd.grad(total, list(method.parameters()))
    assert step_cases.fingerprint(gradients) == pytest.approx(expected["gradients"], rel=1e-6)
    said = method.localize(images, labels[:, None])
    assert said.logits.flatten().tolist() == pytest.approx(expected["logits"], rel=1e-9)
    assert said.maps[:, 0, ::4, ::4].flatten().tolist() == pytest.approx(expected["maps"], abs=1e-9)


def test_of_several_classes_all_places_are_erased(pyramid: Callable[..., Backbone]) -> None:
    both = torch.tensor([[1.0, 1.0]])
    batch = Batch(IMAGE, torch.tensor([0]), both, torch.tensor([0]), multi_label=True)
    losses = by_hand(pyramid).losses(batch, 0.0)
    left = (4.0 + 5.0 + 6.0) / 9  # 0 to 3 are seen as class 1, 8 and 10 as class 0
    expected = F.binary_cross_entropy_with_logits(torch.tensor([[2 * left, left]]), both)
    assert losses["second"].item() == pytest.approx(expected.item())


def test_attention_is_the_highest_normalised_map_of_the_classes_shown_without_gradient() -> None:
    maps = torch.tensor([[[[0.0, 4.0], [2.0, 1.0]], [[8.0, 0.0], [2.0, 8.0]], [[0.0, 0.0], [9.0, 0.0]]]])
    maps = maps.expand(2, -1, -1, -1).clone().requires_grad_()
    got: Tensor = attention(maps, torch.tensor([[1, 1, 0], [0, 0, 0]]))
    assert got[0, 0].tolist() == [[1.0, 1.0], [0.5, 1.0]]
    assert got[1].abs().sum() == 0  # no class shown: nothing attended
    assert not got.requires_grad


def test_attention_is_normalised_after_it_is_brought_to_a_size() -> None:
    maps = torch.tensor([[[[0.0, 4.0]], [[9.0, 9.0]]]])
    got = attention(maps, torch.tensor([[1, 0]]), (1, 4))
    assert got.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]  # of 0, 1, 3 and 4
    within = attention(torch.tensor([[[[0.0, 4.0, 0.0, 0.0]]]]), torch.tensor([[1]]), (1, 2))
    assert within.flatten().tolist() == [1.0, 0.0]  # of 2 and 0: the 4 is gone before
