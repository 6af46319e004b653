"""Maps of which something should be said, maps of which nothing should, and how it is said of many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from boxless.errors import DataError
from boxless.maps.sanity import KINDS, Warned, Warnings, kinds_of, same_for_all_classes, sentence


def blank(value: float = 0.0) -> Any:
    return np.full((20, 30), value, np.float32)


def with_patch(rows: slice, columns: slice, value: float = 1.0, around: float = 0.0) -> Any:
    values = blank(around)
    values[rows, columns] = value
    return values


FRAME = with_patch(slice(2, -2), slice(3, -3), 0.0, around=1.0)
OBJECT = with_patch(slice(5, 12), slice(8, 20))
CASES = {
    "nothing anywhere": (blank(), "flat"),
    "the same everywhere": (blank(0.7), "flat"),
    "an object": (OBJECT, None),
    "an object cut off by one side": (with_patch(slice(5, 12), slice(0, 3)), None),
    "an object in a corner": (with_patch(slice(0, 2), slice(0, 3)), None),
    "a frame": (FRAME, "border"),
    "nearly the same everywhere": (with_patch(slice(5, 12), slice(8, 20), 0.5009, around=0.5), "flat"),
    "the left and the right side": (FRAME * with_patch(slice(None), slice(3, -3), 0.0, around=1.0), "border"),
    "a diagonal": (np.eye(20, 30, dtype=np.float32), None),
    "all but a hole": (with_patch(slice(5, 7), slice(8, 10), 0.0, around=1.0), "whole_image"),
    "large, but not all": (with_patch(slice(1, 19), slice(1, 29)), None),
}


@pytest.mark.parametrize("name", list(CASES))
def test_each_kind_of_map_is_told(name: str) -> None:
    values, expected = CASES[name]
    assert kinds_of(values[None]) == [expected]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_told_and_its_batch_mates_are_judged_alone(value: float) -> None:
    broken = OBJECT.copy()
    broken[0, 0] = value
    assert kinds_of(torch.from_numpy(np.stack([OBJECT, broken, FRAME]))) == [None, "not_finite", "border"]


def test_the_threshold_decides_what_is_foreground() -> None:
    values = with_patch(slice(5, 12), slice(8, 20), 1.0, around=0.3)
    assert kinds_of(values[None], [0.5]) == [None]
    assert kinds_of(values[None], 0.2) == ["whole_image"]


def test_a_small_grid_is_not_said_to_hug_its_border() -> None:
    values = np.ones((1, 3, 3), np.float32)
    values[0, 1, 1] = 0
    assert kinds_of(values) == [None]


def test_maps_outside_their_range_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        kinds_of(2 * OBJECT[None])


def test_maps_that_are_the_same_for_all_classes_are_told() -> None:
    assert same_for_all_classes(np.stack([OBJECT, OBJECT + 0.0005]))
    assert same_for_all_classes(torch.from_numpy(np.stack([[OBJECT] * 3] * 2)))
    assert not same_for_all_classes(np.stack([OBJECT, FRAME]))
    assert not same_for_all_classes(np.stack([[OBJECT, OBJECT], [OBJECT, FRAME]]))


def test_one_class_or_flat_maps_say_nothing_of_classes() -> None:
    assert not same_for_all_classes(OBJECT[None])
    assert not same_for_all_classes(np.stack([blank(), blank()]))
    assert not same_for_all_classes(np.full((2, 4, 4), np.nan))


def test_what_is_said_of_one_map_has_its_meaning_and_what_to_do() -> None:
    assert sentence("border") == (
        "the map is high along the border of the image alone: networks that react to padding do that, and the box is "
        "likely not on the object; take another layer or another map."
    )
    assert len({sentence(kind) for kind in KINDS}) == len(KINDS) == 5


def test_of_many_maps_each_kind_is_said_once_with_its_count_and_the_first_name() -> None:
    found = Warnings()
    for name, kind in (("a", None), ("b", "border"), ("c", "flat"), ("d", "border"), ("e", "border")):
        found.add(name, kind)
    assert found.all() == (Warned("flat", 1, 5, "c"), Warned("border", 3, 5, "b"))
    assert found.all()[0].sentence().startswith("1 of 5 maps, that of c, is flat: no place counts more")
    assert found.all()[1].sentence("of val").startswith("3 of 5 of val, such as that of b, are high along the border")
    assert Warnings().all() == ()
