from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.losses.distillation import foreground_pooling, image_classification, patch_classification
from boxless.losses.partial import IGNORED
from boxless.methods.ted_loc import LOCALIZATION, TEACHER, TeDLoc, drawn
from boxless.ops.anchors import orthogonal_anchors, polar_anchors
from boxless.pseudo.records import Proposals
from boxless.text.classes import ClassTexts
from boxless.types import Batch

TEXT = torch.tensor([[1.0, 0.2, 0.0, 0.1], [0.9, 0.3, 0.1, 0.0], [0.1, 0.0, 1.0, 0.3]])


def small(pyramid: Callable[..., Backbone], classes: int = 3, **settings: Any) -> TeDLoc:
    torch.manual_seed(3)
    usual: dict[str, Any] = {"stride": 2, "fuse": False, "hidden": 0, "width": 4, "resolution": 2, "dimensions": 4}
    return TeDLoc(pyramid(), classes, **usual | settings).eval()


def texts(embeddings: Tensor = TEXT) -> ClassTexts:
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    return ClassTexts(unit, tuple((f"class {i}",) for i in range(len(unit))), lambda _: unit)


def blob(some_pseudo: Callable[..., Proposals]) -> Proposals:
    """The upper left quarter of an 8 x 8 image is the object."""
    levels = torch.zeros(1, 4, 4)
    levels[:, :2, :2] = 1
    return some_pseudo([(0, 0, 8, 8)], levels, (8, 8))


def dense(method: TeDLoc, images: Tensor) -> Tensor:
    """Embeddings of all patches, on a grid that is not enlarged."""
    patches = method.decoder(torch.nn.functional.avg_pool2d(images, 2))
    assert patches.fine is None
    embedded: Tensor = method.decoder.projection(patches.coarse.movedim(1, 3)).movedim(3, 1)
    return embedded


# --- losses ---


def test_the_second_stage_is_equation_3_5(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    weights = {"distillation_weight": 0.5, "patch_weight": 0.25, "image_weight": 2.0}
    method = small(pyramid, count=100, foreground_share=1.0, background_share=1.0, **weights)
    batch = replace(some_batch(classes=3), pseudo=blob(some_pseudo))
    method.enter(LOCALIZATION)
    losses = method.losses(batch, 0.0)
    assert list(losses) == ["distillation", "patches", "image"]
    z = dense(method, batch.images)
    g = method.patch_classifier(z.movedim(1, 3))[..., 0]
    inside = torch.zeros(3, 4, 4, dtype=torch.bool)
    inside[:, :2, :2] = True
    pulled = []  # worked out patch by patch
    for image in range(3):
        for row, column in inside[image].nonzero().tolist():
            logits = method.anchors @ z[image, :, row, column]
            pulled.append(logits.logsumexp(0) - logits[batch.labels[image]])
    assert losses["distillation"].item() == pytest.approx(0.5 * torch.stack(pulled).mean().item(), rel=1e-5)
    # As many patches of the background as of the object are drawn; of an object without others it is worked out.
    assert losses["patches"].item() > 0
    shares = g.sigmoid() / g.sigmoid().sum((1, 2), keepdim=True)
    pooled = (z * shares[:, None]).sum((2, 3))
    expected = torch.nn.functional.cross_entropy(pooled @ method.anchors.T, batch.labels)
    assert losses["image"].item() == pytest.approx(2 * expected.item(), rel=1e-5)


def test_patches_are_told_object_or_background(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method = small(
        pyramid, count=100, foreground_share=1.0, background_share=0.1, distillation_weight=0, image_weight=0
    )
    levels = torch.tensor([[[1.0, 0.9, 0, 0]] * 4])  # half of the image, so that both kinds may be balanced
    batch = replace(some_batch(classes=3), pseudo=some_pseudo([(0, 0, 8, 8)], levels, (8, 8)))
    method.enter(LOCALIZATION)
    told = []
    for seed in range(200):
        torch.manual_seed(seed)
        told.append(method.losses(batch, 0.0)["patches"].item())
    g = method.patch_classifier(dense(method, batch.images).movedim(1, 3))[..., 0].detach()
    labels = torch.full((3, 4, 4), IGNORED)
    labels[:, :, :2] = 1
    objects = patch_classification(g, labels)
    labels = torch.full((3, 4, 4), IGNORED)
    labels[:, :, 2:] = 0
    backgrounds = patch_classification(g, labels)
    # One patch of each kind, for of the background a tenth is one: on average the mean of both.
    assert sum(told) / len(told) == pytest.approx(((objects + backgrounds) / 2).item(), rel=0.03)


@pytest.mark.parametrize(
    ("left_out", "named"),
    [("distillation_weight", "distillation"), ("patch_weight", "patches"), ("image_weight", "image")],
)
def test_a_loss_of_no_weight_is_left_out(
    pyramid: Callable[..., Backbone],
    some_batch: Callable[..., Batch],
    some_pseudo: Callable[..., Proposals],
    left_out: str,
    named: str,
) -> None:
    method = small(pyramid, **{left_out: 0.0})
    losses = method.losses(replace(some_batch(classes=3), pseudo=blob(some_pseudo)), 0.0)
    assert set(losses) == {"distillation", "patches", "image"} - {named}


def test_no_loss_at_all_is_refused(pyramid: Callable[..., Backbone]) -> None:
    with pytest.raises(ConfigError, match="all three losses have the weight 0"):
        small(pyramid, distillation_weight=0, patch_weight=0, image_weight=0)


def test_gradients_reach_the_decoder_and_the_patch_classifier_only(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method = small(pyramid, resolution=1)
    method.enter(LOCALIZATION)
    losses = method.losses(replace(some_batch(classes=3), pseudo=blob(some_pseudo)), 0.0)
    torch.stack(list(losses.values())).sum().backward()
    reached = {name.split(".")[0] for name, each in method.named_parameters() if each.grad is not None}
    assert reached == {"decoder", "patch_classifier"}
    assert all(each.grad is not None for each in method.decoder.parameters())
    assert not method.anchors.requires_grad


def test_the_teacher_learns_from_labels_alone_and_is_what_pseudo_labels_come_from(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = small(pyramid), some_batch(classes=3)
    method.enter(TEACHER)
    losses = method.losses(batch, 0.0)
    expected = torch.nn.functional.cross_entropy(method.as_teacher()(batch.images), batch.labels)
    assert losses["classification"].item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(method.scores(batch.images), method.as_teacher()(batch.images))
    losses["classification"].backward()
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.grad is not None} == {"teacher"}
    method.enter(LOCALIZATION)
    assert not torch.allclose(method.scores(batch.images), method.as_teacher()(batch.images))
    torch.testing.assert_close(method.as_classifier()(batch.images), method.localize(batch.images).logits)


def test_several_classes_of_an_image_are_pulled_to_several_anchors(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method = small(pyramid, distillation_weight=0, patch_weight=0)
    batch = replace(some_batch(classes=3, several=True), pseudo=blob(some_pseudo))
    z = dense(method, batch.images)
    pooled = foreground_pooling(z, method.patch_classifier(z.movedim(1, 3))[..., 0])
    expected = image_classification(pooled, method.anchors, batch.targets)
    assert method.losses(batch, 0.0)["image"].item() == pytest.approx(expected.item(), rel=1e-5)


# --- what is said of images ---


def test_class_and_map_come_from_one_pass(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    method, batch = small(pyramid), some_batch(classes=3)
    said = method.localize(batch.images)
    assert method.backbone.passes == 1  # type: ignore[attr-defined]
    z = dense(method, batch.images)
    g = method.patch_classifier(z.movedim(1, 3))[..., 0]
    torch.testing.assert_close(said.maps[:, 0], g.sigmoid())
    torch.testing.assert_close(said.logits, foreground_pooling(z, g) @ method.anchors.T)


def test_maps_may_come_from_anchors(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    method, batch = small(pyramid, localization="anchors"), some_batch(classes=3)
    assert method.class_specific
    said = method.localize(batch.images, torch.tensor([[0, 2], [1, 1], [2, 0]]))
    z = dense(method, batch.images)
    product = (z[0] * method.anchors[2, :, None, None]).sum(0)
    torch.testing.assert_close(said.maps[0, 1], (product - product.min()) / (product.max() - product.min()))
    assert not torch.allclose(said.maps[0, 0], said.maps[0, 1])
    assert not small(pyramid).class_specific


# --- anchors ---


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("auto", orthogonal_anchors(TEXT)),
        ("qr", orthogonal_anchors(TEXT)),
        ("polar", polar_anchors(TEXT)),
        ("text", torch.nn.functional.normalize(TEXT, dim=1)),
    ],
)
def test_anchors_are_made_of_text_in_the_order_of_classes(
    pyramid: Callable[..., Backbone], kind: str, expected: Tensor
) -> None:
    method = small(pyramid, anchors=kind)
    method.name_classes(texts())
    torch.testing.assert_close(method.anchors, expected)
    assert ((method.anchors * TEXT).sum(1) > 0).all()


def test_the_anchors_are_part_of_the_weights(pyramid: Callable[..., Backbone]) -> None:
    method, other = small(pyramid), small(pyramid)
    method.name_classes(texts())
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.anchors, method.anchors)


def test_random_anchors_are_orthonormal_and_heed_no_text(pyramid: Callable[..., Backbone]) -> None:
    method, other = small(pyramid, anchors="random"), small(pyramid)
    method.name_classes(texts())
    torch.testing.assert_close(method.anchors @ method.anchors.T, torch.eye(3))
    other.leave_unnamed()
    assert torch.equal(other.anchors, method.anchors)


@pytest.mark.parametrize("kind", ["qr", "polar", "text"])
def test_anchors_of_text_are_refused_where_there_is_none(pyramid: Callable[..., Backbone], kind: str) -> None:
    with pytest.raises(ConfigError, match=f"method.anchors: {kind} makes anchors of class names, and there is no text"):
        small(pyramid, anchors=kind).leave_unnamed()


def test_more_classes_than_dimensions_make_a_tight_frame(pyramid: Callable[..., Backbone]) -> None:
    generator = torch.Generator().manual_seed(1)
    method = small(pyramid, classes=7)
    method.name_classes(texts(torch.randn(7, 4, generator=generator)))
    torch.testing.assert_close(method.anchors.T @ method.anchors, 7 / 4 * torch.eye(4), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="7 classes, 4 dimensions: qr holds no more"):
        small(pyramid, classes=7, anchors="qr")


def test_embeddings_of_another_width_are_refused(pyramid: Callable[..., Backbone]) -> None:
    with pytest.raises(ConfigError, match=r"method.dimensions: 6, and the text embeddings have 4"):
        small(pyramid, dimensions=6).name_classes(texts())


# --- drawing ---


def test_drawn_gives_the_places_that_have_a_label() -> None:
    labels = torch.full((2, 2, 3), IGNORED)
    labels[0, 0, 1], labels[0, 1, 2], labels[1, 1, 0] = 1, 0, 1
    rows, columns, found = drawn(labels)
    assert rows.shape == (2, 2)
    first = {
        (row, column, label)
        for row, column, label in zip(rows[0].tolist(), columns[0].tolist(), found[0, :, 0].tolist(), strict=True)
    }
    assert first == {(0, 1, 1), (1, 2, 0)}
    assert (rows[1, 0], columns[1, 0], found[1, 0, 0]) == (1, 0, 1)
    assert found[1, 1, 0] == IGNORED


def test_images_without_any_label_draw_one_place_that_counts_for_nothing() -> None:
    rows, _, found = drawn(torch.full((2, 2, 3), IGNORED))
    assert rows.shape == (2, 1)
    assert (found == IGNORED).all()
