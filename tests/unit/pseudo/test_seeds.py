from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.stats import chisquare
from skimage.filters import threshold_otsu
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.losses.partial import BACKGROUND, FOREGROUND, IGNORED
from boxless.pseudo import sample_seeds
from boxless.pseudo._regions import chosen_regions, eroded, otsu_regions

DRAWS = 20_000
LIKELY = 1e-3

# A square of 5 x 5 in the middle, brighter to the right, on a ground that grows from left to right and downwards.
SQUARE = torch.linspace(0, 0.2, 64).view(8, 8).clone()
SQUARE[1:6, 2:7] = torch.linspace(0.8, 1, 5)


def sample(values: Tensor, draws: int = 1, seed: int = 0, **settings: Any) -> Tensor:
    return sample_seeds(
        values.expand(draws, *values.shape),
        generator=torch.Generator().manual_seed(seed),
        **{"dilation": 1, **settings},
    )


def assert_even(labels: Tensor, kind: int, places: list[int]) -> None:
    drawn = (labels == kind).flatten(1)
    assert drawn.sum(1).eq(1).all()
    counts = drawn.sum(0)
    assert counts.nonzero()[:, 0].tolist() == places
    assert chisquare(counts[places].numpy()).pvalue > LIKELY


def test_object_seeds_are_even_over_the_shrunk_region_and_background_over_the_lowest_tenth() -> None:
    labels = sample(SQUARE, DRAWS, erosion=3)
    assert_even(labels, FOREGROUND, [row * 8 + column for row in (2, 3, 4) for column in (3, 4, 5)])
    assert_even(labels, BACKGROUND, [0, 1, 2, 3, 4, 5])  # 6 of 64


def test_a_region_that_shrinks_to_nothing_is_taken_whole() -> None:
    labels = sample(SQUARE, DRAWS)
    assert_even(labels, FOREGROUND, [row * 8 + column for row in range(1, 6) for column in range(2, 7)])


def test_another_share_and_number_can_be_asked_for_and_a_small_region_gives_all() -> None:
    labels = sample(SQUARE, erosion=3, count=12, background_share=0.25)
    assert (labels[0, 2:5, 3:6] == FOREGROUND).all()
    assert (labels == FOREGROUND).sum() == 9
    lowest = SQUARE.flatten().argsort()[:16]
    assert (labels.flatten()[lowest] == BACKGROUND).sum() == 12
    assert (labels == BACKGROUND).sum() == 12


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("power", [0.3, 1, 4])
def test_the_region_is_that_of_scikit_image_on_bytes(seed: int, power: float) -> None:
    values = torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(seed)) ** power
    values /= values.amax((1, 2), keepdim=True)
    whole = (values.numpy() * 255).astype(np.uint8)
    expected = [each > np.clip(threshold_otsu(each), 1, 254) for each in whole]
    assert np.array_equal(otsu_regions(values).numpy(), expected)


def test_the_threshold_is_kept_from_both_ends() -> None:
    faint = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]) / 255  # levels 0 and 1, parted at 0
    assert not otsu_regions(faint).any()
    bright = torch.tensor([[[254.0, 254.0, 255.0, 255.0]]]) / 255
    assert otsu_regions(bright).tolist() == [[[False, False, True, True]]]


@pytest.mark.parametrize("side", [1, 3, 11])
def test_a_region_shrinks_as_by_scipy_and_not_from_the_border_of_the_image(side: int) -> None:
    masks = torch.rand(4, 16, 30, generator=torch.Generator().manual_seed(side)) > 0.02
    expected = [binary_erosion(each, np.ones((side, side)), border_value=1) for each in masks.numpy()]
    assert np.array_equal(eroded(masks, side).numpy(), expected)
    assert eroded(masks, side).any()


def test_by_default_a_seed_is_a_square_of_nine_pixels() -> None:
    values = torch.linspace(0, 0.2, 32 * 32).view(32, 32).clone()
    values[10:23, 10:23] = 1.0
    labels = sample_seeds(values[None], generator=torch.Generator().manual_seed(0))[0]
    assert (labels == FOREGROUND).sum() == 9
    row, column = (labels == FOREGROUND).nonzero()[4].tolist()  # the fifth of nine is the middle
    assert 15 <= row <= 17  # 13 less 5 on both sides leave 3
    assert 15 <= column <= 17
    assert (labels[row - 1 : row + 2, column - 1 : column + 2] == FOREGROUND).all()
    assert (labels == BACKGROUND).sum() in (6, 9)  # 6 where it meets the image's border
    assert set(labels.unique().tolist()) == {FOREGROUND, BACKGROUND, IGNORED}


def test_seeds_that_meet_are_ignored_where_they_do() -> None:
    labels = sample(torch.tensor([[0.1, 1.0, 0.1, 0.0]]), background_share=0.25, dilation=3)
    assert labels.tolist() == [[[FOREGROUND, FOREGROUND, IGNORED, BACKGROUND]]]


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_map_gets_no_seed_and_its_batch_mates_theirs(level: float) -> None:
    labels = sample_seeds(torch.stack([torch.full((8, 8), level), SQUARE]), generator=torch.Generator().manual_seed(0))
    assert labels[0].eq(IGNORED).all()
    assert {FOREGROUND, BACKGROUND} <= set(labels[1].unique().tolist())


def test_steps_differ_and_torchs_own_seed_repeats_them() -> None:
    torch.manual_seed(0)
    first, second = sample_seeds(SQUARE.expand(8, 8, 8)), sample_seeds(SQUARE.expand(8, 8, 8))
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(first, sample_seeds(SQUARE.expand(8, 8, 8)))


# --- one region, and what is drawn of it ---

# Above the threshold are a dot of 1 pixel (1.0), a bar of 5 (0.9) and a block of 12, that a corner joins to 1 (0.8).
PARTS = torch.linspace(0, 0.1, 100).view(10, 10).clone()
PARTS[0, 9] = 1.0
PARTS[9, 0:5] = 0.9
PARTS[1:4, 0:4] = 0.8
PARTS[4, 4] = 0.8
DOT, BAR = [9], [90, 91, 92, 93, 94]
BLOCK = sorted([row * 10 + column for row in (1, 2, 3) for column in range(4)] + [44])


def places(mask: Tensor) -> list[int]:
    return mask.flatten().nonzero()[:, 0].tolist()


def test_a_region_is_all_or_its_largest_or_its_densest_component() -> None:
    regions = otsu_regions(PARTS[None])
    assert places(chosen_regions(PARTS[None], regions, "all")) == sorted(DOT + BAR + BLOCK)
    assert places(chosen_regions(PARTS[None], regions, "largest")) == BLOCK
    assert places(chosen_regions(PARTS[None], regions, "densest")) == BAR  # the dot is below 5 % of 100 pixels


def test_where_no_component_is_large_enough_the_densest_is_the_largest() -> None:
    values = torch.zeros(2, 20, 20)
    values[:, 0, :2] = 1.0
    values[0, 9, 3:15] = 0.9  # 12 of 400 pixels
    values[1, 9, :] = 0.9  # 20: just 5 %
    regions = values > 0.5
    assert places(chosen_regions(values, regions, "densest")[0]) == list(range(183, 195))
    assert places(chosen_regions(values, regions, "densest")[1]) == list(range(180, 200))


def test_of_equal_components_the_first_counts_and_nothing_has_none() -> None:
    values = torch.zeros(2, 4, 6)
    values[0, 1:3, 0:2] = values[0, 1:3, 4:6] = 1.0
    for which in ("densest", "largest"):
        found = chosen_regions(values, values > 0.5, which)
        assert places(found[0]) == [6, 7, 12, 13]
        assert not found[1].any()


def test_object_seeds_are_drawn_from_the_region_that_is_asked_for() -> None:
    for which, expected in (("all", sorted(DOT + BAR + BLOCK)), ("largest", BLOCK), ("densest", BAR)):
        labels = sample(PARTS, 2_000, erosion=1, region=which)
        assert_even(labels, FOREGROUND, expected)
        assert_even(labels, BACKGROUND, [*range(9), 14])  # the 10 lowest of all


def test_weighted_seeds_come_from_the_highest_share_of_the_region_by_their_activation() -> None:
    values = torch.zeros(1, 20)
    values[0, 5:15] = torch.tensor([0.5, 1.0, 0.6, 0.9, 0.4, 0.7, 0.8, 0.55, 0.45, 0.65])
    labels = sample(values, DRAWS, erosion=1, foreground_share=0.4, weighted=True)
    counts = (labels == FOREGROUND).flatten(1).sum(0)
    assert counts.sum() == DRAWS
    assert counts.nonzero()[:, 0].tolist() == [6, 8, 10, 11]  # four of ten
    expected = np.array([1.0, 0.9, 0.7, 0.8]) / 3.4 * DRAWS
    assert chisquare(counts[[6, 8, 10, 11]].numpy(), expected).pvalue > LIKELY
    assert_even(sample(values, DRAWS, erosion=1, foreground_share=0.4), FOREGROUND, [6, 8, 10, 11])


def test_every_map_of_a_batch_has_its_own_region() -> None:
    labels = sample_seeds(
        torch.stack([PARTS, PARTS.flip(1), torch.full((10, 10), 0.5)]),
        count=100,
        region="densest",
        erosion=1,
        dilation=1,
    )
    assert places(labels[0] == FOREGROUND) == BAR
    assert places(labels[1] == FOREGROUND) == [95, 96, 97, 98, 99]
    assert labels[2].eq(IGNORED).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maps": SQUARE}, DataError, "maps"),
        ({"maps": -SQUARE[None]}, DataError, "lie in"),
        ({"count": 0}, ConfigError, "count"),
        ({"background_share": 0}, ConfigError, "background_share"),
        ({"erosion": 10}, ConfigError, "erosion: got 10"),
        ({"dilation": 4}, ConfigError, "dilation: got 4"),
        ({"foreground_share": 1.1}, ConfigError, "foreground_share"),
        ({"region": "best"}, ConfigError, "region: got 'best'; known: all, densest, largest"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sample_seeds(**{"maps": SQUARE[None], **change})
