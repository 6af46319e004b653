import pytest

from boxless.errors import DataError
from boxless.metrics import centred_boxes, whole_image_boxes


def test_centred_box_takes_its_fraction_of_both_sides():
    assert centred_boxes([(100, 200)])[0].tolist() == pytest.approx([15, 30, 85, 170])
    assert centred_boxes([(10, 20)], side=0.5)[0].tolist() == [2.5, 5, 7.5, 15]


def test_whole_image_box_ends_at_the_borders():
    assert whole_image_boxes([(640, 480), (3, 7)]).tolist() == [[0, 0, 640, 480], [0, 0, 3, 7]]


def test_no_image_gives_no_box():
    assert centred_boxes([]).shape == (0, 4)


def test_bad_sizes_and_sides_are_refused():
    with pytest.raises(DataError, match="sizes"):
        centred_boxes([(0, 5)])
    with pytest.raises(DataError, match="sizes"):
        centred_boxes([(1, 2, 3)])
    with pytest.raises(DataError, match="side: got 0"):
        centred_boxes([(1, 2)], side=0)
