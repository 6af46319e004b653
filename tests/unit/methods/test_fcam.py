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
from boxless.methods.fcam import FCAM
from boxless.methods.seeded import CLASSIFICATION, LOCALIZATION, odd
from boxless.pseudo.records import Proposals
from boxless.types import Batch

WHOLE = (0, 0, 8, 8)


def small(pyramid: Callable[..., Backbone], **settings: Any) -> FCAM:
    """On a grid of stride 2, in evaluation mode, so that what it computes can be computed again."""
    torch.manual_seed(3)
    backbone = pyramid()
    backbone.mean, backbone.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    return FCAM(backbone, 4, stride=2, fuse=False, hidden=0, width=4, **settings).eval()


def square(side: int, first: int, last: int) -> Tensor:
    """A map with a square of ones."""
    activations = torch.zeros(1, side, side)
    activations[:, first:last, first:last] = 1
    return activations


def shown(batch: Batch, pseudo: Proposals) -> Batch:
    """Of colours from 0 to 1, normalised."""
    mean, std = torch.tensor((0.4, 0.5, 0.6))[:, None, None], torch.tensor((0.2, 0.3, 0.25))[:, None, None]
    return replace(batch, images=(batch.images - mean) / std, pseudo=pseudo)


def foreground(method: FCAM, images: Tensor) -> Tensor:
    scores: Tensor = method.decoder(F.avg_pool2d(images, 2), (8, 8))
    return scores.softmax(1)[:, 1]


# --- losses ---


@pytest.mark.parametrize(("progress", "steepness"), [(0.0, 1.0), (0.5, 1.2), (0.999999, 1.44)])
def test_the_second_stage_learns_from_seeds_colours_and_sizes(
    pyramid: Callable[..., Backbone],
    some_batch: Callable[..., Batch],
    some_pseudo: Callable[..., Proposals],
    plain_crf: Callable[..., float],
    progress: float,
    steepness: float,
) -> None:
    settings = {"seed_weight": 0.4, "crf_weight": 3e-9, "crf_scale": 1.0, "size_weight": 0.2, "barrier": 1.44}
    method, plain = small(pyramid, count=3, **settings), some_batch()
    method.enter(LOCALIZATION)
    batch = shown(plain, some_pseudo([WHOLE], square(8, 2, 6), (8, 8)))
    assert batch.pseudo is not None
    torch.manual_seed(7)
    losses = method.losses(batch, progress)
    torch.manual_seed(7)
    labels = method.sample(batch.pseudo)
    assert (labels >= 0).sum() == 3 * 6
    maps = foreground(method, batch.images).detach()
    right = torch.where(labels == 1, maps, 1 - maps)
    each = [-image[known].log().mean() for image, known in zip(right, labels >= 0, strict=True)]
    assert losses["seeds"].item() == pytest.approx(0.4 * float(sum(each)) / 3, rel=1e-5)
    assert losses["crf"].item() == pytest.approx(plain_crf(maps, 255 * plain.images, weight=3e-9), rel=1e-4)
    areas = torch.stack([maps.sum((1, 2)), 64 - maps.sum((1, 2))])  # both above a pixel: on the barrier's logarithm
    assert areas.min() > 1
    expected = 0.2 * -areas.log().mean().item() / steepness
    assert losses["size"].item() == pytest.approx(expected, rel=1e-5)


def test_terms_without_a_weight_are_not_computed(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    batch = shown(some_batch(), some_pseudo([WHOLE], square(8, 2, 6), (8, 8)))
    for settings, names in (
        ({"crf_weight": 0.0}, {"seeds", "size"}),
        ({"size_weight": 0.0}, {"seeds", "crf"}),
    ):
        method = small(pyramid, **settings)
        method.enter(LOCALIZATION)
        assert method.losses(batch, 0.0).keys() == names


def test_the_first_stage_is_the_classification_and_teaches_no_decoder(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method, batch = small(pyramid), shown(some_batch(), some_pseudo([WHOLE], square(8, 2, 6), (8, 8)))
    method.enter(CLASSIFICATION)
    losses = method.losses(batch, 0.0)
    scores = batch.images.mean((2, 3)) @ method.classifier.weight.T + method.classifier.bias
    expected = (scores.logsumexp(1) - scores[torch.arange(3), batch.labels]).mean()
    assert losses.keys() == {"classification"}
    torch.testing.assert_close(losses["classification"], expected)
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.requires_grad} == {"classifier"}
    method.enter(LOCALIZATION)
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.requires_grad} == {"decoder"}
    method.train()
    assert method.decoder.training
    assert not method.dropout.training


# --- seeds ---


@pytest.mark.parametrize(("side", "eroded", "grown"), [(224, 5, 1), (112, 2, 0), (448, 10, 2), (32, 0, 0)])
def test_squares_are_as_large_a_part_of_the_image_at_any_size(
    pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals], side: int, eroded: int, grown: int
) -> None:
    """At 224 a square of 11 takes 5 pixels from each side of the region, and one of 3 adds 1; all seeds are drawn."""
    first, last = side // 4, 3 * side // 4
    method = small(pyramid, count=side * side, background_share=0.01, erosion=11, dilation=3)
    found = method.sample(some_pseudo([(0, 0, side, side)], square(side, first, last), (side, side), count=1))[0] == 1
    expected = torch.zeros(side, side, dtype=torch.bool)
    expected[first + eroded - grown : last - eroded + grown, first + eroded - grown : last - eroded + grown] = True
    # A square of the background may reach into the core's rim, but not past it.
    assert not (found & ~expected).any()
    assert found[expected].float().mean() > 0.99


@pytest.mark.parametrize(("side", "expected"), [(0.2, 1), (1.0, 1), (1.6, 1), (2.1, 3), (3.0, 3), (5.5, 5), (7.1, 7)])
def test_a_side_is_rounded_to_the_nearest_odd_number(side: float, expected: int) -> None:
    assert odd(side) == expected


def test_seeds_are_drawn_from_the_image_as_it_is_shown(
    pyramid: Callable[..., Backbone], some_pseudo: Callable[..., Proposals]
) -> None:
    """The upper left quarter is shown, mirrored: two pixels at its left become four by four at its right."""
    maps = torch.zeros(1, 8, 8)
    maps[0, 1:3, 0:2] = 1
    pseudo = some_pseudo([WHOLE], maps, (8, 8), count=1).shown(torch.tensor([[0, 0, 0.5, 0.5, 1.0]]))
    labels = small(pyramid, count=64, background_share=0.5).sample(pseudo)[0]
    # What is enlarged bilinearly is above Otsu's threshold there and half a pixel around it at most.
    assert (labels[2:6, 4:8] == 1).all()
    assert not (labels == 1)[:, :3].any()
    assert (labels == 0).sum() == 32


# --- what it gives ---


def test_the_map_is_the_foregrounds_probability_for_each_class(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, images = small(pyramid), some_batch().images
    said = method.localize(images, torch.tensor([[0, 2], [1, 1], [3, 0]]))
    for place in range(2):
        torch.testing.assert_close(said.maps[:, place], foreground(method, images))
    torch.testing.assert_close(said.logits, method.classifier(images.mean((2, 3))))


def test_its_classifier_gives_the_cam_that_seeds_are_of(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = small(pyramid), some_batch()
    maps = extract("cam", method.as_classifier(), batch.images, batch.labels).maps
    weights = method.classifier.weight[batch.labels]
    raw = (weights[:, :, None, None] * F.avg_pool2d(batch.images, 2)).sum(1).detach()
    low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
    torch.testing.assert_close(maps, (raw - low) / (high - low))
