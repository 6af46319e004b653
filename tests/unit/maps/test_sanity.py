"""Maps of which something should be said, and maps of which nothing should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from boxless.errors import DataError
from boxless.maps.sanity import same_for_all_classes, warnings


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
    "the left and the right side": (FRAME * with_patch(slice(None), slice(3, -3), 0.0, around=1.0), "border"),
    "a diagonal": (np.eye(20, 30, dtype=np.float32), None),
    "all but a hole": (with_patch(slice(5, 7), slice(8, 10), 0.0, around=1.0), "nearly everywhere"),
    "large, but not all": (with_patch(slice(1, 19), slice(1, 29)), None),
}


@pytest.mark.parametrize("name", list(CASES))
def test_each_kind_of_map_is_told(name: str) -> None:
    values, expected = CASES[name]
    (found,) = warnings(values[None])
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in found


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_told_and_its_batch_mates_are_judged_alone(value: float) -> None:
    broken = OBJECT.copy()
    broken[0, 0] = value
    found = warnings(torch.from_numpy(np.stack([OBJECT, broken, FRAME])))
    assert found[0] is None
    assert "not finite" in str(found[1])
    assert "border" in str(found[2])


def test_the_threshold_decides_what_is_foreground() -> None:
    values = with_patch(slice(5, 12), slice(8, 20), 1.0, around=0.3)
    assert warnings(values[None], [0.5]) == [None]
    assert "100% of the image" in str(warnings(values[None], 0.2)[0])


def test_a_small_grid_is_not_said_to_hug_its_border() -> None:
    values = np.ones((1, 3, 3), np.float32)
    values[0, 1, 1] = 0
    assert warnings(values) == [None]


def test_maps_outside_their_range_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        warnings(2 * OBJECT[None])


def test_maps_that_are_the_same_for_all_classes_are_told() -> None:
    assert "all classes are the same" in str(same_for_all_classes(np.stack([OBJECT, OBJECT + 0.0005])))
    assert "all classes are the same" in str(same_for_all_classes(torch.from_numpy(np.stack([[OBJECT] * 3] * 2))))
    assert same_for_all_classes(np.stack([OBJECT, FRAME])) is None
    assert same_for_all_classes(np.stack([[OBJECT, OBJECT], [OBJECT, FRAME]])) is None


def test_one_class_or_flat_maps_say_nothing_of_classes() -> None:
    assert same_for_all_classes(OBJECT[None]) is None
    assert same_for_all_classes(np.stack([blank(), blank()])) is None
    assert same_for_all_classes(np.full((2, 4, 4), np.nan)) is None
