"""The IoU of every threshold's box, in boxless' own rule; that of wsolevaluation is held in test_box_golden.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from boxless.errors import ConfigError, DataError
from boxless.metrics import iou_curves

# A square of 2 x 2 whose right half is weaker, and a weak column apart from it: 8 x 4 pixels of the original.
VALUES = np.array([[1, 0.6, 0, 0.3], [1, 0.6, 0, 0.3]])
SIZE = (8, 4)
THRESHOLDS = [0.0, 0.3, 0.6]
LEFT, RIGHT = (0, 0, 4, 4), (6, 0, 8, 4)


def overlap(box, true):
    width = min(box[2], true[2]) - max(box[0], true[0])
    height = min(box[3], true[3]) - max(box[1], true[1])
    common = max(width, 0) * max(height, 0)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, true)]
    return common / (sum(areas) - common)


def by_labelling(values, truth, size, threshold, every):
    """The best IoU by scikit-image's labels, box by box."""
    labels = label(values > threshold * values.max(), connectivity=2)
    found = []
    for number in range(1, labels.max() + 1):
        rows, columns = np.nonzero(labels == number)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)
        box *= np.array(size * 2) / np.array(values.shape[::-1] * 2)
        found.append((-len(rows), rows[0] * values.shape[1] + columns[0], box))
    found.sort(key=lambda each: each[:2])
    candidates = found if every else found[:1]
    return max((overlap(box, true) for _, _, box in candidates for true in truth), default=0.0)


def test_the_largest_component_alone_counts():
    assert iou_curves([VALUES], [[LEFT]], [SIZE], THRESHOLDS).tolist() == [[1, 1, 0.5]]
    assert iou_curves([VALUES], [[RIGHT]], [SIZE], THRESHOLDS).tolist() == [[0, 0, 0]]


def test_of_all_components_the_best_counts():
    assert iou_curves([VALUES], [[RIGHT]], [SIZE], THRESHOLDS, contours="all").tolist() == [[1, 0, 0]]
    assert iou_curves([VALUES], [[LEFT]], [SIZE], THRESHOLDS, contours="all").tolist() == [[1, 1, 0.5]]


@pytest.mark.parametrize("contours", ["largest", "all"])
def test_of_several_true_boxes_the_best_counts(contours):
    both = [RIGHT, (0, 0, 2, 4)]  # the second is the stronger column alone
    expected = [[0.5, 0.5, 1]] if contours == "largest" else [[1, 0.5, 1]]
    assert iou_curves([VALUES], [both], [SIZE], THRESHOLDS, contours=contours).tolist() == expected


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    steps=st.sampled_from([1, 3, 1000]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    places=st.sets(st.integers(0, 999), min_size=1, max_size=6),
    every=st.booleans(),
)
def test_each_threshold_gives_what_labelling_gives(seed, steps, height, width, places, every):
    random = np.random.default_rng(seed)
    values = np.round(random.random((height, width)) * steps) / steps
    size = tuple(random.integers(1, 50, 2).tolist())
    corners = random.random((random.integers(1, 4), 4))
    truth = [
        (x0 * size[0], y0 * size[1], (x0 + 0.1 + x1) * size[0], (y0 + 0.1 + y1) * size[1]) for x0, y0, x1, y1 in corners
    ]
    inside = [(x0, y0, min(x1, size[0]), min(y1, size[1])) for x0, y0, x1, y1 in truth]
    thresholds = sorted(place / 1000 for place in places)
    found = iou_curves([values], [truth], [size], thresholds, contours="all" if every else "largest")
    expected = [by_labelling(values, inside, size, each, every) for each in thresholds]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-15)


def test_without_thresholds_they_are_the_thousand_of_the_field():
    found = iou_curves([VALUES], [[LEFT]], [SIZE])
    assert found.shape == (1, 1000)
    assert np.flatnonzero(np.diff(found[0])).tolist() == [599]  # 0.599 is below the weaker half, 0.6 is not


@pytest.mark.parametrize("contours", ["largest", "all"])
@pytest.mark.parametrize("compat", [None, "wsolevaluation"])
def test_an_image_without_a_true_box_has_a_row_of_nan(contours, compat):
    for nothing in ([], np.zeros((0, 4))):
        found = iou_curves(
            [VALUES, VALUES], [nothing, [LEFT]], [SIZE, SIZE], THRESHOLDS, contours=contours, compat=compat
        )
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1]).all()


def test_no_map_gives_no_row():
    assert iou_curves(np.zeros((0, 4, 4)), [], [], THRESHOLDS).shape == (0, 3)


@pytest.mark.parametrize("contours", ["largest", "all"])
def test_an_empty_map_overlaps_nothing_and_a_constant_one_is_the_whole_image(contours):
    maps = [np.zeros((2, 2)), np.full((2, 2), 0.4)]
    quarter = [(0, 0, 4, 2)]
    assert iou_curves(maps, [quarter] * 2, [SIZE] * 2, THRESHOLDS, contours=contours).tolist() == [[0] * 3, [0.25] * 3]


def test_what_of_a_true_box_lies_outside_is_cut_off():
    assert iou_curves([VALUES], [[(-3, -1, 4, 9)]], [SIZE], THRESHOLDS).tolist() == [[1, 1, 0.5]]


def test_float32_maps_are_compared_as_they_are():
    values = np.array([[0.1, 1.0]])
    assert iou_curves([values], [[(0, 0, 1, 1)]], [(2, 1)], [0.1])[0, 0] == 0
    assert iou_curves([values.astype(np.float32)], [[(0, 0, 1, 1)]], [(2, 1)], [0.1])[0, 0] == 0.5


@pytest.mark.parametrize("sizes", [[[8, 4]], np.array([[8, 4]]), np.array([[8.0, 4.0]], dtype=np.float32)])
def test_sizes_may_be_the_rows_of_an_array(sizes):
    assert iou_curves([VALUES], [[LEFT]], sizes, THRESHOLDS).tolist() == [[1, 1, 0.5]]


def changed(place, value):
    values = VALUES.copy()
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"maps": [VALUES, changed((0, 1), np.nan)]}, r"maps\[1\]: got nan at row 0, column 1"),
        ({"maps": [VALUES, changed((1, 3), 1.01)]}, r"maps\[1\]: got 1.01 at row 1, column 3"),
        ({"maps": [VALUES, changed((1, 0), -0.1)]}, r"maps\[1\]: got -0.1"),
        ({"maps": VALUES}, r"maps: got shape \(2, 4\)"),
        ({"maps": np.zeros((2, 1, 2, 4))}, r"maps: got shape \(2, 1, 2, 4\)"),
        ({"maps": np.zeros((2, 0, 4))}, r"maps\[0\]: got shape \(0, 4\)"),
        ({"boxes": [[LEFT]]}, "got 1 and 2 for 2 maps"),
        ({"sizes": [SIZE] * 3}, "got 2 and 3 for 2 maps"),
        ({"boxes": [[LEFT], [(4, 0, 0, 4)]]}, r"truth\[1\]: got the box \[4.0, 0.0, 0.0, 4.0\]"),
        ({"boxes": [[LEFT], [(0, 0, np.inf, 4)]]}, r"truth\[1\]: got the box"),
        ({"boxes": [[LEFT], [LEFT, (8, 0, 9, 4)]]}, r"boxes\[1\]: got the box \[8.0, 0.0, 9.0, 4.0\].* 8 x 4 pixels"),
        ({"boxes": [LEFT, LEFT]}, r"truth\[0\]: got shape \(4,\)"),
        ({"sizes": [SIZE, (8, 0)]}, r"sizes\[1\]: got \(8, 0\)"),
        ({"sizes": [SIZE, (8, np.nan)]}, r"sizes\[1\]"),
        ({"sizes": [SIZE, (8, 4, 3)]}, r"sizes\[1\]"),
        ({"sizes": [8, 4]}, r"sizes\[0\]: got 8"),
        ({"thresholds": [0.5, 0.2]}, "strictly ascending"),
        ({"thresholds": [0.5, 0.5]}, "strictly ascending"),
    ],
)
@pytest.mark.parametrize("contours", ["largest", "all"])
def test_bad_input_is_refused_by_its_place(changes, named, contours):
    good = {"maps": [VALUES, VALUES], "boxes": [[LEFT], [LEFT]], "sizes": [SIZE, SIZE], "thresholds": THRESHOLDS}
    with pytest.raises(DataError, match=named):
        iou_curves(**{**good, **changes}, contours=contours)


@pytest.mark.parametrize("compat", [None, "wsolevaluation"])
@pytest.mark.parametrize("thresholds", [[0.5, 1.0], [-0.1], [np.nan], [], 0.5])
def test_thresholds_that_are_no_fractions_are_refused(thresholds, compat):
    with pytest.raises(DataError, match="thresholds: got"):
        iou_curves([VALUES], [[LEFT]], [SIZE], thresholds, compat=compat)


def test_a_negative_corner_is_refused_where_wsolevaluation_refuses_it():
    with pytest.raises(DataError, match=r"boxes\[1\]: got -1.* not negative"):
        iou_curves([VALUES] * 2, [[LEFT], [(-1, 0, 4, 4)]], [SIZE] * 2, compat="wsolevaluation")


def test_rules_that_there_are_not_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="'biggest'; it is one of largest, all"):
        iou_curves([VALUES], [[LEFT]], [SIZE], contours="biggest")
    with pytest.raises(ConfigError, match=r"'wsol'.*wsolevaluation"):
        iou_curves([VALUES], [[LEFT]], [SIZE], compat="wsol")
