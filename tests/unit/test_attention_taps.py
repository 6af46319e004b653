"""Attention that a backbone hands out is what the network multiplies its values with, fused or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.backbones.clip_tower import need_tower
from boxless.backbones.open_clip_backbone import OpenClipBackbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError
from boxless.listener import Listener
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.training.loop import Step
from boxless.types import Batch, Features, Item

SMALL = {"embed_dim": 64, "num_heads": 2, "depth": 3}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("test_vit", {"num_heads": 4}),
    "registers": ("test_vit", {"reg_tokens": 3}),
    "normed queries and keys": ("test_vit", {"qk_norm": True, "scale_attn_norm": True, "attn_drop_rate": 0.5}),
    "two class tokens": ("deit_tiny_distilled_patch16_224", SMALL),
    "turned": ("vit_small_patch16_dinov3", SMALL),
    "turned, queries and keys apart": ("vit_small_patch16_rope_mixed_224", SMALL),
    "keys without bias": ("eva02_tiny_patch14_224", SMALL | {"patch_size": 16}),
    "places matter": ("beit_base_patch16_224", SMALL),
}


def vit(name: str, **settings: Any) -> TimmBackbone:
    """A tiny backbone with settings that a name alone does not give, and weights that attend unevenly."""
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        backbone = TimmBackbone(name, weights="random", image_size=48)
    draws = torch.Generator().manual_seed(0)
    for parameter in backbone.model.parameters():
        nn.init.normal_(parameter, std=0.2, generator=draws)
    return backbone.eval()


def images(height: int = 48, width: int = 80) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def by_network(backbone: TimmBackbone, shown: Tensor) -> list[Tensor]:
    """What goes into each block's dropout of attention that is not fused."""
    kept: list[Tensor] = []
    with ExitStack() as stack, torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        for block in backbone.model.blocks:
            patch.setattr(block.attn, "fused_attn", False)
            hook = block.attn.attn_drop.register_forward_pre_hook(lambda _module, given: kept.append(given[0]))
            stack.enter_context(hook)
        backbone.model.forward_features(shown)
    return kept


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
def test_it_is_that_of_the_network(kind: str, fused: bool) -> None:
    name, settings = NETWORKS[kind]
    backbone = vit(name, **settings)
    for block in backbone.model.blocks:
        block.attn.fused_attn = fused
    shown = images() if backbone.any_size else images(48, 48)
    expected = by_network(backbone, shown)
    assert (backbone.blocks, backbone.heads) == (len(expected), expected[-1].shape[1])
    with torch.no_grad():
        plain = backbone(shown)
        assert plain.attention == ()
        backbone.tap_attention(-1, 0, 1, rows="all")
        features = backbone(shown)
        torch.testing.assert_close(features.grid, plain.grid)
        for found, block in zip(features.attention, (-1, 0, 1), strict=True):
            torch.testing.assert_close(found, expected[block], atol=1e-6, rtol=0)
        backbone.tap_attention(0, -1)
        for found, block in zip(backbone(shown).attention, (0, -1), strict=True):
            torch.testing.assert_close(found, expected[block][:, :, 0], atol=1e-6, rtol=0)
        backbone.tap_attention()
        assert backbone(shown).attention == ()
    assert [block.attn.fused_attn for block in backbone.model.blocks] == [fused] * backbone.blocks
    hooks = [module for module in backbone.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooks


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 100), (96, 32)])
def test_images_may_have_any_size(height: int, width: int) -> None:
    backbone, shown = vit("test_vit"), images(height, width)
    backbone.tap_attention(-1)
    with torch.no_grad():
        found, expected = backbone(shown).attention[0], by_network(backbone, shown)[-1]
    assert found.shape[2] == 1 + -(-height // 16) * -(-width // 16)
    torch.testing.assert_close(found, expected[:, :, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rows", ["class", "all"])
def test_attention_alone_is_computed_up_to_its_block_and_has_a_gradient(rows: Literal["class", "all"]) -> None:
    backbone = vit("test_vit")
    backbone.tap()
    backbone.tap_attention(1, rows=rows)
    features = backbone(images())
    assert features.grids == ()
    (features.attention[0] ** 2).sum().backward()
    blocks = backbone.model.blocks
    assert blocks[1].attn.qkv.weight.grad.abs().sum() > 0
    assert blocks[2].attn.qkv.weight.grad is None
    backbone.freeze()
    assert not backbone(images()).attention[0].requires_grad


@pytest.mark.parametrize("kind", ["vit", "eva"])
def test_transformers_of_clip_give_it_too(tiny_clip: Callable[..., str], kind: str) -> None:
    backbone, shown = OpenClipBackbone(tiny_clip(kind)), images(32, 48)
    tower = need_tower(backbone, "this")
    backbone.tap_tokens(0)
    backbone.tap_attention(-1, 0, rows="all")
    with torch.no_grad():
        x, grid = tower.tokens(shown)
        expected = []
        for index in range(backbone.blocks):
            expected.append(tower.attention(index, tower.normed(index, x), grid))
            x = tower.block(index, x, grid)
        whole = backbone(shown).attention
        backbone.tap()
        backbone.tap_tokens()
        backbone.tap_attention(-1, 0)
        rows = backbone(shown).attention
    for found, row, block in zip(whole, rows, (-1, 0), strict=True):
        torch.testing.assert_close(found, expected[block])
        torch.testing.assert_close(row, expected[block][:, :, 0])
    assert expected[0].shape[1] == backbone.heads


@pytest.mark.parametrize("name", ["test_resnet", "test_vit2", "swin_tiny_patch4_window7_224", "cait_xxs24_224"])
def test_networks_without_it_are_refused_with_those_that_have_it(name: str) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone(name, weights="random")
    reason = (
        "no plain vision transformer" if name in ("test_resnet", "swin_tiny_patch4_window7_224") else "no class token"
    )
    with pytest.raises(ConfigError, match=rf"{name} gives no attention of a class token: .*{reason}.*deit_small"):
        backbone.tap_attention(-1)
    backbone.tap_attention()  # none is no wish
    assert backbone.attention_taps == ()


def test_all_rows_need_no_class_token_but_all_tokens() -> None:
    backbone = vit("test_vit2")
    backbone.tap_attention(-1, rows="all")
    with torch.no_grad():
        found, expected = backbone(images()).attention[0], by_network(backbone, images())[-1]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    patches_only = vit("cait_xxs24_224", **SMALL, img_size=48)
    patches_only.tap_attention(0, rows="all")
    with pytest.raises(ConfigError, match=r"block 0, \(2, 2, 9, 9\), does not go to all tokens, 1 and 9 patches"):
        patches_only(images(48, 48))


@pytest.mark.parametrize("block", [6, -7])
def test_blocks_that_are_not_there_are_refused(block: int) -> None:
    with pytest.raises(ConfigError, match=rf"block {block}: test_vit has 6 blocks"):
        vit("test_vit").tap_attention(block)


def test_other_taps_leave_those_that_were_chosen_as_they_were() -> None:
    backbone = vit("test_vit")
    backbone.tap(2, -1)
    backbone.tap_tokens(1)
    backbone.tap_attention(0, rows="all")
    found = backbone.tapped
    with backbone.other_taps():
        assert backbone(images()) == Features(())
        backbone.tap_attention(-1)
        backbone.tap(0)
    assert backbone.tapped == found == ((2, 5), (1,), (0,), "all")


class Seen(nn.Module):
    """A method that keeps the features that its losses are computed from."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.features = self.backbone(batch.images)
        return {}


@pytest.mark.parametrize("tokens", [(), (1, 2)])
@pytest.mark.parametrize("taps", [(), (3, 5)])
def test_kept_features_hold_it(taps: tuple[int, ...], tokens: tuple[int, ...], tmp_path: Path) -> None:
    """Grids, tokens and attention go into files, out of them, and through a step of training in their places."""
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    items = [Item(tmp_path / f"{index}.png", f"{index}.png", (0,)) for index in range(2)]
    backbone, device = vit("test_vit"), torch.device("cpu")
    examples = Examples(items, 1, Preprocess(48, backbone.mean, backbone.std))
    backbone.freeze()
    backbone.tap(*taps)
    backbone.tap_tokens(*tokens)
    backbone.tap_attention(0, 2)
    cache = FeatureCache(tmp_path / "features", backbone, examples, flips=False, key="")
    cache.fill(device, Listener(), lambda: None, name="train")
    computed = backbone(torch.stack([examples.plain(index) for index in range(2)]))
    method = Seen(backbone)
    step = Step(method, multi_label=False)  # type: ignore[arg-type]
    nothing = torch.zeros(2)
    step(torch.empty(2, 3, 0, 0), nothing, nothing, nothing, 0.0, *cache.read([0, 1], [False, False], device).tensors)
    assert len(method.features.grids) == len(taps)
    assert (method.features.prefix is None) == (not tokens)
    assert [each.shape for each in method.features.attention] == [(2, 2, 10)] * 2
    for one, other in zip(method.features.tensors, computed.tensors, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)
