"""Pixel-adaptive refinement by hand; the authors' own numbers are in tests/unit/methods/test_zero_shot.py."""

from __future__ import annotations

import torch

from boxless.ops.pamr import pamr


def two_halves(value: float = 1.0) -> torch.Tensor:
    images = torch.zeros(1, 3, 12, 16)
    images[..., 8:] = value
    return images


def test_in_an_image_of_one_colour_each_step_is_a_plain_mean_of_the_neighbours() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 2] = 1
    found = pamr(torch.full((1, 3, 5, 5), 0.4), maps, steps=1, dilations=(1,))[0, 0]
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 1 / 8
    expected[2, 2] = 0
    torch.testing.assert_close(found, expected)


def test_what_lies_outside_is_as_at_the_border() -> None:
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 0] = 1
    found = pamr(torch.ones(1, 3, 4, 4), maps, steps=1, dilations=(1,))[0, 0]
    assert found[0, 0] == 3 / 8  # the corner stands in for three of its own neighbours
    assert found[0, 1] == 2 / 8
    assert found[1, 1] == 1 / 8


def test_no_steps_change_nothing() -> None:
    maps = torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pamr(two_halves(), maps, steps=0), maps)


def test_weights_are_those_of_the_formula() -> None:
    images = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    maps = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(2)).double()
    colours = images[0].flatten(1)  # about the middle pixel, which is number 4
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    likeness = (-(colours[:, others] - colours[:, 4:5]).abs() / (0.1 * colours.std(1, keepdim=True))).mean(0)
    expected = (likeness.softmax(0) * maps.flatten()[others]).sum()
    torch.testing.assert_close(pamr(images, maps, steps=1, dilations=(1,))[0, 0, 1, 1], expected)


def test_a_map_does_not_leak_over_an_edge_and_spreads_within_it() -> None:
    maps = torch.zeros(1, 1, 12, 16)
    maps[..., 3:6, 6:7] = 1
    found = pamr(two_halves(), maps, steps=4, dilations=(1, 2))[0, 0]
    assert found[:, 8:].max() < 0.02
    assert found[:, 8:].sum() < 0.05 * found.sum()
    flat = pamr(torch.ones(1, 3, 12, 16), maps, steps=4, dilations=(1, 2))[0, 0]
    assert flat[:, 8:].sum() > 0.2 * flat.sum()


def test_a_change_of_brightness_or_contrast_changes_nothing() -> None:
    draws = torch.Generator().manual_seed(3)
    images, maps = torch.rand(2, 3, 12, 16, generator=draws), torch.rand(2, 1, 12, 16, generator=draws)
    changed = images * torch.tensor([2.0, 0.5, 3.0])[:, None, None] + 1.5
    torch.testing.assert_close(
        pamr(changed, maps, dilations=(2,)), pamr(images, maps, dilations=(2,)), atol=1e-5, rtol=0
    )


def test_a_map_stays_in_its_range_and_does_not_depend_on_others() -> None:
    draws = torch.Generator().manual_seed(4)
    images, maps = torch.rand(2, 3, 12, 16, generator=draws), torch.rand(2, 3, 12, 16, generator=draws)
    found = pamr(images, maps)
    assert (found.amin((2, 3)) >= maps.amin((2, 3)) - 1e-6).all()
    assert (found.amax((2, 3)) <= maps.amax((2, 3)) + 1e-6).all()
    torch.testing.assert_close(pamr(images[1:], maps[1:, 2:]), found[1:, 2:])
