from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import Tensor

from boxless.backbones import open_clip_models
from boxless.backbones.build import build_backbone, check_name, preprocessing_of, whereabouts
from boxless.backbones.clip_tower import ClipTower, need_tower
from boxless.backbones.open_clip_backbone import OpenClipBackbone, licence_of
from boxless.backbones.table import BACKBONES, Row
from boxless.errors import ConfigError, UnknownNameError, WeightsError
from boxless.pseudo.sources import Attention, class_attention
from boxless.types import Features

KINDS = ("vit", "eva", "siglip", "resnet", "convnext")
TRANSFORMERS = KINDS[:3]
Tiny = Callable[..., str]


def opened(name: str, **options: Any) -> OpenClipBackbone:
    return OpenClipBackbone(name, **options).eval()


def whole(name: str) -> Any:
    """The model as open_clip itself opens it."""
    return open_clip_models.library().create_model(name.removeprefix("open_clip:")).eval()


def images(height: int, width: int | None = None, count: int = 2) -> Tensor:
    return torch.randn(count, 3, height, width or height, generator=torch.Generator().manual_seed(3))


def native(kind: str) -> int:
    return 32 if kind in TRANSFORMERS else 64


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_image_is_embedded_as_by_open_clip(tiny_clip: Tiny, kind: str) -> None:
    name = tiny_clip(kind)
    backbone, shown = opened(name), images(native(kind))
    embedding, patches = backbone.embeddings(shown)
    torch.testing.assert_close(embedding, whole(name).encode_image(shown), rtol=1e-5, atol=1e-5)
    assert patches.shape[:2] == (2, backbone.text_dimensions)
    torch.testing.assert_close(backbone(shown).grid, patches)


@torch.no_grad()
def test_the_activation_is_that_of_the_configuration(tiny_clip: Tiny) -> None:
    quick, plain, shown = tiny_clip(quick_gelu=True), tiny_clip(), images(32)
    embedding = opened(quick).embeddings(shown)[0]
    torch.testing.assert_close(embedding, whole(quick).encode_image(shown), rtol=1e-5, atol=1e-5)
    assert (embedding - opened(plain).embeddings(shown)[0]).abs().max() > 1e-3


CHANGES: dict[str, dict[str, Any]] = {
    "vit": {},
    "scaled": {"ls_init_value": 0.3},
    "averaged": {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
}


def variant(tiny_clip: Tiny, kind: str) -> str:
    return tiny_clip("vit", vision=CHANGES[kind]) if kind in CHANGES else tiny_clip(kind)


@pytest.mark.parametrize("kind", [*CHANGES, "eva", "siglip"])
@torch.no_grad()
def test_steps_make_up_the_blocks_and_blocks_the_network(tiny_clip: Tiny, kind: str) -> None:
    name = variant(tiny_clip, kind)
    tower, shown = need_tower(opened(name), "this"), images(32)
    x, grid = tower.tokens(shown)
    assert x.shape == (2, tower.prefix + 16, tower.width)
    for index in range(tower.depth):
        y = tower.normed(index, x)
        weights, v = tower.attention(index, y, grid), tower.qkv(index, y, grid)[2]
        assert weights.shape == (2, tower.heads, x.shape[1], x.shape[1])
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, tower.heads, x.shape[1]))
        stepped = tower.mlp(index, tower.residual(index, x, tower.mixed(index, weights, v)))
        x = tower.block(index, x, grid)
        torch.testing.assert_close(stepped, x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tower.pooled(x), whole(name).encode_image(shown), rtol=1e-5, atol=1e-5)
    if kind in ("vit", "scaled", "eva"):  # they pool by their class token
        torch.testing.assert_close(tower.embed(x)[:, 0], tower.pooled(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_pooled_average_is_of_tokens_that_were_embedded_alike(tiny_clip: Tiny) -> None:
    """With the norm before the mean, averaging and projecting change places."""
    tower = need_tower(opened(tiny_clip(vision={"pool_type": "avg"})), "this")
    x, _ = tower.tokens(images(32))
    torch.testing.assert_close(tower.embed(x)[:, 1:].mean(1), tower.pooled(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", TRANSFORMERS)
@torch.no_grad()
def test_other_sizes_interpolate_positions_and_are_padded(tiny_clip: Tiny, kind: str) -> None:
    backbone = opened(tiny_clip(kind))
    shown = images(40, 70)
    embedding, patches = backbone.embeddings(shown)
    assert embedding.shape == (2, backbone.text_dimensions)
    assert patches.shape[2:] == (5, 9)
    padded = torch.nn.functional.pad(shown, (0, 2, 0, 0))
    torch.testing.assert_close(backbone.embeddings(padded)[1], patches)
    assert backbone.grid(40, 70) == (5, 9)


@pytest.mark.parametrize("kind", ["vit", "eva"])
@torch.no_grad()
def test_other_sizes_are_as_open_clip_builds_the_network_for_them(tiny_clip: Tiny, kind: str) -> None:
    name, shown = tiny_clip(kind), images(48)
    if kind == "vit":
        other = open_clip_models.library().create_model(name.removeprefix("open_clip:"), force_image_size=48)
    else:
        other = whole(name)
        other.visual.set_input_size(48)
    torch.testing.assert_close(
        opened(name).embeddings(shown)[0], other.eval().encode_image(shown), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["resnet", "convnext"])
@torch.no_grad()
def test_a_cell_is_embedded_as_an_image_of_it_alone(tiny_clip: Tiny, kind: str) -> None:
    backbone = opened(tiny_clip(kind))
    last = backbone.model._maps(images(96, 64), 4)[1]
    cells = backbone.embeddings(images(96, 64))[1]
    assert cells.shape == (2, 24, 3, 2)
    if kind == "convnext":
        alone = backbone.model.visual.head(backbone.model.visual.trunk.forward_head(last[:, :, 1:2, 1:2]))
    else:  # attention over copies of one cell gives its value, whatever the weights
        pool = copy.deepcopy(backbone.model.visual.attnpool)
        pool.positional_embedding.zero_()
        alone = pool(last[:, :, 1:2, 1:2].expand(-1, -1, 2, 2))
    torch.testing.assert_close(cells[:, :, 1, 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_every_stage_is_as_it_declares_and_independent_of_what_else_is_read(tiny_clip: Tiny, kind: str) -> None:
    backbone, shown = opened(tiny_clip(kind)), images(64, 96).contiguous(memory_format=torch.channels_last)
    backbone.tap(*range(len(backbone.stages)))
    every = backbone(shown)
    for stage, grid in zip(backbone.stages, every.grids, strict=True):
        assert grid.shape == (2, stage.channels, 64 // stage.stride, 96 // stage.stride)
    assert backbone.stages[-1].name == "embedding"
    for index in range(len(backbone.stages)):
        backbone.tap(index)
        torch.testing.assert_close(backbone(shown).grid, every.grids[index])
    assert backbone.also_tap(0, -1) == (1, 0)
    assert len(backbone(shown).grids) == 2


@pytest.mark.parametrize("kind", ["vit", "eva"])
@torch.no_grad()
def test_class_tokens_are_given_with_and_without_grids(tiny_clip: Tiny, kind: str) -> None:
    backbone, shown = opened(tiny_clip(kind)), images(32)
    assert (backbone.prefix_tokens, backbone.class_token, backbone.gives_tokens) == (1, True, True)
    backbone.tap()
    backbone.tap_tokens(0, 2)
    features = backbone(shown)
    assert features.grids == ()
    assert features.prefix is not None
    assert features.prefix.shape == (2, 2, 1, 32)
    backbone.tap_tokens(-1)
    prefix = backbone(shown).prefix
    assert prefix is not None
    torch.testing.assert_close(prefix[:, 0, 0], backbone.embeddings(shown)[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="several widths"):
        backbone.tap_tokens(0, -1)


@pytest.mark.parametrize("kind", ["siglip", "resnet", "convnext"])
def test_networks_without_class_tokens_are_refused_by_what_needs_one(tiny_clip: Tiny, kind: str) -> None:
    backbone = opened(tiny_clip(kind))
    assert (backbone.prefix_tokens, backbone.class_token, backbone.gives_tokens) == (0, False, False)
    with pytest.raises(ConfigError, match=r"gives no class or register tokens; fitting: .*open_clip:ViT-B-16/openai"):
        backbone.tap_tokens(-1)


@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_a_convolutional_tower_is_refused_by_what_needs_patch_tokens(tiny_clip: Tiny, kind: str) -> None:
    backbone = opened(tiny_clip(kind))
    assert backbone.tower is None
    with pytest.raises(ConfigError, match=r"SCLIP works on the patch tokens.*fitting: open_clip:ViT-B-16/openai"):
        need_tower(backbone, "SCLIP")
    with pytest.raises(ConfigError, match="backbone test_resnet does not have"):
        need_tower(build_backbone("test_resnet", weights="random"), "SCLIP")


@pytest.mark.parametrize("kind", ["vit", "eva"])
def test_attention_of_the_class_token_is_a_source_of_maps(tiny_clip: Tiny, kind: str) -> None:
    backbone, shown = OpenClipBackbone(tiny_clip(kind)).train(), images(32, 48)
    tower = need_tower(backbone, "this")
    with torch.no_grad():
        x, grid = tower.tokens(shown)
        for index in range(2):
            x = tower.block(index, x, grid)
        weights = tower.attention(2, tower.normed(2, x), grid)
    found = class_attention(backbone, shown)
    assert backbone.model.training
    torch.testing.assert_close(found.flatten(2), weights[:, :, 0, 1:])
    assert Attention()(backbone, shown).shape == (2, 2, 4, 6)
    with pytest.raises(ConfigError, match="gives no attention of a class token"):
        class_attention(opened(tiny_clip("siglip")), shown)


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_the_image_tower_alone_and_goes_round(tiny_clip: Tiny, kind: str) -> None:
    name = tiny_clip(kind)
    loaded, drawn = opened(name), opened(name, weights="random")
    state = loaded.state_dict()
    assert set(state) == {f"model.visual.{key}" for key in whole(name).visual.state_dict()} | {"model.log_scale"}
    drawn.load_state_dict(copy.deepcopy(state))
    with torch.no_grad():
        for one, other in zip(loaded.embeddings(images(64)), drawn.embeddings(images(64)), strict=True):
            torch.testing.assert_close(one, other)


def test_random_weights_are_not_those_of_the_folder_but_the_same_each_time(tiny_clip: Tiny) -> None:
    name = tiny_clip()
    before = torch.random.get_rng_state()
    one, other, loaded = (opened(name, weights=source).state_dict() for source in ("random", "random", "auto"))
    assert torch.equal(before, torch.random.get_rng_state())
    key = "model.visual.proj"
    assert torch.equal(one[key], other[key])
    assert not torch.equal(one[key], loaded[key])


def test_the_scale_of_similarities_is_that_of_the_model(tiny_clip: Tiny) -> None:
    name = tiny_clip()
    tower = opened(name).tower
    assert isinstance(tower, ClipTower)
    torch.testing.assert_close(tower.scale, whole(name).logit_scale.exp().detach())


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_frozen_backbone_learns_nothing_and_one_that_is_not_does(tiny_clip: Tiny, kind: str) -> None:
    backbone, shown = OpenClipBackbone(tiny_clip(kind)), images(64)
    before = copy.deepcopy(backbone.state_dict())
    backbone.train()(shown).grid.sum().backward()
    assert all(p.grad is not None for n, p in backbone.named_parameters() if "conv1" in n)
    backbone.load_state_dict(before)
    backbone.freeze()
    backbone.train()
    assert not backbone(shown).grid.requires_grad
    assert not backbone.embeddings(shown)[1].requires_grad
    assert not backbone.model.training
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@torch.no_grad()
def test_features_that_were_kept_are_replayed(tiny_clip: Tiny) -> None:
    backbone, shown, kept = opened(tiny_clip()), images(32), Features((torch.zeros(1),))
    with backbone.replay(shown, kept):
        assert backbone(shown) is kept
    assert backbone(shown) is not kept


def test_an_eva_tower_that_evaluated_another_size_still_learns_there(tiny_clip: Tiny) -> None:
    backbone = opened(tiny_clip("eva"))
    with torch.inference_mode():
        backbone(images(48))
    backbone(images(48)).grid.sum().backward()


def test_means_are_known_before_building_and_the_same_after(tiny_clip: Tiny) -> None:
    name = tiny_clip()
    backbone = opened(name)
    side, mean, std = preprocessing_of(name)
    assert side == 32
    assert (backbone.mean, backbone.std) == (mean, std)
    assert mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert preprocessing_of("open_clip:ViT-B-16-SigLIP/webli") == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert preprocessing_of("resnet50.tv_in1k")[0] == 224


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("ViT-B-16/openai", "mit"),
        ("EVA02-L-14/merged2b_s4b_b131k", "mit"),
        ("ViT-B-16/datacomp_xl_s13b_b90k", "mit"),
        ("ViT-B-16/dfn2b", "apple's own"),
        ("MobileCLIP2-B/dfndr2b", "apple's own"),
        ("ViT-B-16-SigLIP/webli", "apache-2.0"),
        ("ViT-B-16/metaclip_400m", "cc-by-nc-4.0"),
        ("PE-Core-B-16/meta", "apache-2.0"),
        ("RN50/cc12m", "not stated"),
        ("ViT-B-16", "not stated"),
    ],
)
def test_the_licence_is_that_of_the_weights(name: str, licence: str) -> None:
    assert licence_of(f"open_clip:{name}") == licence


def test_bad_names_are_refused_with_the_nearest_ones(tiny_clip: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="unknown architecture of open_clip 'ViT-B-17'; did you mean 'ViT-B-16'"):
        check_name("open_clip:ViT-B-17/openai")
    with pytest.raises(ConfigError, match=r"no weights 'openia' of ViT-B-16; did you mean 'openai'"):
        build_backbone("open_clip:ViT-B-16/openia")
    with pytest.raises(UnknownNameError, match="unknown family of backbones 'openclip'; did you mean 'open_clip'"):
        build_backbone("openclip:ViT-B-16/openai")
    with pytest.raises(UnknownNameError, match="unknown backbone 'resnet5'"):
        check_name("resnet5")
    with pytest.raises(ConfigError, match=r"open_clip_config\.json cannot be read"):
        build_backbone("open_clip:local-dir:/no/such/folder")


def test_weights_that_cannot_be_had_are_refused(tiny_clip: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no tag says which weights.*ViT-B-16/TAG.*openai"):
        build_backbone("open_clip:ViT-B-16")
    with pytest.raises(WeightsError, match="no installed package"):
        build_backbone(tiny_clip(), weights="package")
    with pytest.raises(WeightsError, match=r"its folder needs open_clip_model\.safetensors"):
        build_backbone(tiny_clip(weights=False))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="out of reach"):
        build_backbone("open_clip:ViT-B-16/openai")


def test_settings_that_do_not_fit_are_refused(tiny_clip: Tiny) -> None:
    with pytest.raises(ConfigError, match="7 x 7 pixels: they are smaller than one of its patches, 8 x 8"):
        build_backbone(tiny_clip(), image_size=7)
    with pytest.raises(ConfigError, match="40 x 6 pixels"):
        build_backbone(tiny_clip())(images(40, 6))
    with pytest.raises(ConfigError, match="32 x 31 pixels: they are smaller than one of its patches, 32 x 32"):
        build_backbone(tiny_clip("resnet"))(images(32, 31))
    with pytest.raises(ConfigError, match="strides of open_clip networks cannot be changed"):
        build_backbone(tiny_clip(), output_stride=8)
    with pytest.raises(ConfigError, match="attention or pooling of its own kind"):
        build_backbone(tiny_clip(vision={"attentional_pool": True}, embed_dim=32))
    with pytest.raises(ConfigError, match="attention or pooling of its own kind"):
        build_backbone(tiny_clip(vision={"qk_norm": True}))
    with pytest.raises(ConfigError, match="nothing can be inserted into OpenClipBackbone"):
        build_backbone(tiny_clip()).insert(0, torch.nn.Identity())


@pytest.mark.parametrize("row", [row for row in BACKBONES if row.kind == "clip"], ids=lambda row: row.name)
def test_the_table_tells_what_open_clip_knows(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    library = open_clip_models.library()
    architecture, tag = open_clip_models.parse(row.name)
    assert tag in library.list_pretrained_tags_by_model(architecture)
    with open_clip_models.quiet(), torch.device("meta"):
        model = library.create_model(architecture, load_weights=False, device="meta")
    monkeypatch.setattr(open_clip_models, "create", lambda *_: model)
    backbone = OpenClipBackbone(row.name)
    assert round(sum(each.numel() for each in backbone.parameters()) / 1e6, 1) == row.parameters
    assert (backbone.prefix_tokens > 0, backbone.licence) == (row.prefix_tokens, row.licence)


def test_where_weights_are_is_said(tiny_clip: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whereabouts(tiny_clip()) == "in the folder"
    assert whereabouts("open_clip:ViT-B-16") == "none, since no tag of weights is named"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    assert whereabouts("open_clip:ViT-B-16/openai") == "to be fetched from the hub at the first use"
    held = "timm/vit_base_patch16_clip_224.openai"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda place, _: "a file" if place == held else None)
    assert whereabouts("open_clip:ViT-B-16/openai") == "in the local hub cache"
    assert whereabouts("open_clip:ViT-L-14/openai") == "to be fetched from the hub at the first use"
