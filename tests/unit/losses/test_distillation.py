from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.errors import DataError
from boxless.losses.distillation import (
    anchor_scores,
    foreground_pooling,
    image_classification,
    patch_classification,
    patch_distillation,
)
from boxless.losses.partial import BACKGROUND, FOREGROUND, IGNORED

ANCHORS = torch.eye(3)[:2]  # two classes in three dimensions: scores are the first two numbers of an embedding
CLASSES = torch.tensor([1, 0])
LABELS = torch.tensor([[[FOREGROUND, FOREGROUND], [BACKGROUND, IGNORED]], [[FOREGROUND, IGNORED], [IGNORED, IGNORED]]])


def patches(first: list[float], second: list[float]) -> Tensor:
    """Embeddings (2, 3, 2, 2) by the probability of the second class at each patch; the third number is no score's."""
    chances = torch.tensor([first, second], dtype=torch.float64).view(2, 2, 2)
    return torch.stack([(1 - chances).log(), chances.log(), torch.full_like(chances, 7)], 1)


EMBEDDINGS = patches([0.8, 0.5, 0.9, 0.1], [0.25, 0.5, 0.6, 0.7])
LOGITS = torch.tensor([[0.8, 0.5, 0.1, 0.4], [0.6, 0.2, 0.2, 0.2]], dtype=torch.float64).logit().view(2, 2, 2)


def leaves(*values: Tensor) -> list[Tensor]:
    return [value.clone().requires_grad_() for value in values]


def test_scores_are_dot_products_of_images_and_of_patches() -> None:
    anchors = torch.tensor([[1.0, 0], [0.6, 0.8]])
    images = torch.tensor([[2.0, 1], [0, -5]])
    expected = torch.tensor([[2.0, 2], [0, -4]])
    assert torch.allclose(anchor_scores(images, anchors), expected)
    grid = images.T[None, :, :, None]  # one image of two patches
    assert torch.allclose(anchor_scores(grid, anchors), expected.T[None, :, :, None])


def test_distillation_is_equation_3_1_averaged_over_patches_of_the_object_and_over_images() -> None:
    first = -(math.log(0.8) + math.log(0.5)) / 2
    second = -math.log(1 - 0.25)
    loss = patch_distillation(EMBEDDINGS, ANCHORS, CLASSES, LABELS)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_distillation_moves_patches_of_the_object_alone_and_along_anchors() -> None:
    (embeddings,) = leaves(EMBEDDINGS)
    patch_distillation(embeddings, ANCHORS, CLASSES, LABELS).backward()
    expected = torch.zeros_like(EMBEDDINGS)
    # Softmax less label, divided by the object's patches and by images; the other class the other way.
    expected[0, 1, 0, 0], expected[0, 1, 0, 1], expected[1, 1, 0, 0] = -0.2 / 4, -0.5 / 4, 0.25 / 2
    expected[:, 0] = -expected[:, 1]
    assert embeddings.grad is not None
    assert torch.allclose(embeddings.grad, expected)


def test_an_image_without_the_object_counts_as_zero() -> None:
    labels = LABELS.clone()
    labels[1] = IGNORED
    expected = -(math.log(0.8) + math.log(0.5)) / 2
    assert patch_distillation(EMBEDDINGS, ANCHORS, CLASSES, labels).item() == pytest.approx(expected / 2)
    (embeddings,) = leaves(EMBEDDINGS)
    loss = patch_distillation(embeddings, ANCHORS, CLASSES, torch.full_like(LABELS, BACKGROUND))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None
    assert embeddings.grad.eq(0).all()


def test_the_patch_classifier_learns_by_equation_3_2_from_both_kinds() -> None:
    (logits,) = leaves(LOGITS)
    loss = patch_classification(logits, LABELS)
    first = -(math.log(0.8) + math.log(0.5) + math.log(1 - 0.1)) / 3
    assert loss.item() == pytest.approx((first - math.log(0.6)) / 2)
    loss.backward()
    expected = torch.tensor([[[-0.2 / 6, -0.5 / 6], [0.1 / 6, 0]], [[-0.4 / 2, 0], [0, 0]]], dtype=torch.float64)
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected)


def test_a_classifier_of_two_outputs_gives_the_difference() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(2, 2, 2, 2)
    labels = LABELS[1:2]  # one patch
    expected = F.cross_entropy(outputs[:1, :, 0, 0], torch.tensor([1]))
    assert torch.allclose(patch_classification((outputs[:, 1] - outputs[:, 0])[:1], labels), expected)


def test_pooling_is_equation_3_3() -> None:
    embeddings = torch.arange(1.0, 5).double().view(1, 1, 2, 2) * torch.tensor([1.0, -10]).view(1, 2, 1, 1)
    pooled = foreground_pooling(embeddings, LOGITS[:1])  # g of 0.8, 0.5, 0.1 and 0.4
    mean = (0.8 * 1 + 0.5 * 2 + 0.1 * 3 + 0.4 * 4) / 1.8
    assert torch.allclose(pooled, torch.tensor([[mean, -10 * mean]], dtype=torch.float64))


def test_gradients_of_the_pooling_reach_patches_and_classifier() -> None:
    embeddings, logits = leaves(EMBEDDINGS, LOGITS)
    foreground_pooling(embeddings, logits)[0, 0].backward()
    g = LOGITS[0].sigmoid()
    assert embeddings.grad is not None
    assert logits.grad is not None
    assert torch.allclose(embeddings.grad[0, 0], g / 1.8)
    assert embeddings.grad[:, 1:].eq(0).all()
    # By the chain rule: (z_p - h) / sum(g) for g, and g (1 - g) for its logit.
    pooled = (g * EMBEDDINGS[0, 0]).sum() / 1.8
    assert torch.allclose(logits.grad[0], (EMBEDDINGS[0, 0] - pooled) / 1.8 * g * (1 - g))
    assert logits.grad[1].eq(0).all()


def test_pooling_keeps_its_weights_where_every_patch_is_background() -> None:
    logits = torch.tensor([[[-1000.0, -1000 + math.log(3)]]], requires_grad=True)  # g is 0 in any precision
    pooled = foreground_pooling(torch.tensor([[[[4.0, 8]]]]), logits)
    assert pooled.item() == pytest.approx(7, rel=1e-4)
    pooled.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_pooling_of_what_is_certainly_object_is_the_mean() -> None:
    embeddings = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pooled = foreground_pooling(embeddings, torch.full((2, 4, 5), 1000.0))
    assert torch.allclose(pooled, embeddings.mean((2, 3)))


def test_images_learn_by_equation_3_4() -> None:
    (pooled,) = leaves(EMBEDDINGS[:, :, 0, 0])
    loss = image_classification(pooled, ANCHORS, CLASSES)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.75)) / 2)
    loss.backward()
    expected = torch.tensor([[0.2, -0.2, 0], [-0.25, 0.25, 0]], dtype=torch.float64) / 2
    assert pooled.grad is not None
    assert torch.allclose(pooled.grad, expected)


def test_images_of_several_classes_learn_each_of_them_for_itself() -> None:
    pooled = torch.tensor([[0.8, 0.5, 0.3], [0.1, 0.6, 0.3]]).logit()
    loss = image_classification(pooled, ANCHORS, torch.tensor([[1.0, 1], [0, 1]]))
    expected = -(math.log(0.8) + math.log(0.5) + math.log(1 - 0.1) + math.log(0.6)) / 4
    assert loss.item() == pytest.approx(expected)


def test_from_image_to_patches_and_classifier_the_gradient_passes_and_stops_at_the_anchors() -> None:
    embeddings, logits, anchors = leaves(EMBEDDINGS, LOGITS, ANCHORS.double())
    pooled = foreground_pooling(embeddings, logits)
    together = image_classification(pooled, anchors, CLASSES)
    (together + patch_distillation(embeddings, anchors, CLASSES, LABELS)).backward()
    assert anchors.grad is None
    assert embeddings.grad is not None
    assert logits.grad is not None
    assert embeddings.grad[:, :2].ne(0).all()
    assert logits.grad.ne(0).all()


def test_a_batch_may_be_cut_into_parts() -> None:
    def loss(part: slice) -> Tensor:
        pooled = foreground_pooling(EMBEDDINGS[part], LOGITS[part])
        return torch.stack(
            [
                patch_distillation(EMBEDDINGS[part], ANCHORS, CLASSES[part], LABELS[part]),
                patch_classification(LOGITS[part], LABELS[part]),
                image_classification(pooled, ANCHORS, CLASSES[part]),
            ]
        )

    assert torch.allclose(loss(slice(0, 2)), (loss(slice(0, 1)) + loss(slice(1, 2))) / 2)


def test_gradients_agree_with_differences() -> None:
    torch.manual_seed(0)
    embeddings, logits = leaves(torch.randn(2, 3, 2, 2).double(), torch.randn(2, 2, 2).double())
    several = torch.tensor([[1.0, 1], [0, 1]])
    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda z, _: patch_distillation(z, ANCHORS, CLASSES, LABELS),
        lambda _, g: patch_classification(g, LABELS),
        foreground_pooling,
        lambda z, g: image_classification(foreground_pooling(z, g), ANCHORS, CLASSES),
        lambda z, g: image_classification(foreground_pooling(z, g), ANCHORS, several),
    ]
    for loss in losses:
        assert torch.autograd.gradcheck(loss, (embeddings, logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_single(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, logits = torch.randn(2, 64, 8, 8).to(dtype), torch.randn(2, 8, 8).to(dtype)
    anchors = torch.linalg.qr(torch.randn(64, 5)).Q.T
    labels = torch.randint(0, 2, (2, 8, 8))

    def all_of(embeddings: Tensor, logits: Tensor) -> list[Tensor]:
        pooled = foreground_pooling(embeddings, logits)
        return [
            pooled,
            anchor_scores(embeddings, anchors),
            patch_distillation(embeddings, anchors, CLASSES, labels),
            patch_classification(logits, labels),
            image_classification(pooled, anchors, CLASSES),
        ]

    expected = all_of(embeddings.float(), logits.float())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = all_of(embeddings, logits)
        single = all_of(embeddings.float(), logits.float())
    for results in (all_of(embeddings, logits), mixed, single):
        for found, known in zip(results, expected, strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, known)


def test_sums_beyond_half_precision_are_finite() -> None:
    embeddings = torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16)
    logits = torch.full((1, 300, 300), 9.0, dtype=torch.float16)
    assert foreground_pooling(embeddings, logits).item() == pytest.approx(3, rel=1e-4)
    scores = anchor_scores(torch.full((1, 4), 6e4, dtype=torch.float16), torch.full((1, 4), 0.5))
    assert scores.item() == pytest.approx(4 * 0.5 * 6e4, rel=1e-3)


@pytest.mark.parametrize(
    ("embeddings", "anchors", "message"),
    [
        (torch.zeros(2, 4), ANCHORS, r"\(2, 4\) and anchors of shape \(2, 3\)"),
        (torch.zeros(3), ANCHORS, "same d"),
        (torch.zeros(2, 3), ANCHORS[0], r"\(3,\)"),
    ],
)
def test_embeddings_that_do_not_fit_the_anchors_are_refused(embeddings: Tensor, anchors: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        anchor_scores(embeddings, anchors)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (torch.tensor([0, 2]), "0 to 2, and there are anchors for 0 to 1"),
        (torch.tensor([-100, 0]), "-100"),  # which cross-entropy would pass over in silence
        (torch.tensor([0]), r"\(2,\)"),
        (torch.tensor([0, 1], dtype=torch.int32), "int32"),
    ],
)
def test_classes_without_an_anchor_are_refused(classes: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        patch_distillation(EMBEDDINGS, ANCHORS, classes, LABELS)
    with pytest.raises(DataError, match=message):
        image_classification(EMBEDDINGS[:, :, 0, 0], ANCHORS, classes)


def test_a_patch_of_several_classes_is_refused() -> None:
    with pytest.raises(DataError, match="one class an image"):
        patch_distillation(EMBEDDINGS, ANCHORS, torch.ones(2, 2), LABELS)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels: .*\(2, 2, 2\)"):
        patch_distillation(EMBEDDINGS, ANCHORS, CLASSES, LABELS[:, :1])
    with pytest.raises(DataError, match="not empty"):
        patch_distillation(EMBEDDINGS[:0], ANCHORS, CLASSES[:0], LABELS[:0])
    with pytest.raises(DataError, match="logits"):
        patch_classification(LOGITS[:, None], LABELS)
    with pytest.raises(DataError, match=r"labels: got torch\.float32"):
        patch_classification(LOGITS, LABELS.float())
    with pytest.raises(DataError, match=r"labels: got torch\.float32"):
        patch_distillation(EMBEDDINGS, ANCHORS, CLASSES, LABELS.float())
    with pytest.raises(DataError, match=r"logits: .*\(2, 2, 2\)"):
        foreground_pooling(EMBEDDINGS, LOGITS[:1])
    with pytest.raises(DataError, match=r"\(b, d, h, w\)"):
        foreground_pooling(EMBEDDINGS[:, :, 0], LOGITS[:, 0])
    with pytest.raises(DataError, match=r"\(b, d\)"):
        image_classification(EMBEDDINGS, ANCHORS, CLASSES)
    with pytest.raises(DataError, match=r"targets: got shape \(2, 3\)"):
        image_classification(EMBEDDINGS[:, :, 0, 0], ANCHORS, torch.ones(2, 3))
