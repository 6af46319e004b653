"""SCM trains as its authors' code does, and what its blocks spread is the inverse of a matrix worked out by hand."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.methods.scm import SCM, Diffusion, inverse_times, laplacian
from boxless.ops.maps import normalize
from boxless.types import Batch

from .test_ts_cam import cases, theirs, vit, with_their_weights

__all__ = ["cases", "theirs"]


def batch_of(cases: ModuleType) -> Batch:
    labels = torch.tensor(cases.LABELS)
    return Batch(cases.images(), labels, torch.nn.functional.one_hot(labels, cases.CLASSES).float(), labels)


def test_it_trains_through_its_blocks_as_the_authors_code_does(cases: ModuleType, theirs: dict[str, Any]) -> None:
    method, expected = with_their_weights(SCM, cases), theirs["scm"]
    assert isinstance(method, SCM)
    spread: list[Tensor] = []
    for block in method.calibration:
        block.register_forward_hook(lambda _module, _inputs, outputs: spread.append(outputs[1]))
    loss = method.train().losses(batch_of(cases), 0.0)["classification"]
    loss.backward()
    taught = torch.tensor(expected["taught"])
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(taught, torch.tensor(cases.LABELS)), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(torch.stack(spread).flatten(2), torch.tensor(expected["spread"]), atol=1e-4, rtol=0)
    found = {
        "threshold": torch.stack([each.threshold.grad for each in method.calibration]),
        "similarity": torch.stack([each.similarity.grad for each in method.calibration]),
        "head.bias": method.head.bias.grad,
        "cls_token": method.backbone.model.cls_token.grad.flatten(),
    }
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, torch.tensor(expected["gradients"][name]), atol=1e-4, rtol=1e-3)
        assert gradient.abs().max() > 1e-3, name  # a comparison that says something


def test_a_block_spreads_on_a_grid_that_is_no_square_as_theirs_does(theirs: dict[str, Any]) -> None:
    given = {name: torch.tensor(values) for name, values in theirs["scm"]["alone"].items()}
    block = Diffusion(16, threshold=0.3, similarity=1.4)
    with torch.no_grad():
        raised, spread = block(given["class_maps"], given["attention"].reshape(2, 1, 3, 5))
    torch.testing.assert_close(raised, given["raised"], atol=1e-4, rtol=0)
    torch.testing.assert_close(spread.flatten(1), given["spread"], atol=1e-4, rtol=0)


def test_a_grid_of_two_by_two_worked_by_hand() -> None:
    """Cells a b / c d, of classes x, y, x and x + y: a is joined to b and c, d too."""
    class_maps = torch.tensor([[[[2.0, 0.0], [3.0, 1.0]], [[0.0, 5.0], [0.0, 1.0]]]])
    attention = torch.tensor([[[[1.0, 0.2], [0.4, 0.0]]]])
    half = 0.5**0.5  # cosine of x + y with x and with y
    similarity = 0.5
    ab, ac, bd, cd = (similarity * cosine - 1 for cosine in (0.0, 1.0, half, half))
    own = 2 * (similarity - 1)  # two neighbours each
    matrix = torch.tensor([[own, -ab, -ac, 0], [-ab, own, 0, -bd], [-ac, 0, own, -cd], [0, -bd, -cd, own]])
    wanted = torch.linalg.solve(matrix, torch.tensor([1.0, 0.2, 0.4, 0.0])).reshape(1, 1, 2, 2)
    shrunk = wanted / (0.25 * 1.0) - (wanted / (0.25 * 1.0)).tanh()
    expected = (shrunk - shrunk.min()) / (shrunk.max() - shrunk.min())
    block = Diffusion(30, threshold=0.25, similarity=similarity)
    with torch.no_grad():
        raised, spread = block(class_maps, attention)
    torch.testing.assert_close(spread, attention + expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(raised, class_maps * (1 + expected), atol=1e-4, rtol=0)


def test_the_laplacian_joins_each_cell_to_the_four_beside_it() -> None:
    expected = [[2, -1, -1, 0, 0, 0], [-1, 2, 0, -1, 0, 0], [-1, 0, 3, -1, -1, 0]]
    expected += [[0, -1, -1, 3, 0, -1], [0, 0, -1, 0, 2, -1], [0, 0, 0, -1, -1, 2]]
    assert laplacian(3, 2).tolist() == expected
    assert laplacian(1, 1).tolist() == [[0]]
    assert laplacian(14, 14).diagonal().unique().tolist() == [2, 3, 4]
    assert not laplacian(9, 14).sum(1).any()


@pytest.mark.parametrize("iterations", [1, 3, 4, 5, 16])
def test_vectors_are_multiplied_by_the_matrix_that_newton_and_schulz_form(iterations: int) -> None:
    matrices = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = torch.randn(2, 9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inverse, identity = 0.002 * matrices.mT, torch.eye(9, dtype=torch.float64)
    for _ in range(iterations):
        inverse = inverse @ (2 * identity - matrices @ inverse)
    torch.testing.assert_close(inverse_times(matrices, vectors, iterations), inverse @ vectors)


def test_many_iterations_give_the_inverse() -> None:
    matrices = torch.eye(5) + 0.3 * torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        inverse_times(matrices, vectors, 30), torch.linalg.solve(matrices, vectors), atol=1e-4, rtol=1e-3
    )


def test_where_nothing_stands_out_nothing_is_spread() -> None:
    class_maps, attention = torch.rand(1, 3, 2, 3), torch.zeros(1, 1, 2, 3)
    raised, spread = Diffusion(4, threshold=0.5, similarity=1.0)(class_maps, attention)
    torch.testing.assert_close(raised, class_maps)
    assert not spread.any()


def test_the_module_only_serves_training() -> None:
    images = torch.rand(2, 3, 48, 48)
    torch.manual_seed(0)
    method = SCM(vit(), 3, blocks=2, threshold=0.2, similarity=1.5)
    assert [each.iterations for each in method.calibration] == [16, 4]
    assert [(each.threshold.item(), each.similarity.item()) for each in method.calibration] == [
        (pytest.approx(0.2), 1.5),
    ] * 2
    for mode in (True, False):
        method.train(mode)
        with torch.no_grad():
            before = method.localize(images)
            scores = method.scores(images)
            method.calibration[0].forward = None  # type: ignore[assignment]
            after = method.localize(images)
        torch.testing.assert_close(before.maps, after.maps)
        torch.testing.assert_close(scores, after.logits)
        del method.calibration[0].forward
    attended = method.attended(method.backbone(images))
    torch.testing.assert_close(attended, normalize(attended))  # from 0 to 1
