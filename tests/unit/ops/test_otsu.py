import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from boxless.errors import DataError
from boxless.ops import largest_boxes, otsu_thresholds


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**16), power=st.sampled_from([0.5, 1, 3]), top=st.sampled_from([0.2, 1.0]))
def test_threshold_is_that_of_scikit_image(seed, power, top):
    values = (np.random.default_rng(seed).random((24, 24)) ** power * top).astype(np.float32)
    expected = threshold_otsu(values.astype(np.float64), nbins=256) / np.float64(values.max())
    assert otsu_thresholds(values[None])[0] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([4, 10, 256]))
def test_quantised_maps_are_cut_as_well_as_by_scikit_image(seed, levels):
    values = np.round(np.random.default_rng(seed).random((16, 16)) ** 2 * levels) / levels
    # Between two levels all cuts are equally good, and rounding chooses one there: what counts is where pixels go.
    expected = values > threshold_otsu(values, nbins=256)
    assert ((values > otsu_thresholds(values[None])[0] * values.max()) == expected).all()


def test_two_values_are_cut_in_the_lowest_bin_between_them():
    values = np.array([[[0.0, 0.0, 1.0, 1.0]]])
    assert otsu_thresholds(values) == pytest.approx([0.5 / 256])  # 255 cuts are equally good


def test_each_map_gets_its_own_threshold():
    random = np.random.default_rng(0)
    maps = np.stack([random.random((8, 8)), random.random((8, 8)) ** 4])
    assert otsu_thresholds(maps).tolist() == [otsu_thresholds(each[None])[0] for each in maps]


def test_a_constant_map_is_all_foreground_and_a_map_of_zeros_none():
    maps = np.stack([np.full((2, 3), 0.4), np.zeros((2, 3))])
    thresholds = otsu_thresholds(maps)
    assert thresholds.tolist() == [0, 0]
    assert largest_boxes(maps, thresholds)[0].tolist() == [[0, 0, 3, 2], [0, 0, 0, 0]]


def test_values_one_rounding_apart_still_give_a_usable_threshold():
    values = np.full((4, 4), 0.4)
    values[0, 0] = np.nextafter(0.4, 1)
    threshold = otsu_thresholds(values[None])
    assert 0 <= threshold[0] < 1
    largest_boxes(values[None], threshold)


def test_bad_maps_are_refused():
    with pytest.raises(DataError, match=r"maps\[0\]"):
        otsu_thresholds(np.full((1, 2, 2), np.nan))
    with pytest.raises(DataError, match=r"\(2, 2\)"):
        otsu_thresholds(np.zeros((2, 2)))
