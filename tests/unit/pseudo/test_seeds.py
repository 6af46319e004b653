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
from boxless.pseudo._regions import eroded, otsu_regions

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


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maps": SQUARE}, DataError, "maps"),
        ({"maps": -SQUARE[None]}, DataError, "lie in"),
        ({"count": 0}, ConfigError, "count"),
        ({"background_share": 0}, ConfigError, "background_share"),
        ({"erosion": 10}, ConfigError, "erosion: got 10"),
        ({"dilation": 4}, ConfigError, "dilation: got 4"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sample_seeds(**{"maps": SQUARE[None], **change})
