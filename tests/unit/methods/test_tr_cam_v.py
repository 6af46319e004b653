from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone
from boxless.errors import ConfigError
from boxless.methods.seeded import CLASSIFICATION
from boxless.methods.tr_cam_v import LOCALIZATION, TrCAMV
from boxless.pseudo.records import Proposals, of_maps
from boxless.types import Batch

SIZE = 96  # of images for the tiny transformer: 6 x 6 patches and a class token, 3 heads of 64 channels in all


def transformer(**settings: Any) -> TrCAMV:
    torch.manual_seed(3)
    return TrCAMV(build_backbone("test_vit", weights="random", image_size=SIZE), 4, **settings).eval()


def small(pyramid: Callable[..., Backbone], **settings: Any) -> TrCAMV:
    torch.manual_seed(3)
    backbone = pyramid()
    backbone.mean, backbone.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    return TrCAMV(backbone, 4, stride=2, fuse=False, hidden=0, width=4, **settings).eval()


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def parts(count: int, side: int = 16) -> Proposals:
    """Maps of a faint large square at the upper left, and a bright small one at the lower right."""
    maps = torch.linspace(0, 0.2, side * side).view(side, side).repeat(count, 1, 1, 1)
    maps[:, :, 1:8, 1:8] = 0.7
    maps[:, :, 10:14, 10:14] = 1.0
    return of_maps(maps, (side, side))


# --- losses: equation II-5 ---


def test_the_second_stage_learns_from_pixels_sizes_and_colours(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch], plain_crf: Callable[..., float]
) -> None:
    settings = {"seed_weight": 0.4, "size_weight": 0.2, "barrier": 1.44, "crf_weight": 3e-9, "crf_scale": 1.0}
    method, plain = small(pyramid, **settings), some_batch(side=16)
    method.enter(LOCALIZATION)
    mean, std = torch.tensor((0.4, 0.5, 0.6))[:, None, None], torch.tensor((0.2, 0.3, 0.25))[:, None, None]
    batch = replace(plain, images=(plain.images - mean) / std, pseudo=parts(3))
    assert batch.pseudo is not None
    torch.manual_seed(7)
    losses = method.losses(batch, 0.5)
    torch.manual_seed(7)
    labels = method.sample(batch.pseudo)
    foreground = method.decoder(F.avg_pool2d(batch.images, 2), (16, 16)).softmax(1)[:, 1].detach()
    # II-4: -(1 - M) log S0 - M log S1 over the drawn pixels, here their mean.
    drawn = [[(1 - int(m)) * (1 - s).log() + int(m) * s.log() for m, s in zip(*each, strict=True) if m >= 0]
             for each in zip(labels.flatten(1), foreground.flatten(1), strict=True)]  # fmt: skip
    expected = -sum(float(sum(each)) / len(each) for each in drawn) / 3
    assert losses["seeds"].item() == pytest.approx(0.4 * expected, rel=1e-5)
    areas = torch.stack([foreground.sum((1, 2)), 256 - foreground.sum((1, 2))])
    assert losses["size"].item() == pytest.approx(0.2 * -areas.log().mean().item() / 1.2, rel=1e-5)
    assert losses["crf"].item() == pytest.approx(plain_crf(foreground, 255 * plain.images, weight=3e-9), rel=1e-4)
    assert losses.keys() == {"seeds", "crf", "size"}


def test_the_terms_of_the_ablation_are_left_out_by_their_weights(
    pyramid: Callable[..., Backbone], some_batch: Callable[..., Batch]
) -> None:
    """Table II-3: PAL alone, with ASL, with CRF."""
    batch = replace(some_batch(side=16), pseudo=parts(3))
    for size, crf, names in ((0.0, 0.0, {"seeds"}), (0.01, 0.0, {"seeds", "size"}), (0.0, 8e-9, {"seeds", "crf"})):
        method = small(pyramid, size_weight=size, crf_weight=crf)
        method.enter(LOCALIZATION)
        assert method.losses(batch, 0.0).keys() == names


def test_the_first_stage_is_the_classification_of_class_tokens() -> None:
    """Equation II-3; the second holds all but the decoder."""
    method = transformer(blocks=2)
    batch = Batch(pictures(), torch.tensor([1, 3]), F.one_hot(torch.tensor([1, 3]), 4).float(), torch.arange(2))
    method.enter(CLASSIFICATION)
    losses = method.losses(replace(batch, pseudo=of_maps(torch.rand(2, 1, 6, 6), (SIZE, SIZE))), 0.0)
    prefix = method.backbone(batch.images).prefix
    assert prefix is not None
    scores = method.head.classifier(torch.cat([prefix[:, 0, 0], prefix[:, 1, 0]], 1))
    assert losses.keys() == {"classification"}
    torch.testing.assert_close(losses["classification"], F.cross_entropy(scores, batch.labels))
    method.enter(LOCALIZATION)
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.requires_grad} == {"decoder"}


# --- what pixels are drawn from: equations II-1 and II-2 ---


@pytest.mark.parametrize(("region", "bright", "faint"), [("densest", 1, 0), ("largest", 0, 1), ("all", 1, 1)])
def test_pixels_come_from_the_densest_region(
    pyramid: Callable[..., Backbone], region: str, bright: int, faint: int
) -> None:
    method = small(pyramid, region=region, foreground_share=1.0, background_share=0.1, count=256, dilation=1)
    assert small(pyramid).sample.region == "densest"
    found = method.sample(parts(2))[0] == 1
    assert found.sum() == 16 * bright + 49 * faint
    assert found[10:14, 10:14].sum() == 16 * bright


def test_of_several_boxes_one_is_drawn_and_its_map_counts_within_it_alone(pyramid: Callable[..., Backbone]) -> None:
    one = parts(400)
    boxes = torch.tensor([[0.0, 0, 9, 9], [9, 9, 16, 16]]).expand(400, 2, 4)
    both = replace(
        one,
        boxes=boxes,
        scores=one.scores.expand(-1, 2),
        maps=one.maps.expand(-1, 2),
        valid=one.valid.expand(-1, 2),
        activations=one.activations.expand(-1, 2, -1, -1),
    )
    torch.manual_seed(0)
    found = small(pyramid, count=256, dilation=1, foreground_share=1.0).sample(both) == 1
    faint, bright = found[:, 1:8, 1:8].all(2).all(1), found[:, 10:14, 10:14].all(2).all(1)
    assert (faint ^ bright).all()
    assert faint.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (found.sum((1, 2)) == torch.where(faint, 49, 16)).all()


# --- what the decoder reads ---


def test_it_reads_patches_and_beside_each_the_class_token_of_the_last_block() -> None:
    both, alone = transformer(), transformer(reads="patches")
    features = both.backbone(pictures())
    assert features.prefix is not None
    read = both.input(features, pictures())
    assert read.shape == (2, 128, 6, 6)
    assert torch.equal(read[:, :64], features.grid)
    assert torch.equal(read[:, 64:], features.prefix[:, -1, 0, :, None, None].expand(-1, -1, 6, 6))
    assert torch.equal(alone.input(alone.backbone(pictures()), pictures()), features.grid)


def test_of_a_grid_without_a_class_token_both_is_the_grid(pyramid: Callable[..., Backbone]) -> None:
    method, images = small(pyramid, reads="both"), torch.rand(1, 3, 8, 8)
    assert torch.equal(method.input(method.backbone(images), images), F.avg_pool2d(images, 2))


def test_attention_is_a_channel_for_each_head_and_each_token_that_attends() -> None:
    method = transformer(reads="attention")
    features = method.backbone(pictures())
    read, (attention,) = method.input(features, pictures()), features.attention
    heads = attention.shape[1]
    assert read.shape == (2, heads * 37, 6, 6)
    for head, token in ((0, 0), (1, 5), (heads - 1, 36)):
        assert torch.equal(read[:, head * 37 + token], attention[:, head, token, 1:].view(2, 6, 6))
    said = method.localize(pictures())
    assert said.maps.shape == (2, 1, SIZE, SIZE)


def test_attention_is_of_one_size_of_images_and_of_transformers_alone(pyramid: Callable[..., Backbone]) -> None:
    with pytest.raises(ConfigError, match=r"images of 96 x 96 pixels, and these have 48 x 192; .*reads=both"):
        transformer(reads="attention").localize(torch.rand(1, 3, 48, 192))  # as many patches
    with pytest.raises(ConfigError, match="plain vision transformer"):
        small(pyramid, reads="attention")
    assert transformer().localize(torch.rand(1, 3, 48, 192)).maps.shape == (1, 1, 48, 192)


def test_the_published_decoder_has_its_parameters() -> None:
    """1182 to 192, 96, 48 and 2 channels, two 3x3 convolutions each with normalisation: 2.69 million."""
    with torch.device("meta"):
        backbone = build_backbone("vit_small_patch16_224", weights="random", image_size=224)
        method = TrCAMV(backbone, 10, reads="attention", width=192, resolution=1, last="block")
    widths = (1182, 192, 96, 48, 2)
    expected = sum(9 * b * (a + b) + 4 * b for a, b in pairwise(widths))
    assert method.input.channels == 1182
    assert sum(each.numel() for each in method.decoder.parameters()) == expected == 2_687_564


def test_it_takes_a_clip_transformer(tiny_clip: Callable[..., str]) -> None:
    """Whose last stage, the space that it shares with texts, is of another width than its blocks."""
    backbone = build_backbone(tiny_clip("vit"), image_size=32)
    method = TrCAMV(backbone, 4, blocks=2).eval()
    images = torch.rand(2, 3, 32, 32)
    features = method.backbone(images)
    assert features.prefix is not None
    assert features.prefix.shape[1:] == (2, 1, backbone.stages[0].channels)
    assert method.localize(images).maps.shape == (2, 1, 32, 32)
