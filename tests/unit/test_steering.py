"""A token that a method adds to a transformer steers attention as worked out by hand, and leaves nothing behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from torch import Tensor, nn

from boxless.backbones.steering import steerable, steered
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError

SMALL = {"embed_dim": 64, "num_heads": 2, "depth": 4}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("test_vit", {"num_heads": 4}),
    "registers": ("test_vit", {"reg_tokens": 3}),
    "no class token": ("test_vit", {"class_token": False, "global_pool": "avg"}),
    "normed queries and keys": ("test_vit", {"qk_norm": True, "scale_attn_norm": True, "attn_drop_rate": 0.5}),
    "a norm before the blocks": ("test_vit", {"pre_norm": True}),
    "two class tokens": ("deit_tiny_distilled_patch16_224", SMALL),
    "scaled layers, one register": ("test_vit2", {"init_values": 0.5}),
}
networks = pytest.mark.parametrize("network", list(NETWORKS))


def vit(name: str, **settings: Any) -> TimmBackbone:
    """A tiny backbone with settings that a name alone does not give, and weights that attend unevenly."""
    create = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **given: create(name, **{**given, **settings}))
        backbone = TimmBackbone(name, weights="random", image_size=48)
    draws = torch.Generator().manual_seed(0)
    for parameter in backbone.model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=draws)
    return backbone.eval()


def images(height: int = 48, width: int = 80) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def token(channels: int = 64) -> Tensor:
    return torch.randn(channels, generator=torch.Generator().manual_seed(2))


def weigh(scores: Tensor) -> Tensor:
    """Of each head something else, so that they cannot be mixed up."""
    return (scores * torch.linspace(0.5, 2, scores.shape[1])[:, None]).sum(1).sigmoid()


def by_hand(
    backbone: TimmBackbone, shown: Tensor, added: Tensor, blocks: set[int], weigh: Callable[[Tensor], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """All tokens but the added one behind the last norm, and the factors of all tokens in each of the blocks."""
    model, factors = backbone.model, []
    x = model._pos_embed(model.patch_embed(shown))
    x = model.norm_pre(torch.cat([x, added.expand(len(x), 1, -1)], 1))
    for index, block in enumerate(model.blocks):
        attention = block.attn
        joined = attention.qkv(block.norm1(x)).unflatten(2, (3, attention.num_heads, -1))
        queries, keys, values = joined.permute(2, 0, 3, 1, 4)
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        weights = scores.softmax(-1)
        if index in blocks:
            factors.append(weigh(scores[:, :, -1]))
            weights = torch.einsum("bhqk,bk->bhqk", weights, factors[-1])
        x = x + block.ls1(attention.proj(attention.norm((weights @ values).transpose(1, 2).flatten(2))))
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return model.norm(x)[:, :-1], factors


@networks
def test_tokens_are_those_worked_out_step_by_step_at_another_size(network: str) -> None:
    name, settings = NETWORKS[network]
    backbone, shown = vit(name, **settings), images()
    if backbone.gives_tokens:
        backbone.tap_tokens(-1)
    prefix, blocks = backbone.prefix_tokens, steerable(backbone, 1, -1)
    with torch.inference_mode():
        expected, all_factors = by_hand(backbone, shown, token(), set(blocks), weigh)
        with steered(backbone, token(), (1, -1), weigh) as factors:
            features = backbone(shown)
    torch.testing.assert_close(features.grid, expected[:, prefix:].mT.unflatten(2, (3, 5)))
    if prefix:
        assert features.prefix is not None
        torch.testing.assert_close(features.prefix[:, 0], expected[:, :prefix])
    assert len(factors) == len(all_factors) == 2
    for of_cells, of_all in zip(factors, all_factors, strict=True):
        assert of_cells.std() > 1e-3
        torch.testing.assert_close(of_cells, of_all[:, prefix:-1].unflatten(1, (3, 5)))


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("place", [(0, 4), (2, 1)])
def test_a_factor_is_of_the_cell_that_it_stands_at(registers: int, place: tuple[int, int]) -> None:
    backbone, shown = vit("test_vit", reg_tokens=registers), torch.zeros(1, 3, 48, 80)
    nn.init.zeros_(backbone.model.pos_embed)
    row, column = place
    shown[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = images(16, 16)[:1]
    with torch.inference_mode(), steered(backbone, token(), (-1,), weigh) as factors:
        grid = backbone(shown).grid
    for seen in (factors[0][0], grid[0].mean(0)):  # all cells but this one are alike
        others = torch.ones(3, 5, dtype=torch.bool)
        others[row, column] = False
        assert seen[others].max() - seen[others].min() < 1e-5
        assert (seen[row, column] - seen[others].mean()).abs() > 1e-3


def test_each_pass_fills_the_factors_anew_for_its_own_size() -> None:
    backbone = vit("test_vit")
    with torch.inference_mode(), steered(backbone, token(), (-2, -1), weigh) as factors:
        backbone(images())
        assert [tuple(each.shape) for each in factors] == [(2, 3, 5)] * 2
        backbone(images(80, 16)[:1])
        assert [tuple(each.shape) for each in factors] == [(1, 5, 1)] * 2
        backbone.tap(4)
        backbone(images())
        assert len(factors) == 1  # the last block is not computed


def test_what_was_steered_is_as_before_also_after_an_error() -> None:
    backbone, shown = vit("test_vit", num_heads=4), images()
    names = list(backbone.state_dict())

    def failing(scores: Tensor) -> Tensor:
        raise ArithmeticError

    with torch.inference_mode():
        before = backbone(shown).grid
        with steered(backbone, token(), (-2, -1), weigh):
            backbone(shown)
            apart = copy.deepcopy(backbone.model)
            assert list(backbone.state_dict()) == names
        with pytest.raises(ArithmeticError), steered(backbone, token(), (-2, -1), failing):
            backbone(shown)
        assert torch.equal(backbone(shown).grid, before)
    assert backbone.steering is None
    for model in (apart, backbone.model):
        assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
        assert all(block.attn.fused_attn for block in model.blocks)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_token_learns_also_of_a_frozen_backbone(frozen: bool) -> None:
    backbone, added = vit("test_vit"), token().requires_grad_()
    if frozen:
        backbone.freeze()
    with steered(backbone, added, (-2, -1), weigh) as factors:
        grid = backbone(images()).grid
        (by_grid,) = torch.autograd.grad(grid.square().mean(), added, retain_graph=True)
        (by_factors,) = torch.autograd.grad(torch.stack(factors).mean(), added, retain_graph=True)
        grid.square().mean().backward()
    assert by_grid.abs().min() > 0
    assert by_factors.abs().min() > 0
    assert (backbone.model.blocks[0].attn.qkv.weight.grad is None) == frozen
    assert backbone(images()).grid.requires_grad != frozen


def test_gradients_agree_with_differences() -> None:
    backbone, added = vit("test_vit", depth=2, embed_dim=8).double(), token(8).double().requires_grad_()

    def compute(given: Tensor) -> tuple[Tensor, ...]:
        with steered(backbone, given, (-1,), lambda scores: scores.mean(1).sigmoid()) as factors:
            return backbone(images(32, 32)[:1].double()).grid, *factors

    assert torch.autograd.gradcheck(compute, added, fast_mode=True)


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "convolutions": ("test_efficientnet", {}),
    "relative places": ("test_vit_relpos", {}),
    "turned": ("vit_small_patch16_rope_mixed_224", SMALL),
    "places matter": ("beit_base_patch16_224", SMALL),
    "beside the layers": ("test_vit", {"block_fn": ParallelScalingBlock}),
    "differences": ("test_vit", {"attn_layer": "diff"}),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_other_networks_are_refused_with_those_that_fit(kind: str) -> None:
    name, settings = OTHERS[kind]
    backbone = vit(name, **settings)
    message = rf"{name} takes no token of a method's own: .*fitting: vit_small_patch16_224\.dino, .*deit_small"
    with pytest.raises(ConfigError, match=message):
        steerable(backbone)
    with pytest.raises(ConfigError, match=message), steered(backbone, token(), (), weigh):
        pass
    assert backbone.steering is None


def test_every_row_that_is_said_to_fit_fits() -> None:
    with pytest.raises(ConfigError) as refused:
        steerable(vit("test_efficientnet"))
    fitting = str(refused.value).partition("fitting: ")[2].rstrip(".").split(", ")
    assert [steerable(vit(name, **SMALL), 0, -1) for name in fitting] == [(0, 3)] * 4


def test_a_block_that_is_not_there_and_attention_that_is_read_meanwhile_are_refused() -> None:
    backbone = vit("test_vit")
    for block in (6, -7):
        with pytest.raises(ConfigError, match=f"block {block}: test_vit has 6 blocks"):
            steerable(backbone, 0, block)
    backbone.tap_attention(-1)
    with torch.inference_mode(), steered(backbone, token(), (-1,), weigh), pytest.raises(ConfigError, match="17"):
        backbone(images())
