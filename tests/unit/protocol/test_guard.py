"""Pseudo-boxes beside one centred box, on boxes whose overlaps are worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics.baselines import centred_boxes
from boxless.protocol.guard import (
    CONSTANT_LIMIT,
    best_centred,
    like_a_constant,
    no_better_than_centred,
    worse_than_centred,
)

SIZES = [(200, 100)] * 40
NAMES = [f"{number}.jpg" for number in range(len(SIZES))]
CORNERS = np.array([[0, 0, 50, 50], [150, 0, 200, 50], [0, 50, 50, 100], [150, 50, 200, 100]], dtype=np.float64)
SCATTERED = np.tile(CORNERS, (10, 1))  # a quarter of the width and half of the height, in the four corners


def test_the_best_centred_box_is_that_of_the_boxes_own_shape() -> None:
    found = best_centred([[50, 40, 150, 60]] * 3, [(200, 100)] * 3)
    assert found.sides == pytest.approx((0.5, 0.2))
    assert found.mean_iou == pytest.approx(1)
    assert found.error == pytest.approx(0)


def test_its_overlap_with_a_box_to_one_side_is_as_worked_out_by_hand() -> None:
    # Of the left half of an image, a centred box of all of its height and of the width s holds s/2: of s + 1/2 - s/2
    # in all, which is most for s = 1: half of the image's area of 1.
    found = best_centred([[0, 0, 100, 100]], [(200, 100)])
    assert found.sides == (1, 1)
    assert found.mean_iou == pytest.approx(0.5)
    assert np.isnan(found.error)
    assert best_centred([[0, 0, 100, 100]] * 2 + [[100, 0, 200, 100]], [(200, 100)] * 3).mean_iou == pytest.approx(0.5)


def test_its_overlaps_are_those_of_boxes_in_pixels() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 300, (30, 2))
    low, long = random.random((30, 2)) * 0.5, 0.1 + random.random((30, 2)) * 0.4
    boxes = np.concatenate([low, low + long], axis=1) * np.tile(sizes, 2)
    found = best_centred(boxes, sizes)
    margin = sizes * (1 - np.array(found.sides)) / 2
    centred = np.concatenate([margin, sizes - margin], axis=1)
    common = np.prod(np.clip(np.minimum(boxes, centred)[:, 2:] - np.maximum(boxes, centred)[:, :2], 0, None), axis=1)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, centred)]
    overlaps = common / (areas[0] + areas[1] - common)
    assert found.mean_iou == pytest.approx(overlaps.mean())
    assert found.error == pytest.approx(overlaps.std(ddof=1) / 30**0.5)


def test_boxes_that_are_one_box_are_told_and_boxes_all_over_are_not() -> None:
    told = like_a_constant(centred_boxes(SIZES, 0.8) + 1, SIZES)
    assert told.warning is not None
    assert "one centred box of 0.8 of each side has a mean IoU of 0.9" in told.warning
    assert (told.value > 0.9, told.limit, told.images) == (True, CONSTANT_LIMIT, 40)
    fine = like_a_constant(SCATTERED, SIZES)
    assert fine.warning is None
    assert fine.value < 0.2
    tall = like_a_constant([[50, 0, 150, 100]] * 2, SIZES[:2])
    assert tall.warning is not None
    assert "0.5 of the width and 1 of the height" in tall.warning


def test_boxes_as_varied_as_true_ones_of_cub_pass() -> None:
    # Spread so that the best centred box has what it has with the true boxes of CUB, .47, as the limit says.
    random = np.random.default_rng(0)
    middle = 0.5 + random.uniform(-0.17, 0.17, (500, 2))
    half = random.uniform(0.15, 0.42, (500, 2))
    boxes = np.clip(np.concatenate([middle - half, middle + half], axis=1), 0, 1)
    found = like_a_constant(boxes, np.ones((500, 2)))
    assert 0.42 < found.value < 0.52
    assert found.warning is None


def test_a_localizer_has_to_agree_better_than_the_centred_box_and_chance() -> None:
    half = np.concatenate([centred_boxes(SIZES[:21], 1.0), centred_boxes(SIZES[:19], 0.5)])
    found = best_centred(half, SIZES)
    # The whole image 21 times and half of each side 19 times: the whole image has 1 and .25 with them.
    assert found.sides == (1, 1)
    mean = (21 + 19 / 4) / 40
    assert found.mean_iou == pytest.approx(mean)
    variance = (21 * (1 - mean) ** 2 + 19 * (0.25 - mean) ** 2) / 39
    limit = mean + 1.96 * (variance / 40) ** 0.5
    assert no_better_than_centred(limit + 0.001, half, SIZES).warning is None
    told = no_better_than_centred(limit - 0.001, half, SIZES)
    assert told.limit == pytest.approx(limit)
    assert told.warning is not None
    assert "no better (mean IoU 0.76 at the best threshold) than one centred box of 1 of each side" in told.warning
    assert no_better_than_centred(float("nan"), half, SIZES).warning is not None


def test_true_boxes_tell_pseudo_boxes_that_are_right_from_a_constant() -> None:
    truth = [box[None] for box in SCATTERED]
    fine = worse_than_centred(NAMES, SCATTERED, SIZES, truth, replicates=200)
    assert fine.warning is None
    assert fine.value == 1
    assert fine.limit == pytest.approx(1 / 8)  # each object is an eighth of the image, which is the best centred box
    assert fine.centred.sides == (1, 1)
    assert fine.difference is not None
    assert fine.difference.value == pytest.approx(7 / 8)
    assert fine.difference.low == pytest.approx(7 / 8, abs=1e-5)


def test_pseudo_boxes_behind_a_centred_box_are_told_as_an_oracle_s_knowledge() -> None:
    truth = [box[None] for box in centred_boxes(SIZES, 0.6)]
    told = worse_than_centred(NAMES, SCATTERED, SIZES, truth, replicates=200)
    assert told.warning is not None
    assert told.warning.startswith("ORACLE: the pseudo-boxes are worse than one centred box of 0.6 of each side")
    assert "difference -0.9" in told.warning
    assert told.sign.startswith("ORACLE")
    same = worse_than_centred(NAMES, centred_boxes(SIZES, 0.6), SIZES, truth, replicates=200)
    assert same.warning is not None
    assert "not clearly better than one centred box" in same.warning
    assert worse_than_centred(NAMES, SCATTERED, SIZES, truth, replicates=0).warning is not None


def test_images_without_a_true_box_take_no_part_and_the_verdict_can_be_written() -> None:
    truth = [np.zeros((0, 4)), *(box[None] for box in SCATTERED[1:])]
    found = worse_than_centred(NAMES, SCATTERED, SIZES, truth, replicates=100)
    assert found.images == 39
    assert found.value == 1
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["difference"]["first"] == pytest.approx(1 / 8)
    alone = like_a_constant(SCATTERED[:1], SIZES[:1]).to_dict()
    assert alone["centred"]["error"] is None
    with pytest.raises(DataError, match="none of the images with a pseudo-box has a true box"):
        worse_than_centred(NAMES, SCATTERED, SIZES, [np.zeros((0, 4))] * 40)


@pytest.mark.parametrize(
    ("boxes", "sizes", "said"),
    [
        ([], [], "give .n, 2., the positive width and height"),
        ([[0, 0, 1, 1]], [(0, 5)], "positive width and height"),
        ([[0, 0, 1, 1]] * 2, [(5, 5)], r"got shape \(2, 4\)"),
        ([[0, 0, 0, 0]], [(5, 5)], "leave images out where nothing was found"),
        ([[6, 0, 9, 5]], [(5, 5)], "has no area inside its image"),
    ],
)
def test_what_is_no_box_is_refused(boxes: list[list[float]], sizes: list[tuple[float, float]], said: str) -> None:
    for check in (best_centred, like_a_constant):
        with pytest.raises(DataError, match=said):
            check(boxes, sizes)
