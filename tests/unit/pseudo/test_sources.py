"""Maps of attention are what queries and keys say, for any plain transformer; a backbone is left as it was found."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError, DataError, UnknownNameError
from boxless.ops.spectral import spectral_maps
from boxless.pseudo.sources import Attention, MapSource, Spectral, class_attention
from boxless.pseudo.table import MAP_SOURCES
from boxless.settings import build

SIZE = (48, 80)  # 3 x 5 patches
SPECTRAL = Spectral(threshold=0.5)  # which about half of the pairs of patches pass in the network below


def vit(name: str = "test_vit", **settings: Any) -> TimmBackbone:
    """A backbone of timm's tiny transformer, with settings that its name alone does not give."""
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        backbone = TimmBackbone(name, weights="random")
    draws = torch.Generator().manual_seed(0)
    for parameter in backbone.model.parameters():
        nn.init.normal_(parameter, std=0.2, generator=draws)  # so that attention is not near even
    return backbone.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def by_hand(backbone: TimmBackbone, images: Tensor) -> Tensor:
    """The last block's attention of the class token, from queries and keys of each head: (b, heads, 3, 5)."""
    model = backbone.model
    tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))
    for block in model.blocks[:-1]:
        tokens = block(tokens)
    module = model.blocks[-1].attn
    queries, keys, _ = module.qkv(model.blocks[-1].norm1(tokens)).chunk(3, -1)
    width = queries.shape[2] // module.num_heads
    rows = []
    for head in range(module.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = torch.einsum("bc,bnc->bn", queries[:, 0, part], keys[:, :, part]) / width**0.5
        rows.append(scores.exp() / scores.exp().sum(1, keepdim=True))
    patches = torch.stack(rows, 1)[:, :, backbone.prefix_tokens :]
    return patches.reshape(len(images), module.num_heads, 3, 5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("registers", [0, 3])
def test_attention_is_that_of_queries_and_keys(registers: int, fused: bool, images: Tensor) -> None:
    backbone = vit(num_heads=4, reg_tokens=registers)
    assert backbone.prefix_tokens == 1 + registers
    for block in backbone.model.blocks:
        block.attn.fused_attn = fused
    expected = by_hand(backbone, images)
    torch.testing.assert_close(class_attention(backbone, images), expected)
    maps = Attention()(backbone, images)
    torch.testing.assert_close(maps, expected / expected.amax((2, 3), keepdim=True))
    assert maps.amax((2, 3)).eq(1).all()
    assert maps.amin() > 0  # the minimum is not subtracted
    assert [block.attn.fused_attn for block in backbone.model.blocks] == [fused] * 6


def test_the_mean_over_all_heads_comes_before_the_first_four(images: Tensor) -> None:
    backbone, source = vit(num_heads=8), Attention(heads="first_four_and_mean")
    attention = by_hand(backbone, images)
    expected = torch.cat([attention.mean(1, keepdim=True), attention[:, :4]], 1)
    torch.testing.assert_close(source(backbone, images), expected / expected.amax((2, 3), keepdim=True))
    assert source.count(backbone) == 5
    assert Attention().count(backbone) == 8


def test_fewer_than_four_heads_are_refused_where_four_are_wanted(images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"test_vit has 2 heads.*take heads='all'"):
        Attention(heads="first_four_and_mean")(vit(), images)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "deit_tiny_distilled_patch16_224"])
def test_transformers_of_other_classes_give_attention(name: str, images: Tensor) -> None:
    """DINOv3 turns its queries and keys by place and has four registers; a distilled DeiT has a second class token."""
    settings = {"embed_dim": 64, "num_heads": 2, "depth": 2}
    backbone = vit(name, **settings, **({} if "dino" in name else {"img_size": SIZE}))
    kept: list[Tensor] = []
    last = backbone.model.blocks[-1].attn
    last.fused_attn = False
    with last.attn_drop.register_forward_hook(lambda _module, _inputs, output: kept.append(output)), torch.no_grad():
        backbone.model(images)
    expected = kept[0][:, :, 0, backbone.prefix_tokens :].reshape(2, 2, 3, 5)
    last.fused_attn = True
    torch.testing.assert_close(class_attention(backbone, images), expected)
    assert backbone.prefix_tokens == {"v": 5, "d": 2}[name[0]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_vit2", "it has no class token"),  # a register, which is a prefix token too
        ("test_resnet", "it is no plain vision transformer"),
        ("swin_tiny_patch4_window7_224", "it is no plain vision transformer"),
    ],
)
def test_backbones_without_attention_of_a_class_token_are_refused(name: str, reason: str) -> None:
    backbone = TimmBackbone(name, weights="random")
    for ask in (Attention().count, lambda each: class_attention(each, torch.zeros(1, 3, 224, 224))):
        with pytest.raises(ConfigError, match=rf"{name}.*{reason}.*vit_small_patch16_224\.dino.*'spectral'"):
            ask(backbone)


def test_blocks_that_the_class_token_does_not_pass_are_refused() -> None:
    """CaiT has a class token, which only blocks of its own read."""
    backbone = vit("cait_xxs24_224", embed_dim=32, num_heads=2, depth=2, img_size=SIZE)
    assert backbone.prefix_tokens
    with pytest.raises(ConfigError, match=r"it has no class token in its blocks"):
        class_attention(backbone, torch.zeros(1, 3, *SIZE))


def test_sizes_that_the_network_does_not_take_are_refused(images: Tensor) -> None:
    for source in (Attention(), SPECTRAL):
        backbone = vit(dynamic_img_size=False)
        taps = backbone.taps
        with pytest.raises(ConfigError, match="does not take images of 40 x 80 pixels"):
            source(backbone, images[:, :, :40])
        assert backbone.taps == taps


def test_patches_may_reach_beyond_the_image(images: Tensor) -> None:
    backbone = vit()
    padded = torch.nn.functional.pad(images[:, :, :40], (0, 0, 0, 8))
    for source in (Attention(), SPECTRAL):
        torch.testing.assert_close(source(backbone, images[:, :, :40]), source(backbone, padded))


def test_images_that_are_no_batch_are_refused() -> None:
    for source in (Attention(), SPECTRAL):
        with pytest.raises(DataError, match=r"\(3, 48, 80\)"):
            source(vit(), torch.zeros(3, *SIZE))


def test_an_image_that_is_not_a_number_has_flat_attention_and_no_cuts(images: Tensor) -> None:
    backbone, broken = vit(), images.clone()
    broken[0, 0, 0, 0] = torch.nan
    maps = Attention()(backbone, broken)
    assert not maps[0].any()
    torch.testing.assert_close(maps[1:], Attention()(backbone, images[1:]))
    with pytest.raises(DataError, match=r"features\[0\]"):
        SPECTRAL(backbone, broken)


def test_double_precision_gives_single_precision_maps_of_the_same_attention(images: Tensor) -> None:
    backbone = vit().double()
    found = class_attention(backbone, images)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_hand(backbone, images.double()))
    assert {source(backbone, images).dtype for source in (Attention(), SPECTRAL)} == {torch.float32}


class Doubled(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:
        return 2 * grid


def test_what_is_inserted_in_the_backbone_changes_its_attention(images: Tensor) -> None:
    backbone = vit()
    plain = class_attention(backbone, images)
    backbone.insert(0, Doubled())
    assert not torch.allclose(class_attention(backbone, images), plain)


@pytest.mark.parametrize("source", [Attention(), SPECTRAL])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_is_left_as_found(source: MapSource, frozen: bool, images: Tensor) -> None:
    backbone = vit(attn_drop_rate=0.5, proj_drop_rate=0.5, patch_drop_rate=0.5)
    backbone.tap(1, 3)
    expected = source(backbone, images)
    assert expected.any()
    if frozen:
        backbone.freeze()
    backbone.train()
    backbone.model.blocks[2].eval()
    modes = [module.training for module in backbone.modules()]
    flags = [parameter.requires_grad for parameter in backbone.parameters()]
    state = torch.get_rng_state()
    maps = source(backbone, images.requires_grad_())
    torch.testing.assert_close(maps, expected)  # dropout is off
    assert not maps.requires_grad
    assert images.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [module.training for module in backbone.modules()]
    assert flags == [parameter.requires_grad for parameter in backbone.parameters()]
    assert backbone.taps == (1, 3)
    assert not any(module._forward_hooks for module in backbone.modules())
    assert all(block.attn.fused_attn for block in backbone.model.blocks)


@pytest.mark.parametrize("source", [Attention(), SPECTRAL])
def test_maps_are_computed_and_not_taken_from_replayed_features(source: MapSource, images: Tensor) -> None:
    backbone = vit()
    expected = source(backbone, images)
    backbone.tap(0)
    with torch.no_grad():
        features = backbone(images)
    with backbone.replay(images, features):
        torch.testing.assert_close(source(backbone, images), expected)


@pytest.mark.parametrize("source", [Attention(), SPECTRAL])
def test_maps_do_not_depend_on_the_rest_of_the_batch(source: MapSource, images: Tensor) -> None:
    backbone = vit()
    alone = torch.cat([source(backbone, each[None]) for each in images])
    torch.testing.assert_close(source(backbone, images), alone, atol=1e-5, rtol=0)


def test_a_source_works_inside_inference_mode(images: Tensor) -> None:
    backbone = vit()
    for source in (Attention(), SPECTRAL):
        expected = source(backbone, images)
        with torch.inference_mode():
            torch.testing.assert_close(source(backbone, images.clone()), expected)


@pytest.mark.parametrize(("stride", "stage"), [(16, 2), (8, 1), (15, 1), (32, 3), (64, 3), (1, 0)])
def test_the_spectral_source_reads_the_last_stage_of_its_stride(stride: int, stage: int) -> None:
    backbone = TimmBackbone("test_resnet", weights="random", image_size=64).eval()
    backbone.stages = backbone.stages[1:]  # of strides 4, 8, 16, 32
    assert [each.stride for each in backbone.stages] == [4, 8, 16, 32]
    assert Spectral(stride=stride).stage(backbone) == stage


def test_the_spectral_source_of_a_convolutional_network_cuts_the_grid_of_that_stage() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("test_resnet", weights="random", image_size=64).eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    backbone.tap(Spectral(stride=8).stage(backbone))
    with torch.no_grad():
        grid = backbone(images).grid
    units = nn.functional.normalize(grid.flatten(2), dim=1)
    middle = float((units.mT @ units).median())  # half of all pairs are more alike
    backbone.tap(-1)
    maps = Spectral(stride=8, vectors=2, threshold=middle)(backbone, images)
    assert maps.shape == (2, 4, 8, 12)
    assert maps.any()
    torch.testing.assert_close(maps, spectral_maps(grid, vectors=2, threshold=middle))


def test_the_spectral_source_of_a_transformer_reads_its_last_tokens(images: Tensor) -> None:
    backbone, source = vit(reg_tokens=2), Spectral(vectors=2, threshold=0.5)
    backbone.tap(-1)
    with torch.no_grad():
        grid = backbone(images).grid
    backbone.tap(0)
    expected = spectral_maps(grid, vectors=2, threshold=0.5)
    torch.testing.assert_close(source(backbone, images), expected)
    torch.testing.assert_close(source.of_grid(grid), expected)
    assert source.count(backbone) == expected.shape[1] == 4


def test_every_source_is_built_by_its_name_and_refuses_wrong_settings(images: Tensor) -> None:
    backbone: Backbone = vit()
    for name in MAP_SOURCES:
        settings = {"threshold": 0.5} if name == "spectral" else {}
        source: MapSource = build(MAP_SOURCES.load(name), settings, "source")
        maps = source(backbone, images)
        assert maps.shape == (2, source.count(backbone), 3, 5)
        assert maps.min() >= 0
        assert maps.max() == 1
    with pytest.raises(UnknownNameError, match="did you mean 'spectral'"):
        MAP_SOURCES.load("spectrum")
    wrong = (("attention", "heads", "some"), ("spectral", "threshold", 1), ("spectral", "vectors", 0))
    for name, setting, value in wrong:
        with pytest.raises(ConfigError, match=rf"source\.{setting}"):
            build(MAP_SOURCES.load(name), {setting: value}, "source")
