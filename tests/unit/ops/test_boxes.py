import subprocess
import sys

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.ops import clip, iou, scale


def test_iou_of_half_open_boxes():
    # 10 x 10 and 10 x 10, shifted by 5: 50 common of 150; with inclusive ends it would be 66 of 176.
    assert iou([[0, 0, 10, 10]], [[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10]]).tolist() == [[50 / 150, 1, 0]]


def test_iou_has_a_row_for_each_first_box_and_a_column_for_each_second():
    assert iou(np.zeros((2, 4)), np.zeros((3, 4))).shape == (2, 3)
    assert iou([], np.zeros((3, 4))).shape == (0, 3)


def test_a_box_without_area_overlaps_nothing():
    boxes = [[0, 0, 0, 0], [3, 3, 3, 8], [9, 9, 1, 1]]
    assert not iou(boxes, [*boxes, [0, 0, 10, 10]]).any()


def test_scaling_keeps_the_borders_exactly():
    assert scale([[0, 0, 7, 7], [1, 2, 3, 4]], (7, 7), (641, 479))[0].tolist() == [0, 0, 641, 479]
    assert scale([[1, 2, 3, 4]], (10, 20), (100, 100)).tolist() == [[10, 10, 30, 20]]


def test_clipping_leaves_a_box_outside_without_area():
    assert clip([[-5, -1, 5, 300], [20, 20, 30, 30]], (10, 200)).tolist() == [[0, 0, 5, 200], [10, 20, 10, 30]]


def test_what_is_no_box_is_refused():
    with pytest.raises(DataError, match=r"\(1, 3\)"):
        iou([[1, 2, 3]], [[0, 0, 1, 1]])
    with pytest.raises(DataError, match=r"\(4,\)"):
        clip([0, 0, 1, 1], (2, 2))
    with pytest.raises(DataError, match=r"\(0, 5\)"):
        scale([[0, 0, 1, 1]], (0, 5), (2, 2))


def test_boxes_need_neither_torch_nor_numba():
    code = "import sys, boxless.ops.boxes; sys.exit(any(name in sys.modules for name in ('torch', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
