from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from boxless.errors import DataError
from boxless.losses.partial import IGNORED, partial_cross_entropy


def scores(probabilities: Tensor) -> Tensor:
    """Logits (b, 2, h, w) whose softmax gives the object these probabilities; a shift must not matter."""
    return torch.stack([(1 - probabilities).log(), probabilities.log()], 1) + 3


OBJECT = torch.tensor([[[0.75, 0.5], [0.2, 0.9]], [[0.25, 0.6], [0.1, 0.3]], [[0.4, 0.4], [0.4, 0.4]]])
LABELS = torch.tensor([[[1, 0], [IGNORED, 1]], [[0, IGNORED], [IGNORED, IGNORED]], [[IGNORED] * 2] * 2])


def test_it_is_equation_2_1_averaged_over_the_labelled_pixels_and_over_images() -> None:
    first = -(math.log(0.75) + math.log(1 - 0.5) + math.log(0.9)) / 3
    second = -math.log(1 - 0.25)
    loss = partial_cross_entropy(scores(OBJECT), LABELS)
    assert loss.item() == pytest.approx((first + second + 0) / 3)


def test_the_gradient_is_that_of_hand_and_none_where_there_is_no_label() -> None:
    logits = scores(OBJECT).requires_grad_()
    partial_cross_entropy(logits, LABELS).backward()
    assert logits.grad is not None
    slope = logits.grad[:, 1]  # softmax less label, divided by pixels and images
    expected = torch.tensor([[[-0.25 / 9, 0.5 / 9], [0, -0.1 / 9]], [[0.25 / 3, 0], [0, 0]], [[0, 0], [0, 0]]])
    assert torch.allclose(slope, expected, atol=1e-7)
    assert torch.allclose(logits.grad[:, 0], -expected, atol=1e-7)


def test_a_batch_may_be_cut_into_parts() -> None:
    parts = [partial_cross_entropy(scores(OBJECT)[i : i + 1], LABELS[i : i + 1]) for i in range(3)]
    assert partial_cross_entropy(scores(OBJECT), LABELS).item() == pytest.approx(torch.stack(parts).mean().item())


def test_no_label_at_all_is_zero_with_a_gradient_of_zero() -> None:
    logits = scores(OBJECT).requires_grad_()
    loss = partial_cross_entropy(logits, torch.full_like(LABELS, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_gradients_agree_with_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: partial_cross_entropy(given, LABELS), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 2, 320, 320, dtype=dtype, requires_grad=True)  # 70978 in all, beyond half precision
    loss = partial_cross_entropy(logits, torch.ones(1, 320, 320, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2))
    far = torch.tensor([3e4, -3e4], dtype=dtype).view(1, 2, 1, 1)
    assert partial_cross_entropy(far, torch.ones(1, 1, 1, dtype=torch.int64)).item() == pytest.approx(6e4, rel=0.01)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long(), "background first"),
        (torch.zeros(2, 2, 2), torch.zeros(2, 2).long(), "logits"),
        (torch.zeros(0, 2, 2, 2), torch.zeros(0, 2, 2).long(), "logits"),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 3).long(), r"labels: .*\(1, 2, 3\)"),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2), "float32"),
    ],
)
def test_what_does_not_fit_is_refused(logits: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        partial_cross_entropy(logits, labels)
