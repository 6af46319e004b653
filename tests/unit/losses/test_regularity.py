from __future__ import annotations

import pytest
import torch

from boxless.errors import ConfigError, DataError
from boxless.losses.regularity import area, total_variation

MAPS = torch.tensor([[[0.0, 1.0], [0.5, 0.1]], [[1.0, 1.0], [1.0, 0.2]]])  # means 0.4 and 0.8


def test_area_is_the_mean_distance_of_each_maps_mean_from_the_target() -> None:
    assert area(MAPS).item() == pytest.approx(0.6)
    assert area(MAPS, 0.5).item() == pytest.approx((0.1 + 0.3) / 2)  # not 0.1, that of the mean over both
    assert area(MAPS[None], 0.5).item() == pytest.approx(0.2)


def test_area_pulls_each_map_to_the_target() -> None:
    maps = MAPS.clone().requires_grad_()
    area(maps, 0.5).backward()
    assert maps.grad is not None
    assert maps.grad[0].flatten().tolist() == pytest.approx([-1 / 8] * 4)
    assert maps.grad[1].flatten().tolist() == pytest.approx([1 / 8] * 4)


def test_total_variation_is_the_sum_of_steps_over_the_pixels() -> None:
    # Down: 0.5 and 0.9, to the right: 1.0 and 0.4; in the other map 0.8 twice.
    assert total_variation(MAPS[:1]).item() == pytest.approx(2.8 / 4)
    assert total_variation(MAPS).item() == pytest.approx((2.8 + 1.6) / 8)
    assert total_variation(MAPS[:, None]).item() == pytest.approx((2.8 + 1.6) / 8)


def test_total_variation_of_a_mask_is_its_outline_within_the_image() -> None:
    inner, corner = torch.zeros(2, 1, 6, 4)
    inner[0, 1:4, 1:3] = 1  # 3 x 2
    corner[0, :3, :2] = 1
    assert total_variation(inner).item() == pytest.approx(10 / 24)
    assert total_variation(corner).item() == pytest.approx(5 / 24)
    fine = inner.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert total_variation(fine).item() == pytest.approx(10 / 24 / 2)


def test_total_variation_lowers_peaks_and_fills_holes() -> None:
    maps = torch.tensor([[[0.2, 0.9, 0.2]]], requires_grad=True)
    total_variation(maps).backward()
    assert maps.grad is not None
    assert maps.grad.flatten().tolist() == pytest.approx([-1 / 3, 2 / 3, -1 / 3])


def test_flat_maps_have_none_and_a_gradient_without_nan() -> None:
    for shape in ((1, 1, 1), (2, 1, 5), (1, 5, 1), (2, 3, 4, 4)):
        maps = torch.full(shape, 0.3, requires_grad=True)
        loss = total_variation(maps)
        loss.backward()
        assert loss.item() == 0
        assert maps.grad is not None
        assert maps.grad.eq(0).all()


def test_gradients_agree_with_differences() -> None:
    maps = torch.rand(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(total_variation, maps)
    assert torch.autograd.gradcheck(lambda given: area(given, 0.3), maps)


def test_half_precision_is_summed_in_single() -> None:
    stripes = torch.zeros(1, 400, 400, dtype=torch.float16)
    stripes[:, ::2] = 1
    assert area(stripes).item() == pytest.approx(0.5)
    assert total_variation(stripes).item() == pytest.approx(399 * 400 / 400**2)  # 159,600: beyond half precision
    assert total_variation(stripes).dtype == area(stripes).dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    for wrong in (torch.zeros(2, 2), torch.zeros(0, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)):
        for term in (area, total_variation):
            with pytest.raises(DataError, match="maps"):
                term(wrong)
    for target in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="target"):
            area(MAPS, target)
