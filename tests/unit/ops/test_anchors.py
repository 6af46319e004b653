from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import polar, sqrtm
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.ops import orthogonal_anchors, polar_anchors, random_anchors

SHAPES = [(1, 3), (4, 4), (5, 16), (60, 64)]
MORE = [(3, 2), (5, 4), (17, 16), (20, 16), (60, 8)]
HALF, LONG = 1 / 2, math.sqrt(3) / 2


def names(classes: int, dimensions: int, seed: int = 0) -> Tensor:
    """Embeddings that lie about one direction, some axes of little use, of any length: like those of a text tower."""
    draws = torch.Generator().manual_seed(seed)
    values = torch.randn(classes, dimensions, generator=draws, dtype=torch.float64)
    values = values / torch.arange(1, dimensions + 1)
    values[:, 0] += 2
    return values * (0.5 + torch.rand(classes, 1, generator=draws, dtype=torch.float64))


def at(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=1, keepdim=True)


def same(found: Tensor, expected: Tensor | list[list[float]]) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, atol=1e-7, rtol=0)


def test_by_qr_the_first_keeps_its_direction_and_later_ones_lose_what_they_share() -> None:
    same(orthogonal_anchors(at(0, 60)), at(0, 90))
    same(orthogonal_anchors(at(60, 0)), at(60, -30))  # in another order other directions
    same(orthogonal_anchors(torch.tensor([[2.0, 0, 0], [3, 3, 0], [1, 1, 1]])), torch.eye(3))
    same(orthogonal_anchors(torch.tensor([[-2.0, 0, 0], [-3, -3, 0]])), [[-1, 0, 0], [0, -1, 0]])
    # (0, 3, 4) / 5, then (1, 1, 0) less 3 / 5 of it: (1, 16 / 25, -12 / 25), with the length of sqrt(41) / 5.
    second = [25 / 5 / math.sqrt(41), 16 / 5 / math.sqrt(41), -12 / 5 / math.sqrt(41)]
    same(orthogonal_anchors(torch.tensor([[0.0, 3, 4], [1, 1, 0]])), [[0, 0.6, 0.8], second])


def test_symmetrically_all_give_way_alike() -> None:
    same(polar_anchors(at(0, 60)), at(-15, 75))
    same(polar_anchors(at(20, 50)), at(-10, 80))
    # Eigenvalues of [[0, 1, 1], [1, 0, 1], [1, 1, 0]] are 2 along (1, 1, 1) and -1 across: its polar factor has 1, -1.
    expected = [[-1, 2, 2], [2, -1, 2], [2, 2, -1]]
    same(polar_anchors(torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])), torch.tensor(expected) / 3)


def test_more_classes_than_dimensions_are_spread_evenly() -> None:
    # By symmetry the middle one stays, and the others go to where the doubled angles of all three sum to nothing.
    same(polar_anchors(at(90, 45, 135)), [[0, 1], [LONG, HALF], [-LONG, HALF]])
    same(polar_anchors(at(0, 5, -5)), at(0, 60, -60))
    same(polar_anchors(at(10, 70, 130)), at(10, 70, 130))  # as they should be from the start
    same(polar_anchors(at(0, 180, 90, -90)), at(0, 180, 90, -90))
    # Two groups of three that have nothing to do with each other are spread for themselves.
    apart = torch.block_diag(at(0, 5, -5), at(30, 35, 25))
    same(polar_anchors(apart), torch.block_diag(at(0, 60, -60), at(30, 90, -30)))


@pytest.mark.parametrize("make", [orthogonal_anchors, polar_anchors])
@pytest.mark.parametrize(("classes", "dimensions"), SHAPES)
def test_up_to_as_many_classes_as_dimensions_are_orthonormal_each_near_its_own(
    make: Callable[[Tensor], Tensor], classes: int, dimensions: int
) -> None:
    embeddings = names(classes, dimensions)
    for given in (embeddings, embeddings.float()):
        anchors = make(given)
        assert anchors.dtype == given.dtype
        torch.testing.assert_close(
            anchors.double() @ anchors.double().T, torch.eye(classes, dtype=torch.float64), atol=1e-6, rtol=0
        )
        assert ((anchors.double() * embeddings).sum(1) > 0).all()


@pytest.mark.parametrize(("classes", "dimensions"), MORE)
def test_of_more_classes_the_frame_is_tight_and_of_unit_vectors(classes: int, dimensions: int) -> None:
    embeddings = names(classes, dimensions)
    for anchors in (polar_anchors(embeddings), random_anchors(classes, dimensions).double()):
        torch.testing.assert_close(anchors.norm(dim=1), torch.ones(classes, dtype=torch.float64), atol=1e-7, rtol=0)
        expected = classes / dimensions * torch.eye(dimensions, dtype=torch.float64)
        torch.testing.assert_close(anchors.T @ anchors, expected, atol=1e-6, rtol=0)
    assert ((polar_anchors(embeddings) * embeddings).sum(1) > 0).all()


@pytest.mark.parametrize(("classes", "dimensions"), SHAPES)
def test_symmetric_anchors_are_the_polar_factor_of_scipy(classes: int, dimensions: int) -> None:
    embeddings = names(classes, dimensions)
    same(polar_anchors(embeddings), torch.from_numpy(polar(unit(embeddings).numpy())[0]))


@pytest.mark.parametrize("seed", range(3))
def test_the_frame_is_that_of_another_program(seed: int) -> None:
    """Tyler's scatter matrix, by its fixed point: whitening by it and unit length give a tight frame, and no other."""
    units = unit(names(12, 4, seed)).numpy()
    scatter = np.eye(4)
    for _ in range(2000):
        heights = np.einsum("ki,ij,kj->k", units, np.linalg.inv(scatter), units)
        scatter = 4 / 12 * (units / heights[:, None]).T @ units
    rows = units @ np.linalg.inv(sqrtm(scatter))
    same(polar_anchors(torch.from_numpy(units)), unit(torch.from_numpy(rows)))


@pytest.mark.parametrize(("classes", "dimensions"), [(5, 16), (4, 4), (20, 16)])
def test_classes_in_another_order_have_the_same_symmetric_anchors(classes: int, dimensions: int) -> None:
    embeddings = names(classes, dimensions)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(1))
    same(polar_anchors(embeddings[order]), polar_anchors(embeddings)[order])


@pytest.mark.parametrize("make", [orthogonal_anchors, polar_anchors])
def test_anchors_turn_with_the_embeddings_and_do_not_see_their_lengths(make: Callable[[Tensor], Tensor]) -> None:
    embeddings = names(4, 6)
    turned, _ = torch.linalg.qr(names(6, 6, seed=1))
    same(make(embeddings @ turned), make(embeddings) @ turned)
    lengths = torch.tensor([1e-200, 1, 1e200, 3], dtype=torch.float64)[:, None]
    same(make(embeddings * lengths), make(embeddings))


def test_of_all_orthonormal_directions_the_symmetric_ones_are_the_closest() -> None:
    units = unit(names(4, 6))
    near = (polar_anchors(units) - units).square().sum()
    others = [orthogonal_anchors(units[list(order)])[list(order)] for order in ((0, 1, 2, 3), (3, 2, 1, 0))]
    others += [polar_anchors(polar_anchors(units) + 0.1 * names(4, 6, seed)) for seed in range(5)]
    assert all((other - units).square().sum() > near for other in others)


@pytest.mark.parametrize("make", [orthogonal_anchors, polar_anchors])
def test_half_precision_is_computed_in_more_and_no_gradient_flows_back(make: Callable[[Tensor], Tensor]) -> None:
    embeddings = names(5, 16).half().requires_grad_()
    anchors = make(embeddings)
    assert anchors.dtype == torch.float32
    assert not anchors.requires_grad
    same(anchors, make(embeddings.detach().double()))


@pytest.mark.parametrize(("classes", "dimensions"), [*SHAPES, *MORE, (1, 1)])
def test_random_anchors_come_from_their_generator(classes: int, dimensions: int) -> None:
    one, again = (random_anchors(classes, dimensions, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (classes, dimensions)
    assert one.dtype == torch.float32
    if dimensions > 1:
        assert not torch.allclose(one, random_anchors(classes, dimensions, torch.Generator().manual_seed(5)), atol=0.01)


def test_random_anchors_are_orthonormal_and_prefer_no_direction() -> None:
    draws = torch.Generator().manual_seed(0)
    sets = torch.stack([random_anchors(2, 3, draws) for _ in range(2000)]).double()
    same(sets @ sets.mT, torch.eye(2, dtype=torch.float64).expand(2000, 2, 2))
    assert sets.mean(0).abs().max() < 5 * math.sqrt(1 / 3 / 2000)
    # On a sphere of three dimensions each coordinate is even between -1 and 1.
    for row in (0, 1):
        for column in range(3):
            shares = torch.histc(sets[:, row, column], 4, -1, 1) / 2000
            assert (shares - 1 / 4).abs().max() < 5 * math.sqrt(3 / 16 / 2000)


@pytest.mark.parametrize("make", [orthogonal_anchors, polar_anchors])
def test_what_is_no_set_of_classes_is_refused(make: Callable[[Tensor], Tensor]) -> None:
    embeddings = names(3, 4)
    for value in (math.nan, math.inf):
        broken = embeddings.clone()
        broken[1, 2] = value
        with pytest.raises(DataError, match=r"embeddings\[1\]: a value is nan or infinite"):
            make(broken)
    with pytest.raises(DataError, match=r"embeddings\[2\]: all zeros"):
        make(torch.cat([embeddings[:2], torch.zeros(1, 4)]))
    for empty in (torch.ones(4), torch.ones(0, 4), torch.ones(3, 0), torch.ones(3, 4, dtype=torch.int64)):
        with pytest.raises(DataError, match=r"expected floats \(k, d\)"):
            make(empty)


@pytest.mark.parametrize("make", [orthogonal_anchors, polar_anchors])
@pytest.mark.parametrize("dimensions", [8, 2])
def test_two_classes_of_one_name_are_refused(make: Callable[[Tensor], Tensor], dimensions: int) -> None:
    embeddings = names(4, dimensions).float()
    for rounding in (0, 1e-7):  # of a text tower, from one batch to another
        again = embeddings[1:2] * 3 + rounding * torch.ones(dimensions)
        with pytest.raises(DataError, match=r"embeddings\[1\] and embeddings\[4\] are equal"):
            make(torch.cat([embeddings, again]))


def test_an_embedding_that_the_others_make_up_is_refused() -> None:
    embeddings = names(3, 8)
    embeddings = torch.cat([embeddings[:2], embeddings[:1] - 2 * embeddings[1:2], embeddings[2:]])
    with pytest.raises(DataError, match=r"embeddings\[2\] lies in the span"):
        orthogonal_anchors(embeddings)
    with pytest.raises(DataError, match="the 4 embeddings span 3 dimensions of 4"):
        polar_anchors(embeddings)
    flat = torch.cat([names(5, 2), torch.zeros(5, 1)], 1)
    with pytest.raises(DataError, match="the 5 embeddings span 2 dimensions of 3"):
        polar_anchors(flat)


def test_more_classes_than_dimensions_have_no_anchors_by_qr() -> None:
    with pytest.raises(DataError, match=r"3 classes, 2 dimensions.*polar_anchors"):
        orthogonal_anchors(at(0, 60, 120))


def test_too_many_in_a_subspace_are_refused() -> None:
    # Four in three dimensions leave room for 8 / 3 in a plane, and these are three.
    with pytest.raises(DataError, match=r"the 4 embeddings make no tight frame.* 1\.33 m"):
        polar_anchors(torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, -1, 0], [0, 0, 1]]))


@pytest.mark.parametrize(("classes", "dimensions"), [(0, 3), (1, 0), (3, 1), (-1, 2)])
def test_random_anchors_of_nothing_are_refused(classes: int, dimensions: int) -> None:
    with pytest.raises(ConfigError, match=f"{classes} classes, {dimensions} dimensions"):
        random_anchors(classes, dimensions)
