from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.ops import largest_boxes, otsu_thresholds
from boxless.ops.spectral import EPSILON, spectral_maps


def grid_of(groups: list[list[int]]) -> Tensor:
    """Features (1, c, h, w) that point in a direction of their own for each group, longer in each next patch."""
    numbers = torch.tensor(groups)
    lengths = torch.arange(1, numbers.numel() + 1).reshape(numbers.shape).float()
    return (torch.eye(int(numbers.max()) + 1)[numbers] * lengths[:, :, None]).permute(2, 0, 1)[None]


def smooth_features(seed: int, rows: int = 5, columns: int = 6, channels: int = 4) -> Tensor:
    """Neighbours are alike to degrees, so that the graph has one component and no two eigenvalues are equal."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 2, 3, generator=draws)
    fine = torch.nn.functional.interpolate(coarse, (rows, columns), mode="bicubic")
    return fine + 0.3 * torch.randn(fine.shape, generator=draws)


def generalised(features: Tensor, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors (n, n) of (D - W) y = lambda D y by another program, from the definition."""
    patches = features[0].double().flatten(1).numpy()
    lengths = np.linalg.norm(patches, axis=0)
    alike = patches.T @ patches / np.outer(lengths, lengths) > threshold
    weights = np.where(alike, 1, EPSILON)
    degrees = np.diag(weights.sum(1))
    return eigh(degrees - weights, degrees)


def unit(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_groups_are_cut_apart_exactly(dtype: torch.dtype) -> None:
    groups = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    maps = spectral_maps(grid_of(groups).to(dtype), vectors=1)
    inside = torch.tensor(groups, dtype=dtype)
    # Both sides weigh nothing between them, so the smaller one has the greater magnitude and comes first.
    torch.testing.assert_close(maps, torch.stack([inside, 1 - inside])[None], atol=1e-9, rtol=0)
    assert maps.dtype == dtype
    found = maps[0].numpy()
    boxes, areas = largest_boxes(found, otsu_thresholds(found))
    assert boxes.tolist() == [[1, 1, 3, 3], [0, 0, 4, 3]]
    assert areas.tolist() == [4, 8]


def test_values_of_the_cut_are_those_worked_out_by_hand() -> None:
    # Three patches in a row: 60 degrees apart, so that the one between is like both, and these not like each other.
    angles = torch.tensor([0.0, torch.pi / 3, 2 * torch.pi / 3])
    features = torch.stack([angles.cos(), angles.sin()])[None, :, None]
    # W = [[1, 1, e], [1, 1, 1], [e, 1, 1]] is even about the middle: the second eigenvector is (1, 0, -1), the third
    # (1, -(4 + 2 e) / 3, 1), orthogonal in D to the constant one; its eigenvalue is above 1, so that there is no cut.
    maps = spectral_maps(features, vectors=2, threshold=0.4)
    expected = torch.tensor([[1, 0.5, 0], [0, 0.5, 1], [0, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(maps[0, :, 0], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("threshold", [0.2, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_maps_are_the_generalised_eigenvectors_of_scipy(seed: int, threshold: float) -> None:
    features = smooth_features(seed)
    values, vectors = generalised(features, threshold)
    maps = spectral_maps(features, vectors=6, threshold=threshold)[0].flatten(1).double().numpy()
    compared = 0
    for i in range(6):
        value, vector = values[1 + i], vectors[:, 1 + i]
        first, opposite = maps[2 * i], maps[2 * i + 1]
        if value >= 1:
            assert not first.any()
            continue
        np.testing.assert_allclose(first + opposite, 1, atol=1e-6)
        if min(value - values[i], values[2 + i] - value) < 1e-7:
            continue  # one of several eigenvectors of one eigenvalue
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(first, unit(vector), atol=1e-5)
        compared += 1
    assert compared >= 2


def test_patches_in_another_order_give_the_same_maps_in_that_order() -> None:
    features = smooth_features(0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = features.flatten(2)[:, :, order].reshape(features.shape)
    maps, again = spectral_maps(features, vectors=3), spectral_maps(shuffled, vectors=3)
    torch.testing.assert_close(maps.flatten(2)[:, :, order], again.flatten(2))


def test_lengths_and_the_basis_of_features_do_not_matter() -> None:
    features = smooth_features(2).double()
    turned, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    lengths = torch.linspace(1e-3, 1e3, 30, dtype=torch.float64).reshape(1, 1, 5, 6)
    other = torch.einsum("dc,bchw->bdhw", turned, features) * lengths
    torch.testing.assert_close(spectral_maps(other), spectral_maps(features))


@pytest.mark.parametrize("seed", range(8))
def test_patches_at_the_threshold_are_not_alike_whatever_the_rounding(seed: int) -> None:
    angles = torch.tensor([0.0, torch.pi / 3, torch.pi / 3, 0.0, 0.0], dtype=torch.float64)
    draws = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64, generator=draws))
    lengths = torch.rand(5, dtype=torch.float64, generator=draws) + 0.1
    features = turned[:, :2] @ torch.stack([angles.cos(), angles.sin()]) * lengths
    maps = spectral_maps(features[None, :, None], vectors=1, threshold=0.5)
    torch.testing.assert_close(maps[0, 0, 0], torch.tensor([0, 1, 1, 0, 0]).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_features_of_any_magnitude_are_compared(scale: float) -> None:
    features = smooth_features(2).double()
    torch.testing.assert_close(spectral_maps(features * scale), spectral_maps(features))


def test_the_greater_magnitude_comes_first_and_the_first_patch_of_equals() -> None:
    smaller_last = spectral_maps(grid_of([[0, 0, 0, 1]]), vectors=1)[0, 0]
    torch.testing.assert_close(smaller_last, torch.tensor([[0.0, 0, 0, 1]]), atol=1e-9, rtol=0)
    for groups in ([[0, 0, 1, 1]], [[1, 1, 0, 0]], [[0, 1, 1, 0]]):
        first = spectral_maps(grid_of(groups), vectors=1)[0, 0]
        torch.testing.assert_close(first, (torch.tensor(groups) == groups[0][0]).float(), atol=1e-9, rtol=0)


def test_a_map_does_not_depend_on_the_rest_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.cat([smooth_features(seed) for seed in range(5)] + [torch.ones(1, 4, 5, 6), grid_of_zeros()])
    together = spectral_maps(batch)
    alone = torch.cat([spectral_maps(each[None]) for each in batch])
    assert torch.equal(together, alone)
    monkeypatch.setattr("boxless.ops.spectral._ELEMENTS", 2 * 30**2)  # two images at a time
    assert torch.equal(spectral_maps(batch), together)


def grid_of_zeros() -> Tensor:
    """Half of the patches are zeros, the others are alike."""
    features = torch.zeros(1, 4, 5, 6)
    features[:, :, 1:3, 2:5] = 1
    return features


def test_patches_of_zeros_are_a_group_of_their_own() -> None:
    maps = spectral_maps(grid_of_zeros(), vectors=1)
    torch.testing.assert_close(maps[:, 0], (grid_of_zeros()[:, 0] > 0).float(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "features",
    [
        torch.ones(2, 3, 4, 5),
        torch.zeros(2, 3, 4, 5),
        torch.eye(20).reshape(1, 20, 4, 5),  # no patch is like another
        torch.ones(1, 3, 1, 1),
        torch.rand(1, 3, 1, 2, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_where_there_is_nothing_to_cut_maps_are_flat(features: Tensor) -> None:
    maps = spectral_maps(features)
    assert maps.shape == (len(features), 10, *features.shape[2:])
    assert not maps.any()


def test_more_eigenvectors_than_there_are_give_flat_maps() -> None:
    maps = spectral_maps(grid_of([[0, 0, 1]]), vectors=4)
    torch.testing.assert_close(maps[0, :2, 0], torch.tensor([[0.0, 0, 1], [1, 1, 0]]), atol=1e-9, rtol=0)
    assert maps.shape == (1, 8, 1, 3)
    assert not maps[0, 2:].any()


def test_an_empty_batch_gives_no_maps() -> None:
    assert spectral_maps(torch.rand(0, 3, 4, 5)).shape == (0, 10, 4, 5)


def test_half_precision_and_autocast_give_maps_of_the_features_they_hold() -> None:
    features = smooth_features(1).half()
    expected = spectral_maps(features.float())
    assert torch.equal(spectral_maps(features), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spectral_maps(features), expected)


def test_maps_lie_between_zero_and_one_and_carry_no_gradient() -> None:
    maps = spectral_maps(smooth_features(3).requires_grad_())
    assert maps.min() == 0
    assert maps.max() == 1
    assert not maps.requires_grad


def test_features_that_are_not_finite_or_no_grid_are_refused() -> None:
    features = torch.ones(3, 2, 2, 2)
    features[1, 0, 1, 1] = torch.nan
    with pytest.raises(DataError, match=r"features\[1\]: a value is nan"):
        spectral_maps(features)
    with pytest.raises(DataError, match=r"\(2, 2, 2\)"):
        spectral_maps(torch.ones(2, 2, 2))
    with pytest.raises(DataError, match="int64"):
        spectral_maps(torch.ones(1, 2, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize("settings", [{"vectors": 0}, {"threshold": 1.0}, {"threshold": -1.0}])
def test_settings_outside_their_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} "):
        spectral_maps(torch.ones(1, 2, 2, 2), **settings)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_maps() -> None:
    batch = torch.cat([smooth_features(seed) for seed in range(3)])
    torch.testing.assert_close(spectral_maps(batch.cuda()).cpu(), spectral_maps(batch))
