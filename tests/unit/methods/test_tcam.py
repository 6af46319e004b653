from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.methods.seeded import LOCALIZATION
from boxless.methods.tcam import TCAM
from boxless.pseudo.labels import Labeller, check_source
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals, of_maps
from boxless.pseudo.teacher import own_teacher
from boxless.types import Batch


def small(pyramid: Callable[..., Backbone], **settings: Any) -> TCAM:
    torch.manual_seed(3)
    return TCAM(pyramid(), 4, stride=2, fuse=False, hidden=0, width=4, **settings).eval()


def blobs(count: int = 3) -> Proposals:
    """Maps of 16 x 16, each of a faint large square and a bright small one, which alone is dense."""
    maps = torch.linspace(0, 0.2, 256).view(16, 16).repeat(count, 1, 1, 1)
    maps[:, :, 1:8, 1:8] = 0.7
    maps[:, :, 10:14, 10:14] = 1.0
    return of_maps(maps, (16, 16))


def test_it_says_of_how_many_frames_before_maps_are_laid_over_a_frames_own(pyramid: Callable[..., Backbone]) -> None:
    assert small(pyramid).neighbours == 1
    assert small(pyramid, neighbours=3).neighbours == 3


@pytest.mark.parametrize(
    ("region", "bright", "faint"), [("all", True, True), ("densest", True, False), ("largest", False, True)]
)
def test_seeds_come_from_the_region_that_is_asked_for(
    pyramid: Callable[..., Backbone], region: str, bright: bool, faint: bool
) -> None:
    """Of the region all are candidates, and all are drawn; nothing is shrunk."""
    method = small(pyramid, region=region, foreground_share=1.0, background_share=0.1, count=256, dilation=1)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[1:8, 1:8], expected[10:14, 10:14] = faint, bright
    torch.manual_seed(0)
    assert torch.equal(method.sample(blobs()) == 1, expected.expand(3, -1, -1))
    lowest = torch.linspace(0, 0.2, 256).view(16, 16)
    lowest[1:8, 1:8] = 1  # the first 25 that lie in no square
    assert places(method.sample(blobs())[0] == 0) == lowest.flatten().argsort()[:25].sort().values.tolist()


def places(mask: torch.Tensor) -> list[int]:
    return mask.flatten().nonzero()[:, 0].tolist()


def test_the_highest_share_is_drawn_from_by_its_activation(pyramid: Callable[..., Backbone]) -> None:
    method = small(pyramid, foreground_share=0.6, count=1, dilation=1)
    torch.manual_seed(0)
    drawn = method.sample(blobs(2000)) == 1
    assert (drawn.sum((1, 2)) == 1).all()
    # 39 of 65 pixels: the 16 bright ones, and 23 of the 49 faint ones, equal ones in random order.
    share = 16 / (16 + 23 * 0.7)
    assert drawn[:, 10:14, 10:14].sum() / len(drawn) == pytest.approx(share, abs=0.04)
    assert drawn[:, 1:8, 1:8].sum() == len(drawn) - drawn[:, 10:14, 10:14].sum()


def test_its_second_stage_has_the_three_losses_on_the_seeds(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    method, batch = small(pyramid, seed_weight=0.5), replace(some_batch(side=16), pseudo=blobs())
    assert batch.pseudo is not None
    method.enter(LOCALIZATION)
    torch.manual_seed(7)
    losses = method.losses(batch, 0.0)
    torch.manual_seed(7)
    labels = method.sample(batch.pseudo)
    assert losses.keys() == {"seeds", "crf", "size"}
    foreground = method.decoder(F.avg_pool2d(batch.images, 2), (16, 16)).softmax(1)[:, 1]
    right = torch.where(labels == 1, foreground, 1 - foreground)
    each = [-image[known].log().mean() for image, known in zip(right, labels >= 0, strict=True)]
    assert losses["seeds"].item() == pytest.approx(0.5 * torch.stack(each).mean().item(), rel=1e-5)


def test_it_learns_from_layercam_too(pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]) -> None:
    """The maps that the paper takes; its gradients reach the classifier's grid and no further."""
    method, batch = small(pyramid), some_batch(side=16)
    with torch.no_grad():
        method.classifier.weight.copy_(torch.tensor([[1.0, -2, 0], [0, 1, 1], [-1, -1, 3], [1, 1, 1]]))
    source = check_source("layercam", {}, method.backbone, kind="maps")
    labeller = Labeller(source, "maps", ProposalSettings(top_k=1), method.backbone, own_teacher(method), 4)
    pseudo = labeller(batch.images, batch.labels)
    grid, weights = F.avg_pool2d(batch.images, 2), method.classifier.weight[batch.labels]
    positive = (weights.relu()[:, :, None, None] * grid).sum(1).detach()  # the gradient is the weight, divided by 64
    low, high = positive.amin((1, 2), keepdim=True), positive.amax((1, 2), keepdim=True)
    found = pseudo.activations[:, 0].float()
    torch.testing.assert_close(found, (positive - low) / (high - low), atol=2e-3, rtol=0)
    method.enter(LOCALIZATION)
    assert all(torch.isfinite(each) for each in method.losses(replace(batch, pseudo=pseudo), 0.5).values())
