from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.losses.size import barrier_steepness, log_barrier, size_loss


def both(objects: Tensor) -> Tensor:
    """Probabilities (b, 2, h, w) of background and object, from those of the object (b, h, w)."""
    return torch.stack([1 - objects, objects], 1)


LN2 = math.log(2)


@pytest.mark.parametrize(
    ("value", "t", "expected", "slope"),
    [
        (-4.0, 1.0, -2 * LN2, 1 / 4),
        (-1.0, 1.0, 0.0, 1.0),  # where curve and tangent meet
        (-0.5, 1.0, 0.5, 1.0),
        (-4.0, 2.0, -LN2, 1 / 8),
        (-0.25, 2.0, LN2, 2.0),
        (0.0, 2.0, LN2 + 0.5, 2.0),
        (3.0, 2.0, LN2 + 6.5, 2.0),
        (-8.0, 0.5, -6 * LN2, 1 / 4),
        (0.0, 0.5, -4 * LN2 + 2, 0.5),
        (-10_000.0, 1.0, -9.2103, 1e-4),
        (-10_000.0, 10.0, -0.92103, 1e-5),
    ],
)
def test_the_barrier_and_its_slope_are_those_worked_by_hand(
    value: float, t: float, expected: float, slope: float
) -> None:
    given = torch.tensor(value, requires_grad=True)
    barrier = log_barrier(given, t)
    barrier.backward()
    assert barrier.item() == pytest.approx(expected, abs=1e-4)
    assert given.grad is not None
    assert given.grad.item() == pytest.approx(slope)


def test_gradients_agree_with_differences_on_both_sides_of_the_joint() -> None:
    values = torch.tensor([-9.0, -1.0, -0.3, -0.2, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: log_barrier(given, 2.0), values)
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    for unit in ("pixels", "fraction"):
        assert torch.autograd.gradcheck(lambda given, unit=unit: size_loss(both(given), 1.5, unit=unit), maps)


def test_the_loss_is_half_of_both_barriers_averaged_over_images() -> None:
    # Of four pixels the object has 1 and 2, the background 3 and 2.
    maps = torch.tensor([[[0.25, 0.25], [0.25, 0.25]], [[1.0, 1.0], [0.0, 0.0]]])
    first, second = -(math.log(3) + math.log(1)) / 2, -math.log(2)
    assert size_loss(both(maps), 1.0).item() == pytest.approx((first + second) / 2)
    assert size_loss(both(maps), 2.0).item() == pytest.approx((first + second) / 4)


def test_an_empty_map_has_a_finite_loss_that_pushes_it_up() -> None:
    objects = torch.zeros(1, 10, 10, requires_grad=True)
    loss = size_loss(both(objects), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx((-math.log(100) / 2 + LN2 + 0.5) / 2)
    assert objects.grad is not None
    assert torch.allclose(objects.grad, torch.full((1, 10, 10), (1 / 200 - 2) / 2))


def test_another_resolution_changes_the_loss_in_pixels_by_a_constant() -> None:
    coarse = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)
    difference = size_loss(both(fine), 1.7) - size_loss(both(coarse), 1.7)
    assert difference.item() == pytest.approx(-math.log(9) / 1.7, rel=1e-4)
    assert torch.allclose(size_loss(both(fine), 1.7, unit="fraction"), size_loss(both(coarse), 1.7, unit="fraction"))


def slope_of(share: float, t: float, **settings: Any) -> float:
    """How the loss of an even map changes with the object's part of the image."""
    part = torch.tensor(share, dtype=torch.float64, requires_grad=True)
    size_loss(both(part.expand(1, 10, 10)), t, **settings).backward()
    assert part.grad is not None
    return part.grad.item()


def test_fractions_teach_nothing_until_the_larger_area_passes_the_joint() -> None:
    assert slope_of(0.1, 1.0, unit="fraction") == pytest.approx(0, abs=1e-12)
    assert slope_of(0.1, 1.05, unit="fraction") == pytest.approx(0, abs=1e-12)  # 1 / t**2 is 0.907
    assert slope_of(0.1, 2.0, unit="fraction") == pytest.approx((1 / (2 * 0.9) - 2) / 2)
    assert slope_of(0.1, 1.0) == pytest.approx((1 / 0.9 - 1 / 0.1) / 2)  # pixels push the small one at once


def test_half_precision_is_summed_in_single() -> None:
    halves = torch.full((1, 2, 512, 512), 0.5, dtype=torch.float16)  # sums to 131,072, beyond half precision
    loss = size_loss(halves, 1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-math.log(131_072))


@pytest.mark.parametrize(
    ("epoch", "t"), [(0, 1.0), (1, 1.01), (2, 1.0201), (50, 1.6446), (100, 2.7048), (231, 9.9595), (232, 10), (1e9, 10)]
)
def test_steepness_grows_by_a_hundredth_each_epoch_up_to_ten(epoch: float, t: float) -> None:
    assert barrier_steepness(epoch) == pytest.approx(t, abs=5e-5)


def test_steepness_takes_another_schedule() -> None:
    assert barrier_steepness(1.5, start=2.0, growth=4.0, highest=100.0) == pytest.approx(16)
    assert barrier_steepness(9, start=2.0, growth=4.0, highest=100.0) == 100
    assert barrier_steepness(1000, start=3.0, growth=1.0) == 3
    assert barrier_steepness(0, start=5.0, highest=5.0) == 5


def test_what_does_not_fit_is_refused() -> None:
    fine = torch.full((1, 2, 2, 2), 0.5)
    for t in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="t: got"):
            size_loss(fine, t)
    with pytest.raises(ConfigError, match="known: pixels, fraction"):
        size_loss(fine, 1.0, unit="percent")  # type: ignore[arg-type]
    for wrong in (torch.zeros(1, 3, 2, 2), torch.zeros(2, 2, 2), torch.zeros(1, 2, 0, 2)):
        with pytest.raises(DataError, match="probabilities"):
            size_loss(wrong, 1.0)
    for change in ({"epoch": -1}, {"growth": 0.9}, {"start": 0.0}, {"start": 11.0}, {"epoch": math.nan}):
        with pytest.raises(ConfigError, match="needed are"):
            barrier_steepness(**{"epoch": 1.0, **change})
