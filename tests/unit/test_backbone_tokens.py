"""Class and register tokens of a backbone's stages, and how several readers share one pass of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from boxless.backbones.base import Stage
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError
from boxless.listener import Listener
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.types import Item


def small_vit(name: str, **settings: object) -> TimmBackbone:
    """A backbone of a tiny transformer for images of 96 pixels, with settings that its name alone does not give."""
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        return TimmBackbone(name, weights="random", image_size=96).eval()


@pytest.mark.parametrize("registers", [0, 3])
def test_tokens_are_those_of_the_blocks_behind_the_last_norm(registers: int) -> None:
    backbone, images = small_vit("test_vit", reg_tokens=registers), torch.rand(2, 3, 96, 96)
    model = backbone.model
    torch.nn.init.normal_(model.norm.weight)  # so that its norm is no other's
    tapped = backbone.tap_tokens(1, -1)
    assert tapped == (backbone.stages[1], backbone.stages[5])
    with torch.inference_mode():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        outputs = [tokens := block(tokens) for block in model.blocks]
        expected = [model.norm(outputs[block])[:, : 1 + registers] for block in (1, 5)]
        patches = model.norm(outputs[5])[:, 1 + registers :]
        features = backbone(images)
    assert features.prefix is not None
    assert features.prefix.shape == (2, 2, 1 + registers, 64)
    torch.testing.assert_close(features.prefix, torch.stack(expected, 1))
    torch.testing.assert_close(features.grid.flatten(2).transpose(1, 2), patches)


def test_registers_without_a_class_token_are_given_too() -> None:
    backbone, images = small_vit("test_vit2"), torch.rand(1, 3, 96, 96)
    backbone.tap_tokens(-1)
    with torch.inference_mode():
        prefix, expected = backbone(images).prefix, backbone.model.forward_features(images)[:, :1]
    assert prefix is not None
    torch.testing.assert_close(prefix[:, 0], expected)


def test_only_grids_that_are_tapped_are_kept_beside_tokens() -> None:
    backbone, images = small_vit("test_vit"), torch.rand(1, 3, 96, 96)
    backbone.tap(2, 0)
    with torch.inference_mode():
        plain = backbone(images)
        assert plain.prefix is None
        backbone.tap_tokens(-2, -1)
        both = backbone(images)
        assert len(both.grids) == 2
        for one, other in zip(plain.grids, both.grids, strict=True):
            torch.testing.assert_close(one, other)
        backbone.tap()
        tokens = backbone(images)
        assert tokens.grids == ()
        torch.testing.assert_close(tokens.prefix, both.prefix)
        backbone.tap(2)
        backbone.tap_tokens()
        assert backbone(images).prefix is None


def test_a_further_reader_adds_its_stages_and_learns_their_places() -> None:
    backbone, images = small_vit("test_vit"), torch.rand(1, 3, 96, 96)
    backbone.tap(3, 1)
    assert backbone.also_tap(-1, 1, 5, 0) == (2, 1, 2, 3)
    assert list(backbone.taps) == [3, 1, 5, 0]
    with torch.inference_mode():
        together = backbone(images).grids
        backbone.tap(5)
        torch.testing.assert_close(together[2], backbone(images).grid)
    backbone.tap(3, 3)
    assert backbone.also_tap(3, 2) == (0, 2)  # places stay, also of a stage that was named twice
    with pytest.raises(ConfigError, match="no such stage"):
        backbone.also_tap(1, 6)
    assert list(backbone.taps) == [3, 3, 2]


class Doubling(torch.nn.Module):
    """Doubles what goes through it."""

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return 2 * grid


def test_tokens_behind_an_inserted_module_see_what_it_changed() -> None:
    backbone, images = small_vit("test_vit"), torch.rand(1, 3, 96, 96)
    backbone.tap_tokens(2, 3)
    with torch.inference_mode():
        before = backbone(images).prefix
        backbone.insert(2, Doubling())
        after = backbone(images).prefix
        torch.testing.assert_close(after[:, 0], before[:, 0])  # class tokens pass by what is inserted
        model = backbone.model
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        for block in model.blocks[:3]:
            tokens = block(tokens)
        tokens = model.blocks[3](torch.cat([tokens[:, :1], 2 * tokens[:, 1:]], 1))
        torch.testing.assert_close(after[:, 1], model.norm(tokens)[:, :1])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit_relpos", "cait_xxs24_224"])
def test_tokens_of_a_backbone_that_gives_none_are_refused_with_those_that_do(name: str) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone(name, weights="random")
    with pytest.raises(ConfigError, match=rf"{name} gives no class or register tokens; .*vit_small_patch16_224\.dino"):
        backbone.tap_tokens(-1)
    assert backbone.tap_tokens() == ()


def test_tokens_of_unknown_stages_and_of_several_widths_are_refused() -> None:
    backbone = small_vit("test_vit")
    backbone.tap_tokens(4)
    with pytest.raises(ConfigError, match=r"stage 6: .*5: blocks\.5"):
        backbone.tap_tokens(0, 6)
    backbone.stages = (Stage("narrow", 32, 16), *backbone.stages[1:])
    with pytest.raises(ConfigError, match=r"stages 0, 5: .*\[32, 64\]"):
        backbone.tap_tokens(0, -1)
    assert backbone.token_taps == (4,)


def test_cached_tokens_are_those_computed(tmp_path: Path) -> None:
    backbone = small_vit("test_vit", reg_tokens=2)
    backbone.freeze()
    draws = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(draws.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    items = [Item(tmp_path / f"{number}.png", f"{number}.png", (0,)) for number in range(3)]
    examples = Examples(items, 1, Preprocess(96, backbone.mean, backbone.std), None, 0)
    backbone.tap_tokens(-2, -1)
    for taps in ((), (1, -1)):
        backbone.tap(*taps)
        cache = FeatureCache(tmp_path / str(len(taps)), backbone, examples, flips=False, key=repr(taps))
        cache.fill(torch.device("cpu"), Listener(), lambda: None, name="train")
        read = cache.read([2, 0], [False, False], torch.device("cpu"))
        with torch.inference_mode():
            computed = backbone(torch.stack([examples.plain(index) for index in (2, 0)]))
        assert len(read.grids) == len(taps)
        assert read.prefix is not None
        assert read.prefix.shape == (2, 2, 3, 64)
        for one, other in zip((*read.grids, read.prefix), (*computed.grids, computed.prefix), strict=True):
            torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)
