from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.maps import extract
from boxless.methods.dips import CLASSIFICATION, LOCALIZATION, DiPS
from boxless.pseudo.records import Proposals
from boxless.types import Batch

LEFT, RIGHT, WHOLE = (1, 1, 4, 7), (5, 2, 8, 6), (0, 0, 8, 8)
FLAT = torch.ones(1, 8, 8)


def small(pyramid: Callable[..., Backbone], **settings: Any) -> DiPS:
    """On a grid of stride 2, in evaluation mode, so that what it computes can be computed again."""
    torch.manual_seed(3)
    backbone = pyramid()
    backbone.mean, backbone.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    shares = {"foreground_share": 0.3, "background_share": 0.3}
    return DiPS(backbone, 4, stride=2, fuse=False, hidden=0, width=4, **{**shares, **settings}).eval()


def localizing(pyramid: Callable[..., Backbone], **settings: Any) -> DiPS:
    method = small(pyramid, **settings)
    method.enter(LOCALIZATION)
    return method


def normalised(batch: Batch, pseudo: Proposals | None = None) -> Batch:
    """Of colours from 0 to 1."""
    mean, std = torch.tensor((0.4, 0.5, 0.6))[:, None, None], torch.tensor((0.2, 0.3, 0.25))[:, None, None]
    return replace(batch, images=(batch.images - mean) / std, pseudo=pseudo)


def foreground(method: DiPS, images: Tensor) -> Tensor:
    scores: Tensor = method.decoder(F.avg_pool2d(images, 2), (8, 8))
    return scores.softmax(1)[:, 1]


# --- losses ---


def test_the_second_stage_is_equation_2_4(
    pyramid: Callable[..., Backbone],
    some_batch: Callable[..., Batch],
    some_pseudo: Callable[..., Proposals],
    plain_crf: Callable[..., float],
) -> None:
    method = localizing(pyramid, pixel_weight=0.4, crf_weight=3e-9, crf_scale=0.5, count=3)
    plain = some_batch()
    batch = normalised(plain, some_pseudo([LEFT], FLAT, (8, 8)))
    assert batch.pseudo is not None
    torch.manual_seed(7)
    losses = method.losses(batch, 0.0)
    torch.manual_seed(7)
    labels = method.sample(batch.pseudo)
    maps = foreground(method, batch.images).detach()
    right = torch.where(labels == 1, maps, 1 - maps)
    each = [-image[known].log().sum() / 6 for image, known in zip(right, labels >= 0, strict=True)]
    assert (labels >= 0).sum() == 3 * 6
    assert losses["pixels"].item() == pytest.approx(0.4 * float(sum(each)) / 3, rel=1e-5)
    expected = plain_crf(maps, 255 * plain.images, weight=3e-9, scale=0.5)
    assert losses["crf"].item() == pytest.approx(expected, rel=1e-4)
    assert losses.keys() == {"pixels", "crf"}


def test_without_its_weight_the_crf_is_not_computed(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    batch = normalised(some_batch(), some_pseudo([LEFT], FLAT, (8, 8)))
    assert localizing(pyramid, crf_weight=0.0).losses(batch, 0.0).keys() == {"pixels"}


def test_the_first_stage_is_the_classification_and_teaches_no_decoder(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method, batch = small(pyramid), normalised(some_batch(), some_pseudo([LEFT], FLAT, (8, 8)))
    method.enter(CLASSIFICATION)
    losses = method.losses(batch, 0.0)
    scores = batch.images.mean((2, 3)) @ method.head.classifier.weight.T + method.head.classifier.bias
    expected = (scores.logsumexp(1) - scores[torch.arange(3), batch.labels]).mean()
    assert losses.keys() == {"classification"}
    torch.testing.assert_close(losses["classification"], expected)
    learning = {name.split(".")[0] for name, each in method.named_parameters() if each.requires_grad}
    assert learning == {"head"}
    method.enter(LOCALIZATION)
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.requires_grad} == {"decoder"}
    method.train()
    assert method.decoder.training
    assert not method.head.training


# --- what it learns from ---


def test_object_is_drawn_in_a_box_and_background_outside_all(
    pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals]
) -> None:
    method = small(pyramid, foreground_share=1.0, background_share=1.0, count=10)
    labels = method.sample(some_pseudo([LEFT, RIGHT], FLAT.expand(2, 8, 8), (8, 8), count=40))
    left, right = torch.zeros(2, 8, 8, dtype=torch.bool)
    left[1:7, 1:4], right[2:6, 5:8] = True, True
    found = labels == 1
    assert (found.flatten(1).sum(1) == 10).all()
    assert ((labels == 0).flatten(1).sum(1) == 10).all()
    assert not (labels == 0)[:, left | right].any()
    lies_left, lies_right = ((found & ~box).flatten(1).sum(1) == 0 for box in (left, right))
    assert (lies_left ^ lies_right).all()
    assert 5 < lies_left.sum() < 35  # of 40, all equally likely


def test_the_map_is_that_of_the_box(pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals]) -> None:
    """Two boxes of the whole image, and one pixel in the map of each."""
    method = small(pyramid, foreground_share=0.01, background_share=1.0, background="anywhere", count=1)
    maps = torch.zeros(2, 8, 8)
    maps[0, 1, 2] = maps[1, 6, 5] = 1
    labels = method.sample(some_pseudo([WHOLE, WHOLE], maps, (8, 8), count=30))
    found = {tuple(place) for place in (labels == 1).nonzero()[:, 1:].tolist()}
    assert found == {(1, 2), (6, 5)}


def test_settings_of_the_pixels_are_heeded(
    pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals]
) -> None:
    rising = torch.arange(64.0).reshape(1, 8, 8) / 64
    pseudo = some_pseudo([WHOLE], rising, (8, 8))

    def drawn(**settings: Any) -> Tensor:
        labels = small(pyramid, **settings).sample(pseudo)[0]
        return torch.stack([(labels == kind).sum() for kind in (0, 1)])

    low, high = {"background_share": 0.25}, {"foreground_share": 0.125}
    assert drawn(**low, **high, count=5).tolist() == [5, 5]
    assert drawn(**low, **high, count=50).tolist() == [8, 8]  # as many as there are of the fewer
    assert drawn(**low, **high, count=5, background_count=12).tolist() == [12, 5]
    assert drawn(**low, **high, count=50, background_count=50).tolist() == [16, 8]
    grown = small(pyramid, **high, count=8, background_count=1, dilation=3).sample(pseudo)[0]
    assert set((grown == 1).nonzero()[:, 0].tolist()) == {6, 7}  # the last row and its neighbours
    inside = some_pseudo([(0, 0, 8, 7)], 1 - rising, (8, 8))
    for background, rows in (("outside", {7}), ("anywhere", {6, 7})):
        method = small(pyramid, background=background, background_share=0.25, count=16, background_count=16)
        assert set((method.sample(inside)[0] == 0).nonzero()[:, 0].tolist()) == rows


def test_pixels_are_drawn_where_the_shown_image_has_them(
    pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals]
) -> None:
    """The upper left quarter is shown, mirrored: the two pixels at its left become four by four at its right."""
    maps = torch.zeros(1, 8, 8)
    maps[0, 1:3, 0:2] = 1
    pseudo = some_pseudo([(0, 1, 2, 3)], maps, (8, 8), count=1).shown(torch.tensor([[0, 0, 0.5, 0.5, 1.0]]))
    method = small(pyramid, foreground_share=1.0, background_share=1.0, count=64, background_count=64)
    labels = method.sample(pseudo)[0]
    expected = torch.zeros(8, 8, dtype=torch.int64)
    expected[2:6, 4:8] = 1
    assert torch.equal(labels, expected)


# --- what it gives ---


def test_the_map_is_the_foregrounds_probability_for_each_class(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, images = small(pyramid), some_batch().images
    said = method.localize(images, torch.tensor([[0, 2], [1, 1], [3, 0]]))
    for place in range(2):
        torch.testing.assert_close(said.maps[:, place], foreground(method, images))
    torch.testing.assert_close(said.logits, method.head.classifier(images.mean((2, 3))))


def test_its_classifier_gives_cam(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    method, batch = small(pyramid), some_batch()
    maps = extract("cam", method.as_classifier(), batch.images, batch.labels).maps
    weights = method.head.classifier.weight[batch.labels]
    raw = (weights[:, :, None, None] * F.avg_pool2d(batch.images, 2)).sum(1).detach()
    low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
    torch.testing.assert_close(maps, (raw - low) / (high - low))
