from __future__ import annotations

import math

import numpy as np
import pytest

from boxless.predict.engine import Said
from boxless.predict.steady import Steady

HALF = math.log(2)  # seconds over which half is forgotten, if those of the average are 1


def frame(red: int, blue: int = 0) -> np.ndarray:
    return np.full((90, 160, 3), (red, 0, blue), np.uint8)


def said(classes: list[list[int]], values: list[list[float]]) -> Said:
    maps = np.array(values, np.float32)[:, :, None, None] * np.ones((2, 3), np.float32)
    return Said(np.zeros((len(classes), 4)), np.array(classes), maps, np.ones(len(classes), bool))


def test_scores_are_the_exponential_mean_of_the_frames_so_far_whatever_the_batches():
    logits = np.array([[4.0, 0], [1, 3], [1, 3], [7, 0]])
    for batches in ([4], [1, 3], [2, 1, 1]):
        steady = Steady(1)
        for place in range(4):
            steady.expect(place * HALF, frame(100))
        found, start = [], 0
        for size in batches:
            found.append(steady.scores(logits[start : start + size]))
            start += size
        # weights 1; 1/2 1; 1/4 1/2 1; 1/8 1/4 1/2 1
        expected = [[4, 0], [3 / 1.5, 3 / 1.5], [2.5 / 1.75, 4.5 / 1.75], [8.25 / 1.875, 2.25 / 1.875]]
        np.testing.assert_allclose(np.concatenate(found), expected)


def test_the_past_counts_less_the_longer_ago_it_is():
    steady = Steady(2)
    for time in (0, 4 * HALF):
        steady.expect(time, frame(100))
    np.testing.assert_allclose(steady.scores(np.array([[1.0], [0.0]]))[1], [0.25 / 1.25])


@pytest.mark.parametrize(("second", "cuts"), [(frame(20, 220), 1), (frame(110), 0)])
def test_a_cut_forgets_and_a_change_of_light_does_not(second, cuts):
    steady = Steady(1)
    steady.expect(0, frame(120))
    steady.expect(HALF, second)
    assert steady.cuts == cuts
    assert steady.scores(np.array([[1.0], [4.0]]))[1, 0] == pytest.approx(4 if cuts else 4.5 / 1.5)
    maps = steady.maps(said([[0], [0]], [[1], [0.1]]), np.zeros((2, 4))).maps
    assert maps[1].max() == pytest.approx(0.1 if cuts else 0.6 / 1.5)


def test_a_map_is_averaged_with_those_of_its_own_class():
    steady = Steady(1)
    for place in range(4):
        steady.expect(place * HALF, frame(100))
    given = said([[0, 1], [1, 0], [1, 1], [0, 1]], [[0.8, 0.2], [0.5, 0.4], [0.5, 0.5], [1.0, 0.0]])
    scores = steady.scores(np.zeros((4, 4)))
    found = steady.maps(given, scores + 1)
    np.testing.assert_array_equal(found.logits, scores + 1)
    np.testing.assert_array_equal(given.maps[1, 0], np.float32(0.5))  # what was said is left as it is
    one = [0.2, 0.6 / 1.5, 0.8 / 1.75, 0.4 / 1.875]
    np.testing.assert_allclose(found.maps[:2, :, 0, 0], [[0.8, one[0]], [one[1], 0.8 / 1.5]], rtol=1e-6)
    np.testing.assert_allclose(found.maps[2:, :, 0, 0], [[one[2], one[2]], [1.0, one[3]]], rtol=1e-6)
