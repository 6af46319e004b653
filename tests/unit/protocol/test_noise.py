"""Noisy boxes and eroded masks, against what can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from boxless.errors import ConfigError, DataError
from boxless.ops.boxes import iou
from boxless.protocol.noise import BOX_LEVELS, EROSION_LEVELS, eroded, mask_error, noisy_boxes, paired_iou

BOX, SIZE = [[100.0, 200.0, 140.0, 280.0]], [[1000.0, 1000.0]]  # 40 x 80, far from every border


class Drawn:
    """Stands for a generator whose draws are known: scale, length, direction, whether, and how much another aspect."""

    def __init__(self, *draws: float) -> None:
        self.draws = draws

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        return np.tile(self.draws, (shape[0], 1))


def noisy(*draws: float, level: float, box: Any = BOX, size: Any = SIZE) -> np.ndarray:
    generator: Any = Drawn(*draws)
    return noisy_boxes(box, size, level, generator)


def test_level_zero_changes_nothing() -> None:
    boxes = np.random.default_rng(0).random((50, 4))
    boxes[:, 2:] += 1
    assert (noisy_boxes(boxes, np.full((50, 2), 2.0), 0, np.random.default_rng(1)) == boxes).all()


def test_the_scale_is_about_the_centre_and_up_to_the_level() -> None:
    assert noisy(1.0, 0, 0, 1, 0, level=0.5)[0].tolist() == [90, 180, 150, 300]  # 1.5 times 40 x 80
    assert noisy(0.0, 0, 0, 1, 0, level=0.5)[0].tolist() == [110, 220, 130, 260]  # 0.5 times
    assert noisy(0.5, 0, 0, 1, 0, level=0.5)[0].tolist() == BOX[0]


def test_the_shift_is_a_part_of_the_scaled_box() -> None:
    assert noisy(0.5, 1.0, 0, 1, 0, level=0.2)[0] == pytest.approx([108, 200, 148, 280])  # to the right by 0.2 of 40
    assert noisy(0.5, 1.0, 0.25, 1, 0, level=0.2)[0] == pytest.approx([100, 216, 140, 296])  # downwards by 0.2 of 80
    assert noisy(1.0, 1.0, 0.5, 1, 0, level=0.5)[0] == pytest.approx([60, 180, 120, 300])  # to the left by 0.5 of 60


def test_another_aspect_keeps_the_area_and_the_centre() -> None:
    found = noisy(0.5, 0, 0, 0.49, 1.0, level=0.5)[0]  # 60 x 53.3
    assert found == pytest.approx([90, 240 - 80 / 3, 150, 240 + 80 / 3])
    assert np.prod(found[2:] - found[:2]) == pytest.approx(40 * 80)
    assert noisy(0.5, 0, 0, 0.5, 1.0, level=0.5)[0].tolist() == BOX[0]  # the draw is not below the level


@pytest.mark.parametrize("level", BOX_LEVELS)
def test_draws_stay_within_their_bounds(level: float) -> None:
    boxes, sizes = np.repeat(BOX, 2000, axis=0), np.repeat(SIZE, 2000, axis=0)
    found = noisy_boxes(boxes, sizes, level, np.random.default_rng(3))
    sides, moved = found[:, 2:] - found[:, :2], ((found[:, :2] + found[:, 2:]) / 2 - [120, 240]) / [40, 80]
    scale = np.sqrt(sides.prod(axis=1) / 3200)
    assert 1 - level <= scale.min() < 1 - 0.95 * level
    assert 1 + 0.95 * level < scale.max() <= 1 + level
    shift = np.hypot(*moved.T) / scale
    assert 0.95 * level < shift.max() <= level + 1e-12
    assert shift.mean() == pytest.approx(level / 2, rel=0.05)  # the length is uniform, not the area
    stretched = ~np.isclose(sides[:, 1] / sides[:, 0], 2)
    assert stretched.mean() == pytest.approx(level, abs=0.04)


def test_boxes_stay_in_their_images_and_are_never_empty() -> None:
    generator = np.random.default_rng(5)
    sizes = np.tile([[30.0, 20.0]], (20_000, 1))
    corners = np.sort(generator.random((20_000, 2, 2)), axis=1) * sizes[:, None]
    boxes = np.where(
        generator.random((20_000, 4)) < 0.2, np.tile([0.0, 0, 30, 20], (20_000, 1)), corners.reshape(-1, 4)
    )
    found = noisy_boxes(boxes, sizes, 0.5, generator)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= sizes).all()
    assert ((found[:, 2:] - found[:, :2]) >= (boxes[:, 2:] - boxes[:, :2]) / 8).all()


def test_the_worst_shift_out_of_a_corner_leaves_an_eighth() -> None:
    found = noisy(1.0, 1.0, 0.5, 0.0, 0.0, level=0.5, box=[[0.0, 0.0, 40.0, 40.0]], size=[[40.0, 40.0]])
    assert found[0].tolist() == pytest.approx([0, 0, 5, 40])  # 60 wide, to the left by 30, then 30 wide about -10


def test_noise_is_deterministic_and_grows_with_the_level() -> None:
    boxes, sizes = np.repeat(BOX, 500, axis=0), np.repeat(SIZE, 500, axis=0)
    first, second = (noisy_boxes(boxes, sizes, 0.3, np.random.default_rng(7)) for _ in range(2))
    assert (first == second).all()
    fits = [paired_iou(noisy_boxes(boxes, sizes, each, np.random.default_rng(7)), boxes).mean() for each in BOX_LEVELS]
    assert (np.diff(fits) < 0).all()
    assert fits[0] > 0.9
    assert fits[-1] < 0.5


@pytest.mark.parametrize(
    ("box", "size", "level", "error"),
    [
        (BOX, SIZE, 0.51, ConfigError),
        (BOX, SIZE, -0.1, ConfigError),
        (BOX, SIZE, float("nan"), ConfigError),
        ([[0, 0, 0, 5]], SIZE, 0.1, DataError),
        ([0, 0, 1, 5], SIZE, 0.1, DataError),
        (BOX, [1000, 1000], 0.1, DataError),
    ],
)
def test_wrong_boxes_and_levels_are_refused(box: Any, size: Any, level: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        noisy_boxes(box, size, level, np.random.default_rng(0))


def test_paired_overlap_is_that_of_all_pairs() -> None:
    generator = np.random.default_rng(0)
    one = generator.random((40, 4)) * 10
    other = np.sort(generator.random((40, 2, 2)), axis=1).reshape(40, 4) * 10
    assert paired_iou(one, other) == pytest.approx(np.diag(iou(one, other)))
    assert paired_iou(one[:, None], other[None]) == pytest.approx(iou(one, other))
    assert paired_iou([0, 0, 0, 0], [0, 0, 0, 0]) == 0


def disc(radius: int, side: int = 201) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    inside: np.ndarray = np.hypot(rows, columns) <= radius
    return inside


@pytest.mark.parametrize("share", EROSION_LEVELS)
def test_a_disc_loses_the_share_that_is_asked_for(share: float) -> None:
    true = disc(80)
    found = eroded(true, share)
    assert not (found & ~true).any()
    ring = 2 / 80  # of a step of one pixel
    assert 1 - found.sum() / true.sum() == pytest.approx(share, abs=ring / 2)
    assert mask_error(found, true) == pytest.approx(50 * share, abs=50 * ring / 2)  # half the level, as in table 4.9


def test_erosion_steps_are_those_of_the_square_and_the_cross() -> None:
    rows, columns = np.abs(np.mgrid[:9, :9] - 4)
    true = rows + columns <= 3  # 25 pixels; the cross leaves 13 of them, the square 5, and the cross after that 1
    assert [int(eroded(true, share).sum()) for share in (0.0, 0.2, 0.5, 0.75, 0.95)] == [25, 25, 13, 5, 1]


def test_a_line_that_the_square_would_take_whole_is_worn_by_the_cross() -> None:
    rows, columns = np.abs(np.mgrid[:25, :25] - 12)
    true = (rows + columns >= 9) & (rows + columns <= 11)  # a slanted ring, three pixels thick
    assert eroded(true, 0.6).sum() == (rows + columns == 10).sum()


def test_something_is_left_of_every_mask_and_a_whole_picture_is_worn_too() -> None:
    assert eroded(np.ones((20, 30), dtype=bool), 0.44).sum() == 14 * 24  # three steps from every border
    dot = np.zeros((5, 5), dtype=bool)
    dot[2, 2] = True
    assert (eroded(dot, 0.9) == dot).all()
    assert not eroded(np.zeros((5, 5), dtype=bool), 0.9).any()


def test_the_mask_error_is_one_less_the_area_under_the_roc_curve() -> None:
    generator = np.random.default_rng(2)
    true, found = generator.random((2, 30, 30)) < [[[0.3]], [[0.6]]]
    assert mask_error(found, true) == pytest.approx(100 * (1 - roc_auc_score(true.ravel(), found.ravel())))
    assert mask_error(true, true) == 0
    assert mask_error(~true, true) == 100
    assert np.isnan(mask_error(found, np.zeros_like(true)))


def test_wrong_masks_and_shares_are_refused() -> None:
    with pytest.raises(DataError, match="bool"):
        eroded(np.ones((3, 3)), 0.5)
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        eroded(np.ones((3, 3), dtype=bool), 1.0)
    with pytest.raises(DataError, match="shape"):
        mask_error(np.ones((3, 3), dtype=bool), np.ones((3, 4), dtype=bool))
