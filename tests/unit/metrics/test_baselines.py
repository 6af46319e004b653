import numpy as np
import pytest
import torch
from torch.nn import functional as F

from boxless.errors import DataError
from boxless.metrics import centred_boxes, whole_image_boxes
from boxless.metrics.baselines import SIDES, _enlarging, centred_sides, random_maps


def test_centred_box_takes_its_fraction_of_both_sides():
    assert centred_boxes([(100, 200)])[0].tolist() == pytest.approx([15, 30, 85, 170])
    assert centred_boxes([(10, 20)], side=0.5)[0].tolist() == [2.5, 5, 7.5, 15]


def test_whole_image_box_ends_at_the_borders():
    assert whole_image_boxes([(640, 480), (3, 7)]).tolist() == [[0, 0, 640, 480], [0, 0, 3, 7]]


def test_no_image_gives_no_box():
    assert centred_boxes([]).shape == (0, 4)
    assert centred_sides([]).shape == (0, 20, 4)


def test_bad_sizes_and_sides_are_refused():
    with pytest.raises(DataError, match="sizes"):
        centred_boxes([(0, 5)])
    with pytest.raises(DataError, match="sizes"):
        centred_boxes([(1, 2, 3)])
    with pytest.raises(DataError, match="side: got 0"):
        centred_boxes([(1, 2)], side=0)
    with pytest.raises(DataError, match=r"side: got 1\.5"):
        centred_sides([(1, 2)], sides=[0.5, 1.5])
    with pytest.raises(DataError, match="sides: got none"):
        centred_sides([(1, 2)], sides=[])


def test_centred_boxes_of_all_sides():
    assert centred_sides([(10, 20), (4, 8)], sides=(0.5, 1)).tolist() == [
        [[2.5, 5, 7.5, 15], [0, 0, 10, 20]],
        [[1, 2, 3, 6], [0, 0, 4, 8]],
    ]


def test_sides_run_from_a_twentieth_to_the_whole():
    assert list(SIDES) == pytest.approx([0.05 * step for step in range(1, 21)])
    assert centred_sides([(640, 480)])[0, -1].tolist() == [0, 0, 640, 480]


NAMES = ["a.jpg", "b/a.jpg", "c.jpg"]


def test_random_maps_depend_on_name_and_seed_alone():
    maps = random_maps(NAMES, (30, 40))
    assert (random_maps(NAMES[::-1], (30, 40)) == maps[::-1]).all()
    assert (random_maps([NAMES[1]], (30, 40))[0] == maps[1]).all()
    assert np.abs(random_maps(NAMES, (30, 40), seed=1) - maps).max() > 0.5
    assert np.abs(maps[0] - maps[1]).max() > 0.5


def test_random_maps_run_from_just_0_to_just_1():
    maps = random_maps(NAMES)
    assert (maps.shape, maps.dtype) == ((3, 224, 224), np.float32)
    assert maps.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert maps.max(axis=(1, 2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [(28, 28), (224, 224), (33, 50), (14, 14), (5, 3)])
def test_random_maps_are_the_noise_enlarged_as_torch_does_it(size):
    grid = 14
    noise = random_maps(NAMES, (grid, grid), grid)  # the noise itself, stretched, which the second stretch undoes
    resized = F.interpolate(torch.from_numpy(noise)[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    lowest, highest = resized.amin((1, 2), keepdim=True), resized.amax((1, 2), keepdim=True)
    expected = (resized - lowest) / (highest - lowest)
    np.testing.assert_allclose(random_maps(NAMES, size, grid), expected, atol=3e-6)


def test_a_row_of_two_is_enlarged_to_four_by_hand():
    assert _enlarging(2, 4).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]


def test_noise_is_uniform():
    noise = random_maps([str(i) for i in range(400)], (14, 14))
    shares = np.histogram(noise, bins=10, range=(0, 1))[0] / noise.size
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
    assert np.abs(noise.mean(axis=0) - 0.5).max() < 0.08  # no place is favoured: 5 x 0.29 / sqrt(400)


def test_a_map_of_one_pixel_is_constant_and_so_all_zeros():
    assert random_maps(["a"], (1, 1)).tolist() == [[[0]]]


def test_no_name_gives_no_map():
    assert random_maps([], (3, 4)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"names": "ab"}, "the text 'ab'"),
        ({"names": [1]}, "got 1"),
        ({"size": (0, 4)}, r"size: got \(0, 4\)"),
        ({"size": (2.5, 4)}, "size: got 2.5"),
        ({"grid": 1}, "grid: got 1"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_random_maps_of_nothing_are_refused(change, named):
    with pytest.raises(DataError, match=named):
        random_maps(**({"names": ["a"]} | change))
