import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from boxless.errors import DataError
from boxless.ops import default_thresholds, largest_boxes, sweep_batch, sweep_boxes
from boxless.ops.components import components

KINDS = [
    "noise",
    "float32",
    "levels",
    "blobs",
    "ring",
    "checkerboard",
    "lines",
    "points",
    "border",
    "empty",
    "constant",
]


def draw(kind, height, width, seed):
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    values = random.random((height, width))
    if kind == "float32":
        return values.astype(np.float32)
    if kind == "levels":
        return np.round(values * 4) / 4
    if kind == "blobs":
        centres = random.random((3, 2)) * (height, width)
        return np.max([np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) for y, x in centres], axis=0)
    if kind == "ring":
        distance = np.hypot(rows - height / 2, columns - width / 2)
        return np.exp(-((distance - min(height, width) / 3) ** 2)) + 0.5 * (distance < 1)
    if kind == "checkerboard":
        return (rows + columns) % 2 * values
    if kind == "lines":
        return np.where(rows % 3 == 0, values, 0) if seed % 2 else np.where(rows == columns, 1.0, 0.0)
    if kind == "points":
        return np.where(random.random((height, width)) > 0.9, 0.7, 0.0)
    if kind == "border":
        return np.where((rows == 0) | (columns == width - 1), values, 0)
    return np.full((height, width), 0.0 if kind == "empty" else 0.3)


def all_by_labelling(values, threshold):
    """Boxes and areas by scikit-image, largest first, equal ones by their first pixel."""
    exact = np.asarray(values, dtype=np.float64)
    labels = label(exact > threshold * exact.max(), connectivity=2)
    found = []
    for number in range(1, labels.max() + 1):
        rows, columns = np.nonzero(labels == number)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        inside = exact[rows, columns]
        found.append((-len(rows), rows[0] * labels.shape[1] + columns[0], box, inside.max(), inside.mean()))
    return sorted(found)


@settings(max_examples=250, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    seed=st.integers(0, 2**16),
    places=st.sets(st.integers(0, 999), min_size=1, max_size=12),
)
def test_every_threshold_gives_what_labelling_gives(kind, height, width, seed, places):
    values = np.minimum(draw(kind, height, width, seed), 1)
    thresholds = default_thresholds()[sorted(places)]
    sweep = sweep_boxes(values, thresholds)
    for i, threshold in enumerate(thresholds):
        expected = all_by_labelling(values, threshold)
        area, box = (-expected[0][0], expected[0][2]) if expected else (0, (0, 0, 0, 0))
        assert sweep.areas[i] == area
        assert tuple(sweep.boxes[i]) == box
        boxes, areas = largest_boxes(values[None], [threshold])
        assert (tuple(boxes[0]), areas[0]) == (box, area)


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(KINDS), side=st.integers(1, 12), seed=st.integers(0, 2**16), threshold=st.floats(0, 0.99))
def test_all_components_are_those_of_labelling(kind, side, seed, threshold):
    values = np.minimum(draw(kind, side, side + 1, seed), 1)
    found, expected = components(values, threshold), all_by_labelling(values, threshold)
    assert found.areas.tolist() == [-each[0] for each in expected]
    assert found.boxes.tolist() == [list(each[2]) for each in expected]
    assert found.peaks.tolist() == [each[3] for each in expected]
    np.testing.assert_allclose(found.means, [each[4] for each in expected], rtol=1e-12)  # sums in another order


def test_boxes_are_half_open_and_x_comes_first():
    values = np.zeros((4, 6))
    values[1:3, 2:5] = 1
    assert sweep_boxes(values, [0.5]).boxes.tolist() == [[2, 1, 5, 3]]
    assert sweep_boxes(values, [0.5]).areas.tolist() == [6]


def test_default_thresholds_are_the_thousand_of_the_field():
    sweep = sweep_boxes(np.ones((2, 2)))
    assert len(sweep.thresholds) == 1000
    assert sweep.thresholds[[0, -1]] == pytest.approx([0, 0.999])
    assert (sweep.areas == 4).all()


def test_a_value_at_the_cut_is_background():
    assert sweep_boxes([[0.25, 0.5, 1.0]], [0.25, 0.5]).areas.tolist() == [2, 1]


def test_thresholds_are_relative_to_the_maps_own_maximum():
    assert sweep_boxes([[0.1, 0.3, 0.4]], [0.5, 0.8]).areas.tolist() == [2, 1]


def test_values_closer_than_a_byte_apart_are_told_apart():
    assert sweep_boxes([[0.5, 0.5001, 1.0]], [0.5, 0.50005, 0.5002]).areas.tolist() == [2, 2, 1]


def test_float32_is_compared_in_float64():
    # float32(0.1) is a little more than 0.1: above the cut 0.1 * 1.0, though equal to it in float32.
    assert sweep_boxes(np.array([[0.1, 1.0]], dtype=np.float32), [0.1]).areas.tolist() == [2]
    assert sweep_boxes(np.array([[0.1, 1.0]]), [0.1]).areas.tolist() == [1]


def test_hole_does_not_split_a_component():
    values = np.ones((5, 5))
    values[1:4, 1:4] = 0
    found = components(values, 0.5)
    assert found.boxes.tolist() == [[0, 0, 5, 5]]
    assert found.areas.tolist() == [16]  # the hole does not count


def test_pixels_that_touch_at_a_corner_are_one_component():
    assert components(np.eye(3), 0.5).areas.tolist() == [3]
    assert components(np.eye(3)[::-1], 0.5).areas.tolist() == [3]


def test_of_equally_large_components_the_first_in_raster_order_counts():
    values = np.zeros((3, 7))
    values[0:2, 4:6] = 0.9  # starts in row 0, though further right
    values[1:3, 0:2] = 1.0
    for boxes in (sweep_boxes(values, [0.5]).boxes, largest_boxes(values[None], [0.5])[0]):
        assert boxes.tolist() == [[4, 0, 6, 2]]
    assert components(values, 0.5).boxes.tolist() == [[4, 0, 6, 2], [0, 1, 2, 3]]
    assert sweep_boxes(values, [0.5, 0.95]).boxes[1].tolist() == [0, 1, 2, 3]


def test_a_tie_goes_to_the_first_component_also_if_it_grew_by_a_merge():
    values = np.array([[0.5, 0, 0, 1, 1, 1], [0.5, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0]])
    assert sweep_boxes(values, [0.2, 0.7]).boxes.tolist() == [[0, 0, 1, 3], [3, 0, 6, 1]]


def test_an_empty_map_gives_no_box():
    sweep = sweep_boxes(np.zeros((3, 4)))
    assert not sweep.boxes.any()
    assert not sweep.areas.any()
    assert len(components(np.zeros((3, 4)), 0).areas) == 0


def test_small_components_are_left_out_on_request():
    values = np.array([[1, 1, 0, 1.0]])
    assert components(values, 0.5, min_area=2).areas.tolist() == [2]


def test_subnormal_maps_are_cut_like_others():
    tiny = 5e-324
    assert sweep_boxes([[tiny, 4 * tiny]], [0.0, 0.5]).areas.tolist() == [2, 1]


def test_a_batch_gives_what_its_maps_give_alone():
    maps = np.random.default_rng(0).random((3, 9, 5)).astype(np.float32)
    thresholds = [0.0, 0.3, 0.9]
    boxes, areas = sweep_batch(maps, thresholds)
    for i, each in enumerate(maps):
        assert (boxes[i] == sweep_boxes(each, thresholds).boxes).all()
        assert (areas[i] == sweep_boxes(each, thresholds).areas).all()
    own, own_areas = largest_boxes(maps, thresholds)
    assert (own == boxes[[0, 1, 2], [0, 1, 2]]).all()
    assert (own_areas == areas[[0, 1, 2], [0, 1, 2]]).all()


def test_an_empty_batch_gives_empty_arrays():
    boxes, areas = sweep_batch(np.zeros((0, 4, 4)))
    assert boxes.shape == (0, 1000, 4)
    assert areas.shape == (0, 1000)
    assert largest_boxes(np.zeros((0, 4, 4)), [])[0].shape == (0, 4)


def test_read_only_and_strided_maps_are_taken_and_left_as_they_are():
    values = np.random.default_rng(0).random((6, 8))
    strided = values[::2, ::-1]
    strided.flags.writeable = False
    before = strided.copy()
    assert (sweep_boxes(strided, [0.5]).boxes == sweep_boxes(before, [0.5]).boxes).all()
    assert (strided == before).all()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([[0.1, float("nan")]], "nan at row 0, column 1"),
        ([[0.1], [float("inf")]], "inf at row 1, column 0"),
        ([[-0.5]], "-0.5"),
        ([[1.5]], "1.5"),
        ([0.1, 0.2], r"\(2,\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        ([["a"]], "<U1"),
    ],
)
def test_a_map_that_is_none_is_refused(values, named):
    with pytest.raises(DataError, match=named):
        sweep_boxes(values)
    with pytest.raises(DataError, match=named):
        components(values, 0.5)


def test_a_bad_map_of_a_batch_is_named():
    maps = np.zeros((3, 2, 2))
    maps[1, 0, 0] = 2
    with pytest.raises(DataError, match=r"maps\[1\]"):
        largest_boxes(maps, [0, 0, 0])
    with pytest.raises(DataError, match=r"maps\[1\]"):
        sweep_batch(maps)
    with pytest.raises(DataError, match=r"\(2, 2\)"):
        sweep_batch(maps[0])


@pytest.mark.parametrize(
    ("thresholds", "named"),
    [
        ([0.5, 0.2], "0.5 and then 0.2"),
        ([0.5, 0.5], "0.5 and then 0.5"),
        ([0.5, 1.0], "got 1.0"),
        ([-0.1], "got -0.1"),
        ([float("nan")], "got nan"),
        ([], "got none"),
        ([[0.5]], r"\(1, 1\)"),
        (0.5, r"\(\)"),
    ],
)
def test_thresholds_that_make_no_sweep_are_refused(thresholds, named):
    with pytest.raises(DataError, match=named):
        sweep_boxes([[1.0]], thresholds)


def test_each_map_needs_its_threshold():
    with pytest.raises(DataError, match="got 1 for 2 maps"):
        largest_boxes(np.zeros((2, 3, 3)), [0.5])
