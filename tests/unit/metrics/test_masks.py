import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from boxless.errors import DataError
from boxless.metrics.masks import piou_of, pixel_counts, precision_recall_of, pxap_of

QUARTERS = [0, 0.25, 0.5, 0.75]
MAP = np.array([[0.0, 0.3, 0.6], [0.5, 1.0, 0.2]])
MASK = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)


def counts_of(values, mask, ignore=None, thresholds=QUARTERS):
    found = pixel_counts([values], [mask], None if ignore is None else [ignore], thresholds)
    return found.foreground[0].tolist(), found.background[0].tolist()


def test_pixels_are_counted_in_the_bin_that_they_reach():
    assert counts_of(MAP, MASK) == ([0, 0, 1, 1, 0, 1], [0, 2, 0, 1, 0, 0])


@pytest.mark.parametrize("threshold", [0.25, 0.1, 0.7, 1 - 2**-53])
def test_a_value_just_at_a_threshold_reaches_it_and_the_one_below_does_not(threshold):
    values = np.array([[np.nextafter(threshold, 0), threshold]])
    assert counts_of(values, np.ones((1, 2), bool), thresholds=[0, threshold])[0] == [0, 1, 1, 0]


def test_every_edge_of_the_usual_row_lies_in_its_own_bin_as_numpy_has_it():
    edges = np.arange(0, 1, 0.001)
    values = np.concatenate([edges, np.nextafter(edges[1:], 0), np.nextafter(edges, 1), [1.0]])[None]
    expected = np.histogram(values, [*edges, 1.0, 2.0])[0]
    found = pixel_counts([values], np.ones((1, *values.shape), bool))
    assert found.foreground[0, 1:].tolist() == expected.tolist()
    assert found.background.sum() == found.foreground[0, 0] == 0


def test_a_row_that_does_not_begin_at_0_keeps_what_is_below_it_as_missed():
    found = pixel_counts([MAP], [MASK], thresholds=[0.5, 0.9])
    assert found.foreground.tolist() == [[1, 1, 0, 1]]
    precision, recall = precision_recall_of(*found)
    assert precision.tolist() == [[2 / 3, 1]]
    assert recall.tolist() == [[2 / 3, 1 / 3]]
    assert pxap_of(*found).tolist() == [pytest.approx(100 * (1 / 3 * 1 + 1 / 3 * 2 / 3))]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bins_are_those_of_numpy_for_any_row_of_thresholds(data):
    number = st.floats(0, 1, exclude_max=True) | st.floats(0, 1e-3)
    row = sorted(set(data.draw(st.lists(number, min_size=1, max_size=12))))
    near = [float(np.nextafter(each, side)) for each in row for side in (0, 1)]
    values = np.array([[*row, *near, *data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=20)), 1.0]])
    found = pixel_counts([values], [np.ones(values.shape, bool)], thresholds=row)
    expected = np.bincount(np.searchsorted([*row, 1.0], values[0], side="right"), minlength=len(row) + 2)
    assert found.foreground[0].tolist() == expected.tolist()


def test_float32_maps_are_compared_as_the_float64_that_they_are():
    below = np.float32(0.3)  # 0.300000012 > 0.3
    above = np.float32(0.7)  # 0.699999988 < 0.7
    values = np.array([[below, above]], dtype=np.float32)
    assert counts_of(values, np.ones((1, 2), bool), thresholds=[0, 0.3, 0.7])[0] == [0, 0, 2, 0, 0]


def test_ignored_pixels_are_in_neither_histogram_but_the_object_counts_all_the_same():
    ignore = np.array([[1, 1, 0], [0, 0, 1]])
    assert counts_of(MAP, MASK, ignore) == ([0, 0, 1, 1, 0, 1], [0, 0, 0, 1, 0, 0])
    some = pixel_counts([MAP, MAP], [MASK, MASK], [None, ignore], QUARTERS)
    assert some.background.sum(axis=1).tolist() == [3, 1]


def test_figures_worked_out_by_hand():
    found = pixel_counts([MAP], [MASK], thresholds=QUARTERS)
    # From above: 1.0 (on), 0.6 (on) with 0.5 (beside), 0.3 (on), then 0.0 and 0.2 (beside).
    precision, recall = precision_recall_of(*found)
    assert precision.tolist() == [[3 / 6, 3 / 4, 2 / 3, 1]]
    assert recall.tolist() == [[1, 1, 2 / 3, 1 / 3]]
    assert pxap_of(*found)[0] == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3, abs=1e-12)
    assert piou_of(*found).tolist() == [[3 / 6, 3 / 4, 2 / 4, 1 / 3]]


def test_a_threshold_that_no_pixel_reaches_has_no_precision_and_takes_no_part():
    found = pixel_counts(MAP[None] / 2, MASK[None], thresholds=QUARTERS)
    precision, recall = precision_recall_of(*found)
    assert np.isnan(precision).tolist() == [[False, False, False, True]]
    assert (recall[0, 3], piou_of(*found)[0, 3]) == (0, 0)
    assert pxap_of(*found)[0] == pytest.approx(100 * (1 + 2 / 3 + 1 / 2) / 3, abs=1e-12)


@pytest.mark.parametrize("level", [0, 0.4, 1])
def test_a_constant_map_scores_the_share_of_the_foreground(level):
    found = pixel_counts(np.full((1, 2, 3), level), MASK[None])
    assert pxap_of(*found).tolist() == [pytest.approx(50)]
    assert piou_of(*found).max() == 0.5


def test_without_a_foreground_pixel_figures_are_nan():
    found = pixel_counts([MAP, MAP], [np.zeros((2, 3), bool), MASK], thresholds=QUARTERS)
    assert np.isnan(pxap_of(*found)).tolist() == [True, False]
    assert np.isnan(piou_of(*found)).tolist() == [[True] * 4, [False] * 4]
    assert np.isnan(precision_recall_of(*found)[1]).tolist() == [[True] * 4, [False] * 4]
    everything_ignored = pixel_counts([MAP], [MASK & False], [MASK | True])
    assert (everything_ignored.background.sum(), np.isnan(pxap_of(*everything_ignored)[0])) == (0, True)


def test_figures_of_means_are_those_of_sums_along_any_leading_axes():
    draws = np.random.default_rng(3)
    foreground, background = draws.integers(0, 9, (2, 4, 5, 7))
    pooled = pxap_of(foreground.sum(axis=1), background.sum(axis=1))
    assert pooled.shape == (4,)
    assert np.allclose(pooled, pxap_of(foreground.mean(axis=1), background.mean(axis=1)), rtol=0, atol=1e-12)
    every, shares = pxap_of(foreground, background), piou_of(foreground, background)
    assert (every.shape, shares.shape) == ((4, 5), (4, 5, 5))
    for place in np.ndindex(4, 5):
        assert every[place] == pytest.approx(pxap_of(foreground[place], background[place]), abs=1e-12)
        assert shares[place].tolist() == piou_of(foreground[place], background[place]).tolist()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 10, 1000]), st.integers(1, 60), st.booleans())
def test_average_precision_of_an_image_is_that_of_scikit_learn_on_values_rounded_down(seed, count, pixels, coarse):
    draws = np.random.default_rng(seed)
    thresholds = np.arange(count) * (1 / count)
    values = draws.choice([*thresholds, 1.0], pixels) if coarse else draws.random(pixels)
    mask = draws.random(pixels) < draws.random()
    mask[draws.integers(pixels)] = True
    floored = np.array([*thresholds, 1.0])[np.searchsorted([*thresholds, 1.0], values, side="right") - 1]
    found = pixel_counts(values.reshape(1, 1, -1), mask.reshape(1, 1, -1), thresholds=thresholds)
    assert pxap_of(*found)[0] == pytest.approx(100 * average_precision_score(mask, floored), abs=1e-10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"masks": [MASK[:, :2]]}, r"masks\[0\]: got shape \(2, 2\) for a map of shape \(2, 3\); resize the mask"),
        ({"masks": [MASK * 255]}, r"masks\[0\]: got the value 255; .* give mask > 0\."),
        ({"masks": [MASK * -1]}, r"masks\[0\]: got the value -1"),
        ({"masks": [MASK * 1.0]}, r"masks\[0\]: got an array of type float64; .* give mask > 0\.5"),
        ({"masks": [MASK, MASK]}, "masks: got 2 for 1 maps"),
        ({"masks": 1}, "masks: got 1; give one"),
        ({"ignore": [MASK.T]}, r"ignore\[0\]: got shape \(3, 2\)"),
        ({"ignore": []}, "ignore: got 0 for 1 maps"),
        ({"maps": [MAP * np.nan]}, r"maps\[0\]: got nan"),
        ({"maps": [MAP * 2]}, r"maps\[0\]: got 1\.2 at row 0, column 2"),
        ({"maps": [MAP - 0.1]}, r"maps\[0\]: got -0\.1"),
        ({"maps": MAP}, r"maps: got shape \(2, 3\); a batch"),
        ({"thresholds": [0.5, 0.25]}, "thresholds: got 0.5 and then 0.25; they must be strictly ascending"),
        ({"thresholds": [0, 1]}, r"thresholds: got 1\.0"),
        ({"thresholds": []}, "thresholds: got none"),
    ],
)
def test_what_cannot_be_counted_is_refused(changed, message):
    with pytest.raises(DataError, match=message):
        pixel_counts(**{"maps": [MAP], "masks": [MASK], "ignore": None, "thresholds": None} | changed)


@pytest.mark.parametrize("function", [pxap_of, piou_of, precision_recall_of])
@pytest.mark.parametrize("background", [np.ones(4), 3, np.ones((2, 5))])
def test_histograms_of_different_shapes_are_refused(function, background):
    with pytest.raises(DataError, match="foreground, background: got shapes"):
        function(np.ones(5), background)


def test_masks_of_integers_are_masks():
    for kind in (np.uint8, np.int64, np.bool_):
        assert counts_of(MAP, MASK.astype(kind)) == counts_of(MAP, MASK)
