from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.backbones.steering import steered
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods.sat import SAT, mask
from boxless.ops.maps import normalize
from boxless.types import Batch

GOLDEN = Path(__file__).parents[2] / "golden"


def vit(side: int, **settings: Any) -> TimmBackbone:
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        return TimmBackbone("test_vit", weights="random", image_size=side)


def labelled(images: Tensor, labels: tuple[int, ...], classes: int) -> Batch:
    of = torch.tensor(labels)
    return Batch(images, of, F.one_hot(of, classes).float(), torch.arange(len(of)))


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    """The network and the images that tests/golden/make_sat_golden.py gave the authors' code."""
    spec = importlib.util.spec_from_file_location("sat_cases", GOLDEN / "sat_cases.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / "sat.json").read_text(encoding="utf-8"))
    return found


def authors(cases: ModuleType) -> SAT:
    """The method with the authors' network's weights."""
    settings = {"patch_size": cases.PATCH, "embed_dim": cases.WIDTH, "depth": cases.BLOCKS, "num_heads": cases.HEADS}
    method, weights = SAT(vit(cases.SIDE, **settings, mlp_ratio=4), cases.CLASSES, area=cases.AREA), cases.weights()
    own = {"token": weights.pop(cases.TOKEN), "position": weights.pop(cases.PLACE)}
    own |= {name: weights.pop(name) for name in list(weights) if name.startswith(f"{cases.HEAD}.")}
    method.load_state_dict(
        {name: value.view_as(method.state_dict()[name]) for name, value in own.items()}
        | {f"backbone.model.{name}": value for name, value in weights.items()}
    )
    return method


def test_scores_masks_and_maps_are_those_of_the_authors(cases: ModuleType, golden: dict[str, Any]) -> None:
    method, seen = authors(cases).eval(), []

    def keep(scores: Tensor) -> Tensor:
        seen.append(mask(scores))
        return seen[-1]

    with torch.inference_mode():
        said = method.localize(cases.images(), torch.tensor([[0, 4], [2, 2]]))
        with steered(method.backbone, method.token + method.position, (-3, -2, -1), keep):
            method.backbone(cases.images())
    torch.testing.assert_close(said.logits, torch.tensor(golden["logits"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.stack(seen), torch.tensor(golden["masks"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.stack(seen)[..., 1:-1].mean(0), torch.tensor(golden["map"]).flatten(1))
    expected = normalize(torch.tensor(golden["map"]))
    for maps in said.maps.unbind(1):
        torch.testing.assert_close(maps, expected, atol=1e-4, rtol=0)


def test_losses_and_what_they_teach_the_token_are_those_of_the_authors(
    cases: ModuleType, golden: dict[str, Any]
) -> None:
    method = authors(cases).train()
    losses = method.losses(labelled(cases.images(), cases.LABELS, cases.CLASSES), 0.0)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(golden["losses"], abs=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in ((cases.TOKEN, method.token), (cases.PLACE, method.position)):
        torch.testing.assert_close(parameter.grad, torch.tensor(golden["gradients"][name]), atol=1e-5, rtol=0)


def test_the_losses_are_those_worked_by_hand() -> None:
    method = SAT(vit(96), 3, area=0.2, blocks=1).train()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
        queries, keys, _ = method.backbone.model.blocks[-1].attn.qkv.bias.view(3, 2, 32)  # two heads of 32 channels
        queries[0], queries[1] = 2 * math.log(3), math.log(3)
        keys.fill_(2 / 32**0.5)
    # Each token's score is log 3 * 4 in one head and log 3 * 2 in the other, and their mean log 27.
    losses = method.losses(labelled(torch.rand(2, 3, 96, 96), (0, 1), 3), 0.0)
    assert losses["classification"].item() == pytest.approx(math.log(3))
    assert losses["area"].item() == pytest.approx(27 / 28 - 0.2, abs=1e-5)
    inner, edge, corner = (27 / 28 * part for part in (1, 0.948732, 0.948732**2))  # of the smoothed 6 x 6 mask
    spread = (16 * inner * (1 - inner) + 16 * edge * (1 - edge) + 4 * corner * (1 - corner)) / 36
    assert losses["normalization"].item() == pytest.approx(spread, abs=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_learns_where_to_look_also_on_a_frozen_backbone(frozen: bool, some_batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    backbone = vit(48)
    for block in backbone.model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.3)
    if frozen:
        backbone.freeze()
    method, batch = SAT(backbone, 4, area=0.1).train(), some_batch(side=48)
    optimizer = torch.optim.AdamW([each for each in method.parameters() if each.requires_grad], lr=0.01)
    areas = []
    for _ in range(15):
        losses = method.losses(batch, 0.0)
        areas.append(losses["area"].item())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        assert method.token.grad is not None
        assert method.token.grad.abs().sum() > 0
        optimizer.step()
    assert areas[-1] < 0.5 * areas[0]
    assert (backbone.model.blocks[0].attn.qkv.weight.grad is None) == frozen


@pytest.mark.parametrize(("height", "width", "grid"), [(48, 80, (3, 5)), (80, 48, (5, 3)), (50, 17, (4, 2))])
def test_maps_have_the_order_of_the_patches_at_any_size(height: int, width: int, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    method = SAT(vit(96, reg_tokens=2), 4).eval()
    nn.init.zeros_(method.backbone.model.pos_embed)
    nn.init.normal_(method.token)
    images = torch.zeros(1, 3, height, width)
    images[:, :, 16:32, -1:] = 3.0  # in the last patch of the second row
    with torch.inference_mode():
        found = method.localize(images).maps[0, 0]
    assert tuple(found.shape) == grid
    odd = torch.zeros(grid)
    odd[1, -1] = 1
    torch.testing.assert_close(found, odd if found[1, -1] > 0.5 else 1 - odd, atol=1e-4, rtol=0)


def test_a_run_that_is_opened_sees_the_same(some_batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    method, other, images = SAT(vit(48), 4).eval(), SAT(vit(48), 4).eval(), some_batch(side=48).images
    assert {"token", "position"} <= set(method.state_dict())
    other.load_state_dict(method.state_dict())
    with torch.inference_mode():
        assert torch.equal(method.localize(images).maps, other.localize(images).maps)


def test_other_backbones_and_more_blocks_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"test_efficientnet takes no token .*deit_small"):
        SAT(TimmBackbone("test_efficientnet", weights="random"), 4)
    with pytest.raises(ConfigError, match=r"method\.blocks: got 7; test_vit has 6"):
        SAT(vit(48), 4, blocks=7)
    assert SAT(vit(48, class_token=False, global_pool="avg"), 4, blocks=6).localize(torch.rand(1, 3, 48, 48)).maps.any()
