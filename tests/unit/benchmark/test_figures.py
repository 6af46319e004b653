"""Figures of several seeds, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from boxless.benchmark.figures import ORACLE, Scores, put_together
from boxless.errors import DataError

NONE = math.nan


def scores(names: str, accuracy: list[float], right: list[list[float]], classes: list[float] | None = None) -> Scores:
    of_boxes = np.array(accuracy, dtype=float)
    of_classes = np.array(accuracy if classes is None else classes, dtype=float)
    figures = {
        "box_accuracy": of_boxes,
        "mean_iou": of_boxes / 100,
        "class_accuracy": of_classes,
        "top1_localization": of_boxes,
    }
    return Scores(tuple(names), figures, np.array(right, dtype=float))


FIRST = scores("abcd", [100, 0, 0, NONE], [[100, 0], [0, 100], [0, 100], [NONE, NONE]], [100, 0, 0, 100])
SECOND = scores("dcba", [NONE, 100, 100, 0], [[NONE, NONE], [100, 0], [100, 0], [0, 0]])
"""The images of the first in another order: c and b right, a wrong."""


def test_a_figure_of_one_seed_is_the_mean_over_images_that_take_part() -> None:
    one = put_together([FIRST])
    assert one.figure("box_accuracy").value == pytest.approx(100 / 3)
    assert one.figure("class_accuracy").value == 50
    assert one.figure(ORACLE).value == pytest.approx(200 / 3)
    assert one.figure("box_accuracy").deviation is None
    low, high = one.figure("box_accuracy").low, one.figure("box_accuracy").high
    assert low == 0
    assert high == 100
    assert one.figure("mean_iou").text(3) == "0.333 [0.000, 1.000]"


def test_several_seeds_give_their_mean_and_sample_deviation() -> None:
    both = put_together([FIRST, SECOND])
    figure = both.figure("box_accuracy")
    assert figure.value == pytest.approx(50)
    assert figure.deviation == pytest.approx(100 / 3 / math.sqrt(2))  # of 33.3 and 66.7
    assert figure.text(1) == "50.0 ± 23.6"
    oracle = both.figure(ORACLE)  # 66.7 at the second threshold, and 66.7 at the first
    assert (oracle.value, oracle.deviation) == (pytest.approx(200 / 3), pytest.approx(0))


def test_differences_are_paired_by_name_and_not_by_place() -> None:
    one, other = put_together([FIRST]), put_together([SECOND])
    found = other.less(one, "box_accuracy")
    assert found.value == pytest.approx(100 / 3)
    assert (found.first, found.second) == (pytest.approx(100 / 3), pytest.approx(200 / 3))
    again = put_together([scores("bacd", [0, 100, 0, NONE], FIRST.right[[1, 0, 2, 3]].tolist())])
    assert again.less(one, "box_accuracy").value == 0
    assert (again.less(one, "box_accuracy").low, again.less(one, "box_accuracy").high) == (0, 0)


def test_an_image_without_a_box_in_any_seed_takes_no_part_and_no_image_gives_a_dash() -> None:
    empty = put_together([scores("ab", [NONE, NONE], [[NONE], [NONE]], [100, 0])])
    assert empty.figure("box_accuracy").text(1) == "–"
    assert empty.figure(ORACLE).to_dict()["value"] is None
    assert empty.figure("class_accuracy").value == 50


def test_seeds_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="different images"):
        put_together([FIRST, scores("abce", [0, 0, 0, 0], [[0, 0]] * 4)])
