"""TS-CAM's forward pass is that of its authors (tests/golden/make_transformer_golden.py), on any plain transformer."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from boxless.backbones.open_clip_backbone import OpenClipBackbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods.scm import SCM
from boxless.methods.ts_cam import TSCAM
from boxless.runs import check_fit
from boxless.types import Batch

GOLDEN = Path(__file__).parents[2] / "golden"


def vit(name: str = "test_vit", **settings: Any) -> TimmBackbone:
    """A tiny backbone with settings that a name alone does not give."""
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        return TimmBackbone(name, weights="random", image_size=settings.get("img_size", 48))


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    specification = importlib.util.spec_from_file_location("sat_cases", GOLDEN / "sat_cases.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "transformer_maps.json").read_text(encoding="utf-8"))
    return content


def with_their_weights(kind: type[TSCAM], cases: ModuleType) -> TSCAM:
    shape = {"patch_size": cases.PATCH, "embed_dim": cases.WIDTH, "depth": cases.BLOCKS, "num_heads": cases.HEADS}
    method = kind(vit("deit_small_patch16_224", img_size=cases.SIDE, **shape), cases.CLASSES)
    weights: dict[str, Tensor] = cases.weights()
    kept = {name: each for name, each in weights.items() if name not in (cases.TOKEN, cases.PLACE)}
    method.head.load_state_dict({name: kept.pop(f"{cases.HEAD}.{name}") for name in ("weight", "bias")})
    method.backbone.model.load_state_dict(kept)
    return method.eval()


def by_their_rule(maps: Tensor) -> Tensor:
    """As they are shown: from the lowest value to the highest."""
    lowest, highest = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - lowest) / (highest - lowest)


@pytest.mark.parametrize("kind", [TSCAM, SCM])
def test_scores_and_maps_are_those_of_the_authors(kind: type[TSCAM], cases: ModuleType, theirs: dict[str, Any]) -> None:
    method, expected = with_their_weights(kind, cases), theirs["scm" if kind is SCM else "ts_cam"]
    with torch.no_grad():
        said = method.localize(cases.images(), torch.tensor([[0, 1], [0, 1]]))
        scores = method.scores(cases.images())
    torch.testing.assert_close(said.logits, torch.tensor(expected["logits"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores, said.logits)
    torch.testing.assert_close(said.maps, by_their_rule(torch.tensor(expected["maps"])), atol=1e-4, rtol=0)


def test_what_is_attended_to_is_summed_over_blocks_and_averaged_over_heads() -> None:
    method = TSCAM(vit(reg_tokens=2), 3)
    nn.init.zeros_(method.head.weight)
    nn.init.ones_(method.head.bias)  # class maps of ones leave the attention
    features = method.backbone(torch.rand(1, 3, 48, 80))
    expected = torch.zeros(3, 5)
    for block in features.attention:
        for head in block[0]:
            expected += head[3:].reshape(3, 5) / len(block[0])  # after the class token and two registers
    assert len(features.attention) == 6
    torch.testing.assert_close(method.attended(features)[0, 0], expected)


def test_a_class_map_that_is_even_leaves_the_attention() -> None:
    method, images = TSCAM(vit(reg_tokens=2), 3).eval(), torch.rand(2, 3, 48, 80)
    nn.init.zeros_(method.head.weight)
    nn.init.ones_(method.head.bias)
    with torch.no_grad():
        said = method.localize(images, torch.tensor([[2], [0]]))
        attended = method.attended(method.backbone(images))
    torch.testing.assert_close(said.maps, by_their_rule(attended))
    torch.testing.assert_close(said.logits, torch.ones(2, 3))


@pytest.mark.parametrize("kind", [TSCAM, SCM])
@pytest.mark.parametrize(("height", "width"), [(48, 80), (40, 100), (16, 16)])
def test_images_of_any_size_are_taken_and_learnt_from(kind: type[TSCAM], height: int, width: int) -> None:
    method = kind(vit(), 3)
    images, labels = torch.rand(2, 3, height, width), torch.tensor([0, 2])
    said = method.localize(images)
    assert said.maps.shape == (2, 1, -(-height // 16), -(-width // 16))
    loss = method.losses(Batch(images, labels, nn.functional.one_hot(labels, 3).float(), labels), 0.0)["classification"]
    loss.backward()
    assert all(torch.isfinite(each.grad).all() for each in method.parameters() if each.grad is not None)
    assert method.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_small_patch16_dinov3", {"embed_dim": 64, "num_heads": 2, "depth": 2}),
        ("vit_small_patch14_reg4_dinov2", {"embed_dim": 64, "num_heads": 2, "depth": 2}),
        ("deit_tiny_distilled_patch16_224", {"embed_dim": 64, "num_heads": 2, "depth": 2}),
        ("beit_base_patch16_224", {"embed_dim": 64, "num_heads": 2, "depth": 2}),
    ],
)
def test_transformers_of_other_classes_are_taken(name: str, settings: dict[str, Any]) -> None:
    size = 42 if "14" in name else 48
    with torch.no_grad():
        said = TSCAM(vit(name, img_size=size, **settings), 3).eval().localize(torch.rand(1, 3, size, size))
    assert said.maps.shape == (1, 1, 3, 3)
    assert said.maps.max() == 1


def test_the_transformer_of_clip_is_read_after_its_last_block(tiny_clip: Callable[..., str]) -> None:
    backbone = OpenClipBackbone(tiny_clip("vit"))
    method = TSCAM(backbone, 3).eval()
    assert method.head.in_channels == backbone.model.width
    with torch.no_grad():
        assert method.localize(torch.rand(1, 3, 32, 48)).maps.shape == (1, 1, 4, 6)


@pytest.mark.parametrize("kind", [TSCAM, SCM])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_resnet", "it is no plain vision transformer"),
        ("test_vit2", "it has no class token"),  # it has a register
        ("swin_tiny_patch4_window7_224", "it is no plain vision transformer"),
    ],
)
def test_other_backbones_are_refused_with_those_that_fit(kind: type[TSCAM], name: str, reason: str) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone(name, weights="random")
    with pytest.raises(ConfigError, match=rf"{name} gives no attention of a class token: {reason}.*deit_small"):
        kind(backbone, 3)
    if not backbone.prefix_tokens:
        with pytest.raises(ConfigError, match=f"method x needs a class token, which backbone {name} does not have"):
            check_fit("x", kind, name, backbone)
