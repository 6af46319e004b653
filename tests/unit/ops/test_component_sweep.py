"""Every component at every threshold, held to what labelling at each threshold alone gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boxless.errors import DataError
from boxless.ops import default_thresholds, sweep_boxes, sweep_components
from boxless.ops.components import components

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
STEPS = arrays(np.uint8, SHAPES, elements=st.integers(0, 5)).map(lambda steps: steps / 5)  # many equal values
FLOATS = arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32))
PLACES = st.sets(st.integers(0, 999), min_size=1, max_size=8)


def there_at(sweep, place):
    """Boxes and areas of the components at one threshold, in one order."""
    there = (sweep.lowest <= place) & (place <= sweep.highest)
    return sorted(
        (*box, area) for box, area in zip(sweep.boxes[there].tolist(), sweep.areas[there].tolist(), strict=True)
    )


@settings(max_examples=120, deadline=None)
@given(values=STEPS | FLOATS, places=PLACES)
def test_each_threshold_has_just_the_components_that_labelling_finds(values, places):
    thresholds = default_thresholds()[sorted(places)]
    sweep = sweep_components(values, thresholds)
    for place, threshold in enumerate(thresholds):
        alone = components(values, threshold)
        expected = sorted((*box, area) for box, area in zip(alone.boxes.tolist(), alone.areas.tolist(), strict=True))
        assert there_at(sweep, place) == expected


@settings(max_examples=40, deadline=None)
@given(values=STEPS | FLOATS, places=PLACES)
def test_the_largest_of_them_is_that_of_the_sweep_of_the_largest(values, places):
    thresholds = default_thresholds()[sorted(places)]
    sweep, largest = sweep_components(values, thresholds), sweep_boxes(values, thresholds)
    for place in range(len(thresholds)):
        assert max((each[4] for each in there_at(sweep, place)), default=0) == largest.areas[place]


@settings(max_examples=40, deadline=None)
@given(values=STEPS | FLOATS)
def test_the_list_is_no_longer_than_twice_the_pixels_and_its_ranges_are_ranges(values):
    sweep = sweep_components(values)
    assert len(sweep.boxes) <= 2 * values.size
    assert (sweep.lowest >= 0).all()
    assert (sweep.lowest <= sweep.highest).all()
    assert (sweep.highest < 1000).all()


def test_two_peaks_part_where_the_saddle_sinks_below_the_cut():
    sweep = sweep_components([[1.0, 0.25, 0.75]], [0.0, 0.2, 0.25, 0.5, 0.75])
    assert [there_at(sweep, place) for place in range(5)] == [
        [(0, 0, 3, 1, 3)],
        [(0, 0, 3, 1, 3)],
        [(0, 0, 1, 1, 1), (2, 0, 3, 1, 1)],  # a value at the cut is background
        [(0, 0, 1, 1, 1), (2, 0, 3, 1, 1)],
        [(0, 0, 1, 1, 1)],
    ]
    assert len(sweep.boxes) == 3  # one for each component, not for each threshold
    assert sweep.thresholds.tolist() == [0.0, 0.2, 0.25, 0.5, 0.75]


def test_a_component_that_grows_is_listed_anew_with_its_own_thresholds():
    sweep = sweep_components([[1.0, 0.5]], [0.0, 0.4, 0.6])
    found = sorted(zip(sweep.areas.tolist(), sweep.lowest.tolist(), sweep.highest.tolist(), strict=True))
    assert found == [(1, 2, 2), (2, 0, 1)]


def test_an_empty_map_has_no_component_and_a_constant_one_has_one():
    assert sweep_components(np.zeros((3, 4))).boxes.shape == (0, 4)
    constant = sweep_components(np.full((3, 4), 0.3))
    assert constant.boxes.tolist() == [[0, 0, 4, 3]]
    assert (constant.areas.tolist(), constant.lowest.tolist(), constant.highest.tolist()) == ([12], [0], [999])


@pytest.mark.parametrize(
    ("values", "thresholds", "named"),
    [
        ([[0.1, float("nan")]], None, "nan at row 0, column 1"),
        ([[1.5]], None, "1.5"),
        ([0.1, 0.2], None, r"\(2,\)"),
        ([[1.0]], [0.5, 0.2], "0.5 and then 0.2"),
        ([[1.0]], [1.0], "got 1.0"),
        ([[1.0]], [], "got none"),
    ],
)
def test_what_makes_no_sweep_is_refused(values, thresholds, named):
    with pytest.raises(DataError, match=named):
        sweep_components(values, thresholds)
