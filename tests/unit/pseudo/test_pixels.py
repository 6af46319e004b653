from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.losses.partial import BACKGROUND, FOREGROUND, IGNORED
from boxless.pseudo import choose_boxes, sample_pixels

DRAWS = 20_000
LIKELY = 1e-3  # at a fixed seed the test either always holds or never; by chance one seed in a thousand would not


def of_all(**changes: Any) -> dict[str, Any]:
    return {"foreground_share": 1.0, "background_share": 1.0, "count": 1, **changes}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(values: Tensor, boxes: Sequence[Sequence[float]], draws: int = 1, **changes: Any) -> Tensor:
    """Labels of one map, drawn so many times in one batch."""
    given = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4).expand(draws, -1, 4)
    valid = torch.ones(given.shape[:2], dtype=torch.bool)
    settings = {"generator": seeded(), **of_all(**changes)}
    return sample_pixels(values.expand(draws, *values.shape), given, valid, **settings)


def found(labels: Tensor, kind: int) -> list[int]:
    """The places of one kind in the labels of one image, row by row."""
    return (labels.flatten() == kind).nonzero()[:, 0].tolist()


def assert_drawn_as(labels: Tensor, kind: int, chances: Sequence[float]) -> None:
    """One pixel of the kind in each image, and each pixel so often as it should be, by a chi-squared test."""
    drawn = (labels == kind).flatten(1)
    assert drawn.sum(1).eq(1).all()
    counts, expected = drawn.sum(0).numpy(), np.array(chances) / np.sum(chances) * len(labels)
    assert counts[expected == 0].sum() == 0
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > LIKELY


# The box is the middle of the second and third row; what it holds is 0.1 to 0.6, what it does not is 0.7 and above.
GRID = torch.tensor(
    [
        [0.70, 0.71, 0.72, 0.73, 0.74],
        [0.75, 0.10, 0.20, 0.30, 0.76],
        [0.77, 0.40, 0.50, 0.60, 0.78],
        [0.79, 0.80, 0.81, 0.82, 0.83],
    ]
)
BOX = (1, 1, 4, 3)
IN_BOX = [6, 7, 8, 11, 12, 13]


def chances(places: dict[int, float], total: int = 20) -> list[float]:
    return [places.get(place, 0.0) for place in range(total)]


def test_object_pixels_are_drawn_in_proportion_to_the_activation_within_the_box() -> None:
    labels = sample(GRID, [BOX], DRAWS)
    assert_drawn_as(labels, FOREGROUND, chances(dict(zip(IN_BOX, (1, 2, 3, 4, 5, 6), strict=True))))


def test_only_the_highest_share_of_the_box_is_candidate() -> None:
    labels = sample(GRID, [BOX], DRAWS, foreground_share=0.5)
    assert_drawn_as(labels, FOREGROUND, chances({11: 4, 12: 5, 13: 6}))


def test_several_object_pixels_are_drawn_without_replacement() -> None:
    labels = sample(GRID, [BOX], DRAWS, foreground_share=0.5, count=2)
    assert (labels == FOREGROUND).flatten(1).sum(1).eq(2).all()
    weights = {11: 4, 12: 5, 13: 6}
    expected: dict[frozenset[int], float] = {}
    for first, second in permutations(weights, 2):  # first drawn of 15, second of what is left
        chance = weights[first] / 15 * weights[second] / (15 - weights[first])
        expected[frozenset((first, second))] = expected.get(frozenset((first, second)), 0) + chance
    flat = labels.flatten(1)
    counts = [int((flat[:, sorted(pair)] == FOREGROUND).all(1).sum()) for pair in expected]
    assert sum(counts) == DRAWS
    assert chisquare(counts, [DRAWS * chance for chance in expected.values()]).pvalue > LIKELY


def test_background_pixels_are_drawn_evenly_from_the_lowest_share_outside_the_box() -> None:
    labels = sample(GRID, [BOX], DRAWS, background_share=0.5)
    assert_drawn_as(labels, BACKGROUND, chances(dict.fromkeys([0, 1, 2, 3, 4, 5, 9], 1)))  # 7 of 14


def test_background_lies_outside_all_boxes_and_not_only_the_drawn_one() -> None:
    labels = sample(GRID, [BOX, (0, 0, 5, 1)], DRAWS, chosen=torch.zeros(DRAWS, dtype=torch.int64))
    assert_drawn_as(labels, BACKGROUND, chances(dict.fromkeys([5, 9, 10, 14, 15, 16, 17, 18, 19], 1)))
    assert_drawn_as(labels, FOREGROUND, chances(dict(zip(IN_BOX, (1, 2, 3, 4, 5, 6), strict=True))))


def test_background_from_anywhere_is_the_authors_code() -> None:
    # The 3 lowest of the map are in the box; the highest share of the box keeps both apart.
    labels = sample(GRID, [BOX], DRAWS, background="anywhere", background_share=0.15, foreground_share=0.5)
    assert_drawn_as(labels, BACKGROUND, chances({6: 1, 7: 1, 8: 1}))


def test_what_is_drawn_as_both_is_ignored() -> None:
    labels = sample(GRID[1:2, 1:2], [(0, 0, 1, 1)])
    assert labels.tolist() == [[[IGNORED]]]


def test_a_box_over_the_whole_map_takes_the_lowest_of_the_map_for_background() -> None:
    labels = sample(GRID, [(0, 0, 5, 4)], DRAWS, background_share=0.1, foreground_share=0.1)
    assert_drawn_as(labels, BACKGROUND, chances({6: 1, 7: 1}))
    assert_drawn_as(labels, FOREGROUND, chances({18: 0.82, 19: 0.83}))


def test_one_of_the_valid_boxes_is_drawn_all_equally_likely() -> None:
    boxes = torch.tensor([[0, 0, 1, 1], [2, 0, 2, 2], [1, 0, 2, 1], [2, 0, 3, 1], [5, 0, 9, 1.0], [3, 0, 4, 1]])
    valid = torch.tensor([True, True, False, True, True, True])  # the second is empty, the fifth lies beyond the map
    given, real = boxes.expand(DRAWS, -1, 4), valid.expand(DRAWS, -1)
    numbers = choose_boxes(given, real, (1, 5), generator=seeded())
    counts = numbers.bincount(minlength=6).tolist()
    assert counts[1] == counts[2] == counts[4] == 0
    assert chisquare([counts[0], counts[3], counts[5]]).pvalue > LIKELY
    labels = sample_pixels(torch.full((DRAWS, 1, 5), 0.5), given, real, **of_all(), generator=seeded())
    assert_drawn_as(labels, FOREGROUND, chances({0: 1, 2: 1, 3: 1}, 5))
    assert_drawn_as(labels, BACKGROUND, chances({1: 1, 4: 1}, 5))


def test_every_image_of_a_batch_draws_from_its_own_map_and_boxes() -> None:
    maps = torch.zeros(3, 2, 3)
    maps[0, 0, 0] = maps[1, 1, 2] = maps[2, 0, 1] = 1.0
    maps[:, 1, 1] = 0.5
    boxes = torch.tensor([[[0, 0, 2, 2], [0, 0, 1, 1]], [[1, 0, 3, 2], [0, 0, 3, 2]], [[0, 0, 3, 1], [0, 0, 1, 2.0]]])
    valid = torch.tensor([[True, False], [True, False], [True, True]])
    labels = sample_pixels(
        maps, boxes, valid, foreground_share=0.3, background_share=1.0, count=1, chosen=torch.zeros(3).long()
    )
    assert [found(each, FOREGROUND) for each in labels] == [[0], [5], [1]]
    assert found(labels[0], BACKGROUND)[0] in (2, 5)
    assert found(labels[1], BACKGROUND)[0] in (0, 3)
    assert found(labels[2], BACKGROUND)[0] in (4, 5)


@pytest.mark.parametrize(
    ("share", "size", "candidates"), [(0.29, 100, 29), (0.7, 10, 7), (0.999, 10, 9), (0.01, 10, 1), (1.0, 7, 7)]
)
def test_a_share_is_rounded_down_to_one_pixel_at_least(share: float, size: int, candidates: int) -> None:
    values = torch.linspace(0.1, 1, 2 * size)[None]
    labels = sample(values, [(0, 0, size, 1)], foreground_share=share, background_share=share, count=size)
    assert found(labels, FOREGROUND) == list(range(size - candidates, size))
    assert found(labels, BACKGROUND) == list(range(size, size + candidates))


def test_equal_activations_are_in_random_order_so_that_shares_are_exact() -> None:
    values = torch.tensor([[0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 0.2, 0.2, 0.2]])
    box = (0, 0, 5, 1)
    settings: dict[str, Any] = {"foreground_share": 0.6, "background_share": 0.5}
    # Of 5 in the box 3: the 1.0 and two of the four 0.5. Of 4 outside 2: the 0.0 and one of the three 0.2.
    labels = sample(values, [box], DRAWS, count=9, **settings)
    assert (labels == FOREGROUND).flatten(1).sum(1).eq(2).all()  # balanced: there are 2 of the background
    labels = sample(values, [box], DRAWS, **settings)
    assert_drawn_as(labels, FOREGROUND, [0.125, 0.125, 0.125, 0.125, 0.5, 0, 0, 0, 0])
    assert_drawn_as(labels, BACKGROUND, [0, 0, 0, 0, 0, 3, 1, 1, 1])


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_flat_map_leaves_the_choice_to_the_box(level: float) -> None:
    labels = sample(torch.full((2, 3), level), [(0, 0, 2, 1)], DRAWS, foreground_share=0.5, background_share=0.25)
    assert_drawn_as(labels, FOREGROUND, chances({0: 1, 1: 1}, 6))
    assert_drawn_as(labels, BACKGROUND, chances({2: 1, 3: 1, 4: 1, 5: 1}, 6))


def test_pixels_without_activation_are_not_object() -> None:
    values = torch.tensor([[0.0, 1e-30, 0.0, 0.0, 0.3]])
    labels = sample(values, [(0, 0, 4, 1)], count=3)
    assert labels.tolist() == [[[IGNORED, FOREGROUND, IGNORED, IGNORED, BACKGROUND]]]


def test_both_kinds_are_balanced_unless_another_number_is_asked_for() -> None:
    for count, expected in ((1, 1), (4, 4), (6, 6), (500, 6)):
        labels = sample(GRID, [BOX], count=count)
        assert (len(found(labels, FOREGROUND)), len(found(labels, BACKGROUND))) == (expected, expected)
    for count, other, expected in ((2, 5, (2, 5)), (9, 3, (6, 3)), (1, 99, (1, 14))):
        labels = sample(GRID, [BOX], count=count, background_count=other)
        assert (len(found(labels, FOREGROUND)), len(found(labels, BACKGROUND))) == expected


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((1, 1, 2, 2), [6]),  # one pixel
        ((0.5, 0.5, 1.5, 1.5), [0]),  # centres are half-open as boxes are
        ((0.6, 0.6, 1.4, 1.4), [6]),  # between all centres: the pixel that holds its middle, (1, 1)
        ((1.6, 2.6, 2.4, 3.4), [17]),
        ((-9, -9, 1, 1), [0]),
        ((3.9, 2, 99, 3.2), [14]),
        ((4.7, 3.7, 5, 4), [19]),
    ],
)
def test_a_pixel_is_in_the_box_that_holds_its_centre(box: tuple[float, ...], inside: list[int]) -> None:
    labels = sample(GRID, [box], count=20, background_count=20)
    assert found(labels, FOREGROUND) == inside
    assert found(labels, BACKGROUND) == [place for place in range(20) if place not in inside]


@pytest.mark.parametrize(
    "box", [(1, 1, 1, 3), (3, 1, 2, 2), (5, 0, 9, 4), (-3, 0, 0, 4), (0, 0, float("nan"), 1), (0, 4, 5, 4.5)]
)
def test_a_box_of_which_nothing_lies_on_the_map_is_as_none(box: tuple[float, ...]) -> None:
    assert sample(GRID, [box], count=3).eq(IGNORED).all()
    labels = sample(GRID, [box], count=3, background_count=20)
    assert labels.eq(BACKGROUND).all()
    assert found(sample(GRID, [box, BOX], count=6), FOREGROUND) == IN_BOX


def test_images_without_boxes_get_no_label() -> None:
    maps = GRID.expand(2, 4, 5)
    boxes = torch.tensor([BOX, BOX], dtype=torch.float32)[:, None]
    labels = sample_pixels(maps, boxes, torch.tensor([[False], [True]]), **of_all(count=6))
    assert labels[0].eq(IGNORED).all()
    assert found(labels[1], FOREGROUND) == IN_BOX
    labels = sample_pixels(maps, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), **of_all())
    assert labels.eq(IGNORED).all()
    assert choose_boxes(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), (4, 5)).tolist() == [0, 0]


def test_dilation_grows_both_kinds_and_ignores_where_they_meet() -> None:
    values = torch.zeros(5, 7)
    values[2, 2], values[2, 4] = 1.0, 0.5
    # All outside the box but one pixel is 0.9, so that one is the lowest.
    values[values == 0] = 0.9
    labels = sample(values, [(2, 2, 3, 3)], background_share=0.04, dilation=3)
    one, none = FOREGROUND, IGNORED
    row = [none, one, one, none, 0, 0, none]
    blank = [none] * 7
    assert labels.tolist() == [[blank, row, row, row, blank]]


def test_steps_differ_and_a_seed_repeats_them() -> None:
    values, boxes = GRID.expand(8, 4, 5), torch.tensor([BOX] * 8, dtype=torch.float32)[:, None]
    valid = torch.ones(8, 1, dtype=torch.bool)

    def twice(**settings: Any) -> tuple[Tensor, Tensor]:
        first, second = (sample_pixels(values, boxes, valid, **of_all(count=2), **settings) for _ in range(2))
        assert not torch.equal(first, second)
        return first, second

    assert all(map(torch.equal, twice(generator=seeded(5)), twice(generator=seeded(5))))
    torch.manual_seed(3)
    own = twice()
    torch.manual_seed(3)
    assert all(map(torch.equal, own, twice()))
    state = torch.get_rng_state()
    twice(generator=seeded())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_any_precision_give_labels_and_no_gradient(dtype: torch.dtype) -> None:
    values = GRID.to(dtype).requires_grad_()
    labels = sample(values, [BOX], count=6)
    assert found(labels, FOREGROUND) == IN_BOX
    assert labels.dtype == torch.int64
    assert not labels.requires_grad


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"maps": torch.zeros(4, 5)}, DataError, r"maps: .*\(4, 5\)"),
    ({"maps": torch.zeros(1, 0, 5)}, DataError, "not empty"),
    ({"maps": torch.zeros(1, 4, 5, dtype=torch.int64)}, DataError, "int64"),
    ({"maps": torch.full((1, 4, 5), 1.5)}, DataError, "from 1.5"),
    ({"maps": torch.full((1, 4, 5), float("nan"))}, DataError, "nan"),
    ({"boxes": torch.zeros(1, 4)}, DataError, r"boxes: .*\(1, 4\)"),
    ({"boxes": torch.zeros(2, 1, 4)}, DataError, "for 1 images"),
    ({"boxes": torch.zeros(1, 1, 4, dtype=torch.int64)}, DataError, "floats"),
    ({"valid": torch.ones(1, 1)}, DataError, "valid: .*float32"),
    ({"valid": torch.ones(1, 2, dtype=torch.bool)}, DataError, r"\(1, 1\)"),
    ({"chosen": torch.zeros(2, dtype=torch.int64)}, DataError, "chosen"),
    ({"chosen": torch.zeros(1)}, DataError, "chosen"),
    ({"foreground_share": 0.0}, ConfigError, "foreground_share: got 0"),
    ({"background_share": 1.1}, ConfigError, "background_share: got 1.1"),
    ({"background_share": float("nan")}, ConfigError, "background_share"),
    ({"count": 0}, ConfigError, "count: got 0"),
    ({"background_count": 0}, ConfigError, "background_count: got 0"),
    ({"background": "inside"}, ConfigError, "known: outside, anywhere"),
    ({"dilation": 2}, ConfigError, "dilation: got 2"),
    ({"dilation": -1}, ConfigError, "dilation: got -1"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_what_does_not_fit_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"maps": GRID[None], "boxes": torch.tensor([[BOX]]).float(), "valid": torch.ones(1, 1, dtype=torch.bool)}
    with pytest.raises(error, match=message):
        sample_pixels(**{**given, **of_all(), **change})
