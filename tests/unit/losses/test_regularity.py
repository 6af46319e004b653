from __future__ import annotations

import pytest
import torch

from boxless.errors import ConfigError, DataError
from boxless.losses.regularity import area, batch_area, indecision, total_variation

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


def test_the_area_of_a_batch_is_that_of_all_its_maps_together() -> None:
    assert batch_area(MAPS, 0.5).item() == pytest.approx(0.1)  # of 0.6, not the mean of 0.1 and 0.3
    assert batch_area(MAPS, 0.6).item() == pytest.approx(0, abs=1e-6)
    assert batch_area(MAPS[:, None], 0.9).item() == pytest.approx(0.3)
    maps = MAPS.clone().requires_grad_()
    batch_area(maps, 0.5).backward()
    assert maps.grad is not None
    assert maps.grad.flatten().tolist() == pytest.approx([1 / 8] * 8)  # both shrink, the smaller one too


def test_indecision_is_that_of_the_smoothed_map() -> None:
    middle, side, corner = 0.80544, 0.046012, 0.0026285  # 0.89746 ** 2, 0.89746 * 0.051269, 0.051269 ** 2
    spot = torch.zeros(1, 3, 3)
    spot[0, 1, 1] = 1
    parts = [middle * (1 - middle), *4 * [side * (1 - side)], *4 * [corner * (1 - corner)]]
    assert indecision(spot).item() == pytest.approx(sum(parts) / 9, abs=1e-5)
    assert indecision(torch.cat([spot, 0 * spot])[:, None]).item() == pytest.approx(sum(parts) / 18, abs=1e-5)
    assert indecision(torch.tensor([[[0.5]]])).item() == pytest.approx(middle / 2 * (1 - middle / 2), abs=1e-5)


def test_indecision_is_least_where_maps_are_zero_or_one() -> None:
    flat = {value: indecision(torch.full((1, 200, 200), value)).item() for value in (0.0, 0.3, 0.5, 1.0)}
    assert flat[0.0] == 0
    assert flat[0.3] == pytest.approx(0.21, abs=0.002)  # but for the border
    assert flat[0.5] == pytest.approx(0.25, abs=0.002)
    assert flat[1.0] == pytest.approx(0, abs=0.002)
    maps = torch.tensor([0.3, 0.7])[:, None, None].expand(2, 9, 9).clone().requires_grad_()
    indecision(maps).backward()
    assert maps.grad is not None
    assert maps.grad[0].min() > 0  # what is below one half falls
    assert maps.grad[1, 1:-1, 1:-1].max() < 0


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
    assert torch.autograd.gradcheck(lambda given: batch_area(given, 0.3), maps)
    assert torch.autograd.gradcheck(indecision, maps)


def test_half_precision_is_summed_in_single() -> None:
    stripes = torch.zeros(1, 400, 400, dtype=torch.float16)
    stripes[:, ::2] = 1
    assert area(stripes).item() == pytest.approx(0.5)
    assert total_variation(stripes).item() == pytest.approx(399 * 400 / 400**2)  # 159,600: beyond half precision
    assert batch_area(stripes, 0.25).item() == pytest.approx(0.25)
    for term in (area, total_variation, indecision):
        assert term(stripes).dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    for wrong in (torch.zeros(2, 2), torch.zeros(0, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)):
        for term in (area, total_variation, indecision, lambda maps: batch_area(maps, 0.5)):
            with pytest.raises(DataError, match="maps"):
                term(wrong)
    for target in (-0.1, 1.1, float("nan")):
        for term in (area, batch_area):
            with pytest.raises(ConfigError, match="target"):
                term(MAPS, target)
