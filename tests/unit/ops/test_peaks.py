"""Parting a map's foreground between its peaks."""

from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.ops.components import components
from boxless.ops.peaks import basins


def test_two_peaks_are_parted_where_the_valley_between_them_is_deep_enough() -> None:
    row = [0.0, 1.0, 0.9, 0.5, 0.7, 0.8, 0.0]  # the lower peak stands 0.3 above the valley
    values = np.array([[0.0] * 7, row, row, [0.0] * 7])
    parted = basins(values, 0.2, 0.25)
    assert parted.boxes.tolist() == [[1, 1, 4, 3], [4, 1, 6, 3]]  # the valley goes with its higher neighbour
    assert parted.peaks.tolist() == [1.0, 0.8]
    assert parted.areas.tolist() == [6, 4]
    assert parted.labels[1].tolist() == [0, 1, 1, 1, 2, 2, 0]
    whole = basins(values, 0.2, 0.35)
    assert whole.boxes.tolist() == [[1, 1, 6, 3]]
    assert whole.areas.tolist() == [10]


def test_prominence_and_threshold_are_fractions_of_the_maximum() -> None:
    values = np.array([[1.0, 0.5, 0.8, 0.1]])
    for scale in (1.0, 0.25):
        assert len(basins(scale * values, 0.2, 0.25).areas) == 2
        assert len(basins(scale * values, 0.2, 0.35).areas) == 1
        assert len(basins(scale * values, 0.05, 0.25).labels[0].nonzero()[0]) == 4


def test_a_part_too_small_is_not_parted_off_but_a_component_of_its_own_stays() -> None:
    values = np.array([[1.0, 1.0, 0.2, 0.9, 0.0, 0.0, 0.9]])
    assert basins(values, 0.1, 0.3, least=1).boxes[:, 0].tolist() == [0, 3, 6]
    parted = basins(values, 0.1, 0.3, least=2)
    assert parted.boxes.tolist() == [[0, 0, 4, 1], [6, 0, 7, 1]]


def test_without_parting_the_basins_are_the_connected_components() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        values = random.random((9, 12))
        found, known = basins(values, 0.6, 1.0), components(values, 0.6)
        assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, known.boxes.tolist()))
        assert sorted(found.areas.tolist()) == sorted(known.areas.tolist())
        assert sorted(found.peaks.tolist()) == sorted(known.peaks.tolist())


def test_every_foreground_pixel_is_in_just_one_basin_and_boxes_bound_them() -> None:
    random = np.random.default_rng(4)
    for prominence in (0.0, 0.1, 0.4):
        values = random.random((14, 10))
        found = basins(values, 0.3, prominence, least=2)
        assert ((found.labels > 0) == (values > 0.3 * values.max())).all()
        for number, box in enumerate(found.boxes.astype(int).tolist(), start=1):
            rows, columns = np.nonzero(found.labels == number)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box
            assert len(rows) == found.areas[number - 1]
            assert values[rows, columns].max() == found.peaks[number - 1]
        assert (np.diff(found.peaks) <= 0).all()


def test_a_map_of_zeros_has_no_basin_and_a_flat_one_has_one() -> None:
    assert not len(basins(np.zeros((4, 4)), 0.5, 0.1).areas)
    assert basins(np.full((3, 4), 0.5), 0.5, 0.0).boxes.tolist() == [[0, 0, 4, 3]]


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="prominence"):
        basins(np.ones((2, 2)), 0.5, float("nan"))
    with pytest.raises(DataError, match="threshold"):
        basins(np.ones((2, 2)), 1.0, 0.1)
