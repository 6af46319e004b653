from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.methods.dips import CLASSIFICATION, LOCALIZATION
from boxless.methods.dips_unet import DiPSUNet
from boxless.pseudo.records import Proposals
from boxless.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from boxless.types import Batch

FLAT = torch.ones(1, 8, 8)
both = pytest.mark.parametrize("encoder", ["shared", "own"])


SMALL: dict[str, object] = {"width": 8, "resolution": 1, "count": 3, "crf_weight": 2e-9, "background_share": 0.3}


def small(pyramid: Callable[..., Backbone], **settings: Any) -> DiPSUNet:
    """A classifier on the middle grid, in the second stage, in evaluation mode."""
    torch.manual_seed(3)
    backbone = pyramid()
    backbone.mean, backbone.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    method = DiPSUNet(backbone, 4, **{"stride": 2, "fuse": False, "hidden": 0, **SMALL, **settings})
    method.enter(LOCALIZATION)
    return method.eval()


def network(encoder: str, *, seed: int = 0, freeze: bool = True) -> DiPSUNet:
    torch.manual_seed(seed)
    backbone = TimmBackbone("test_efficientnet", weights="random", image_size=64)
    if freeze:
        backbone.freeze()
    return DiPSUNet(backbone, 4, hidden=8, width=16, resolution=4, encoder=encoder)  # type: ignore[arg-type]


def shown(batch: Batch, pseudo: Proposals) -> Batch:
    """Of colours from 0 to 1, normalised."""
    mean, std = torch.tensor((0.4, 0.5, 0.6))[:, None, None], torch.tensor((0.2, 0.3, 0.25))[:, None, None]
    return replace(batch, images=(batch.images - mean) / std, pseudo=pseudo)


def foreground(method: DiPSUNet, images: Tensor) -> Tensor:
    middle = F.avg_pool2d(images, 2)
    scores: Tensor = method.decoder((images, middle, F.avg_pool2d(middle, 2)), (8, 8))
    return scores.softmax(1)[:, 1]


def learns(method: nn.Module, loss: Tensor) -> set[str]:
    """The parts that a loss reaches."""
    named = [(name, each) for name, each in method.named_parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss, [each for _, each in named], allow_unused=True)
    return {n.split(".")[0] for (n, _), each in zip(named, gradients, strict=True) if each is not None and each.any()}


def step(method: DiPSUNet, batch: Batch) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW([each for each in method.parameters() if each.requires_grad], lr=0.01)
    torch.stack(list(method.losses(batch, 0.0).values())).sum().backward()
    optimizer.step()
    return optimizer


@pytest.fixture
def large_batch(some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]) -> Batch:
    across = torch.linspace(-1, 1, 8)
    blob = torch.exp(-4 * (across[:, None] ** 2 + across**2))[None]
    return shown(some_batch(side=64), some_pseudo([(16, 8, 56, 48)], blob, (64, 64)))


# --- losses ---


def test_the_losses_of_a_map_that_is_the_same_everywhere_are_those_worked_by_hand(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    """Three quarters of foreground: the classifier sees images of three quarters of their contrast."""
    method = small(pyramid, pixel_weight=0.5, class_weight=0.3, crf_weight=0.0, count=4)
    with torch.no_grad():
        for name, value in method.decoder.scores.named_parameters():
            value.copy_(torch.tensor([0.0, log(3)]) if name == "bias" else torch.zeros_like(value))
        method.head.classifier.weight.zero_()
        method.head.classifier.weight[0, 0] = 4
        method.head.classifier.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    pseudo = some_pseudo([(2, 2, 6, 6)], FLAT, (8, 8))
    batch = replace(some_batch(), images=torch.tensor([1.0, 2.0, 0.0])[:, None, None, None].expand(3, 3, 8, 8))
    method.sampler = replace(method.sampler, background="outside")  # else a pixel may be drawn as both
    losses = method.losses(replace(batch, pseudo=pseudo), 0.0)
    assert losses["pixels"].item() == pytest.approx(0.5 * (-log(0.75) - log(0.25)) / 2)
    scores = torch.tensor([[3.0, 1, 2, 3], [6, 1, 2, 3], [0, 1, 2, 3]])
    expected = scores.logsumexp(1).mean() - (3 + 1 + 2) / 3  # of images 0, 1, 2 the classes 0, 1, 2
    assert losses["foreground"].item() == pytest.approx(0.3 * expected.item())
    assert losses.keys() == {"pixels", "foreground"}


@both
def test_the_second_stage_is_equation_a_i_5(
    pyramid: Callable[..., Backbone],
    some_batch: Callable[..., Batch],
    some_pseudo: Callable[..., Proposals],
    plain_crf: Callable[..., float],
    encoder: str,
) -> None:
    settings = {"pixel_weight": 0.4, "class_weight": 0.7, "crf_weight": 3e-9, "crf_scale": 1.0}
    method, plain = small(pyramid, encoder=encoder, **settings), some_batch()
    batch = shown(plain, some_pseudo([(1, 1, 4, 7)], FLAT, (8, 8)))
    assert batch.pseudo is not None
    torch.manual_seed(7)
    losses = method.losses(batch, 0.0)
    torch.manual_seed(7)
    labels = method.sample(batch.pseudo)
    maps = foreground(method, batch.images).detach()
    right = torch.where(labels == 1, maps, 1 - maps)
    each = [-image[known].log().mean() for image, known in zip(right, labels >= 0, strict=True)]
    assert losses["pixels"].item() == pytest.approx(0.4 * float(sum(each)) / 3, rel=1e-5)
    bared = (batch.images * maps[:, None]).mean((2, 3))
    scores = bared @ method.head.classifier.weight.T + method.head.classifier.bias
    expected = (scores.logsumexp(1) - scores[torch.arange(3), batch.labels]).mean()
    assert losses["foreground"].item() == pytest.approx(0.7 * expected.item(), rel=1e-5)
    assert losses["crf"].item() == pytest.approx(plain_crf(maps, 255 * plain.images, weight=3e-9), rel=1e-4)


def test_images_of_several_classes_are_each_a_question_to_the_classifier(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], some_pseudo: Callable[..., Proposals]
) -> None:
    method = small(pyramid, class_weight=1.0)
    batch = shown(some_batch(several=True), some_pseudo([(1, 1, 4, 7)], FLAT, (8, 8)))
    bared = (batch.images * foreground(method, batch.images)[:, None]).mean((2, 3))
    scores = bared @ method.head.classifier.weight.T + method.head.classifier.bias
    right = torch.where(batch.targets > 0, scores, -scores).sigmoid()
    torch.testing.assert_close(method.losses(batch, 0.0)["foreground"], -right.log().mean())


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize(("encoder", "reached"), [("shared", {"decoder"}), ("own", {"decoder", "encoder"})])
def test_what_the_classifier_says_of_the_foreground_teaches_the_unet_alone(
    large_batch: Batch, encoder: str, reached: set[str], freeze: bool
) -> None:
    method = network(encoder, freeze=freeze)
    method.enter(LOCALIZATION)
    method.train()
    assert learns(method, method.losses(large_batch, 0.0)["foreground"]) == reached
    assert not any(each.training for part in (method.backbone, method.head) for each in part.modules())


@pytest.mark.parametrize(("encoder", "passes"), [("shared", (1, 0)), ("own", (0, 1))])
def test_without_its_weight_the_classifier_is_not_asked(
    pyramid: Callable[..., Backbone],
    some_batch: Callable[..., Batch],
    some_pseudo: Callable[..., Proposals],
    encoder: str,
    passes: tuple[int, int],
) -> None:
    batch = shown(some_batch(), some_pseudo([(1, 1, 4, 7)], FLAT, (8, 8)))
    for weight, more in ((0.0, 0), (0.5, 1)):
        method: Any = small(pyramid, encoder=encoder, class_weight=weight)
        assert ("foreground" in method.losses(batch, 0.0)) == bool(more)
        reader = method.encoder.passes if encoder == "own" else 0
        assert (method.backbone.passes, reader) == (passes[0] + more, passes[1])


# --- stages and encoders ---


@both
def test_the_first_stage_teaches_the_classifier_and_the_second_the_unet(large_batch: Batch, encoder: str) -> None:
    method = network(encoder, freeze=False)
    for stage, learning in (
        (CLASSIFICATION, {"backbone", "head"}),
        (LOCALIZATION, {"decoder"} | ({"encoder"} if encoder == "own" else set())),
    ):
        method.enter(stage)
        method.train()
        before = {name: value.clone() for name, value in method.state_dict().items()}
        losses = method.losses(large_batch, 0.0)
        assert losses.keys() == ({"classification"} if stage == CLASSIFICATION else {"pixels", "foreground", "crf"})
        step(method, large_batch)
        changed = {n.split(".")[0] for n, value in method.state_dict().items() if not torch.equal(value, before[n])}
        assert changed == learning


def test_an_own_encoder_begins_as_the_backbone_did_and_learns_beside_a_frozen_one(large_batch: Batch) -> None:
    method = network("own")
    assert method.encoder is not None
    assert method.backbone.frozen
    assert not method.encoder.frozen
    ours, theirs = method.encoder.state_dict(), method.backbone.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not {each.data_ptr() for each in ours.values()} & {each.data_ptr() for each in theirs.values()}
    method.enter(LOCALIZATION)
    method.train()
    assert all(each.requires_grad for each in method.encoder.parameters())
    step(method, large_batch)
    ours, theirs = method.encoder.state_dict(), method.backbone.state_dict()
    assert all(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_frozen_classifier_and_an_own_encoder_ask_for_their_own_grids(pyramid: Callable[..., Backbone]) -> None:
    method = small(pyramid, encoder="own")
    assert method.encoder is not None
    assert (method.backbone.taps, method.encoder.taps) == ((1,), (0, 1, 2))
    assert small(pyramid).backbone.taps == (1, 0, 2)  # the classifier's first


def test_with_a_resnet50_of_its_own_beside_that_which_classifies_it_is_as_large_as_in_the_thesis() -> None:
    """Section 2.4, complexity: 58.078 million parameters, with the 1,000 classes of ILSVRC."""
    with torch.device("meta"):
        backbone = TimmBackbone("resnet50", weights="random")
        method = DiPSUNet(backbone, 1000, encoder="own", stride=32, hidden=0, width=256, resolution=1)
    assert f"{sum(each.numel() for each in method.parameters()) / 1e6:.3f}" == "58.078"


@pytest.mark.parametrize(("width", "widths"), [(256, [256, 128, 64, 32, 16]), (24, [24, 12, 8, 8, 8]), (4, [4] * 5)])
def test_the_decoders_channels_are_halved_down_to_eight(width: int, widths: list[int]) -> None:
    with torch.device("meta"):
        method = DiPSUNet(TimmBackbone("resnet50", weights="random"), 5, width=width, resolution=1)
    assert [block.below.out_channels for block in method.decoder.blocks] == widths  # type: ignore[union-attr]


# --- what it gives ---


@both
def test_the_map_is_the_foregrounds_probability_for_each_class(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], encoder: str
) -> None:
    method, images = small(pyramid, encoder=encoder), some_batch().images
    said = method.localize(images, torch.tensor([[0, 2], [1, 1], [3, 0]]))
    for place in range(2):
        torch.testing.assert_close(said.maps[:, place], foreground(method, images))
    torch.testing.assert_close(said.logits, method.head.classifier(images.mean((2, 3))))
    torch.testing.assert_close(method.as_classifier()(images), said.logits)


@both
def test_a_checkpoint_holds_the_unet_but_no_frozen_backbone(large_batch: Batch, tmp_path: Path, encoder: str) -> None:
    method = network(encoder)
    method.enter(LOCALIZATION)
    optimizer = step(method.train(), large_batch)
    save_checkpoint(tmp_path / "checkpoint", method, optimizer, Progress(epoch=2))
    again = network(encoder)
    again.enter(LOCALIZATION)
    fresh = torch.optim.AdamW([each for each in again.parameters() if each.requires_grad], lr=0.01)
    with torch.no_grad():
        again.head.classifier.bias.add_(1)
    assert load_checkpoint(tmp_path / "checkpoint", again, fresh).epoch == 2
    said, loaded = (each.eval().localize(large_batch.images) for each in (method, again))
    assert torch.equal(loaded.maps, said.maps)
    assert torch.equal(loaded.logits, said.logits)


@both
def test_weights_of_a_finished_run_fit_a_network_of_other_weights(large_batch: Batch, encoder: str) -> None:
    method, other = network(encoder), network(encoder, seed=5, freeze=False)
    method.enter(LOCALIZATION)
    step(method.train(), large_batch)
    other.load_state_dict(method.state_dict())
    said, loaded = (each.eval().localize(large_batch.images) for each in (method, other))
    assert torch.equal(loaded.maps, said.maps)
    assert torch.equal(loaded.logits, said.logits)
