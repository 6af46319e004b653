import pytest
import torch

from boxless.ops import normalize, resize


def test_each_map_is_brought_to_zero_and_one_by_itself():
    maps = torch.tensor([[[[1.0, 2.0, 5.0]], [[-8.0, 0.0, 8.0]]]])
    assert normalize(maps).tolist() == [[[[0, 0.25, 1]], [[0, 0.5, 1]]]]


def test_a_constant_map_becomes_zeros():
    assert not normalize(torch.full((1, 1, 2, 2), 3.0)).any()


def test_half_precision_becomes_float32_and_double_stays():
    assert normalize(torch.rand(2, 2).half()).dtype == torch.float32
    assert normalize(torch.rand(2, 2).double()).dtype == torch.float64


def test_resizing_is_bilinear_with_corners_not_aligned():
    resized = resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    assert resized.flatten().tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_resized_maps_never_leave_their_range():
    generator = torch.Generator().manual_seed(0)
    maps = 1 - torch.rand(64, 1, 5, 5, generator=generator) * 1e-6
    maps[:, :, :3] = 1  # weights that sum to 1.0000001 would show
    resized = resize(maps, (97, 61))
    assert (resized <= maps.amax((-2, -1), keepdim=True)).all()
    assert (resized >= maps.amin((-2, -1), keepdim=True)).all()
