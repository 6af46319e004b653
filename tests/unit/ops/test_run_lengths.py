from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.ops.run_lengths import area, decode, encode, paint


def test_runs_are_counted_down_the_columns_and_begin_with_background():
    # columns 0 1 | 1 1 | 0 0: runs 1, 3, 2, each one character, 48 above its value
    assert encode(np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)) == "132"
    assert encode(np.ones((1, 2), dtype=bool)) == "02"  # an empty run of background first
    assert encode(np.zeros((1, 2), dtype=bool)) == "2"


def test_long_runs_take_more_characters_and_later_ones_are_differences():
    # 33 = 1 + 32: five low bits with the mark for more (1 + 32 + 48 = "Q"), then 1. Runs 33 2 1 1 1: the fourth on
    # are 1 - 2 = -1 (31 + 48 = "O") and 1 - 1 = 0
    mask = np.zeros((38, 1), dtype=bool)
    mask[[33, 34, 36]] = True
    assert encode(mask) == "Q121O0"


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 0.98, 1])
def test_equal_to_pycocotools(density):
    coco = pytest.importorskip("pycocotools.mask")
    draws = np.random.default_rng(round(100 * density))
    for block in (1, 1, 1, 40):
        height, width = draws.integers(1, 60, 2)
        mask = np.kron(draws.random((height, width)) < density, np.ones((block, 1), dtype=bool))
        packed = encode(mask)
        assert packed == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        np.testing.assert_array_equal(decode(packed, mask.shape[::-1]), mask)
        assert area(packed, mask.shape[::-1]) == mask.sum()


def test_painting_leaves_the_other_pixels_alone():
    canvas = np.full((2, 3), 7, dtype=np.uint16)
    paint(canvas, "132", 300)
    assert canvas.tolist() == [[7, 300, 7], [300, 300, 7]]


@pytest.mark.parametrize("counts", ["", "132é", "13 2", "13Q", "133", "1", "QQQQQQQQ1", "1O4", "9o"])
def test_what_is_no_packed_mask_of_the_image_is_refused(counts):
    with pytest.raises(DataError, match="mask"):
        decode(counts, (3, 2))


@pytest.mark.parametrize("shape", [(0, 3), (3,), (1, 2, 2)])
def test_what_is_no_mask_is_refused(shape):
    with pytest.raises(DataError, match="mask"):
        encode(np.zeros(shape, dtype=bool))
