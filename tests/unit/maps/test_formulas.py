"""Each map by its paper's formula, written out place by place on a network whose gradients are known."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps import extract
from boxless.ops.maps import normalize

TARGETS = (1, 0)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))


def activations(toy: Any, images: Tensor, number: int) -> Any:
    """What the layer ``stage`` puts out for one image, (3, 2, 3); all positive, so the ReLU after it does nothing."""
    return nn.functional.avg_pool2d(images, 2)[number].double().numpy()


def gradient(toy: Any, images: Tensor, number: int) -> Any:
    """The score is the sum over channels of w_k times the mean of A^2 / 2, so its gradient is w_k A / 6."""
    weights = toy.fc.weight.detach().double().numpy()[TARGETS[number]]
    return weights[:, None, None] * activations(toy, images, number) / 6


def unit(values: Any) -> Any:
    values = np.maximum(values, 0)
    return (values - values.min()) / (values.max() - values.min())


def plus_plus(a: Any, first: Any, second: Any, third: Any) -> Any:
    """Equation 19 and the sum that it weighs, in plain loops."""
    total = np.zeros(a.shape[1:])
    for k in range(len(a)):
        weight = 0.0
        for y in range(a.shape[1]):
            for x in range(a.shape[2]):
                alpha = second[k, y, x] / (2 * second[k, y, x] + a[k].sum() * third[k, y, x])
                weight += alpha * max(first[k, y, x], 0)
        total += weight * a[k]
    return total


FORMULAS = {
    "gradcam": lambda a, g: sum(g[k].mean() * a[k] for k in range(3)),
    "gradcam++": lambda a, g: plus_plus(a, g, g**2, g**3),
    "xgradcam": lambda a, g: sum((g[k] * a[k] / a[k].sum()).sum() * a[k] for k in range(3)),
    "layercam": lambda a, g: sum(np.maximum(g[k], 0) * a[k] for k in range(3)),
}


@pytest.mark.parametrize("name", list(FORMULAS))
def test_gradient_maps(name: str, toy: Any, pictures: Tensor) -> None:
    found = extract(name, toy, pictures, TARGETS, layers="stage").maps
    for number in range(2):
        expected = unit(FORMULAS[name](activations(toy, pictures, number), gradient(toy, pictures, number)))
        np.testing.assert_allclose(found[number], expected, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_xgradcam_of_a_network_in_double_precision_is_exact_where_activations_cancel(epsilon: float, toy: Any) -> None:
    """In float32 these sums, of which a weight is a quotient, would be off by about a tenth."""
    pictures = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    pictures += 1e-6 - pictures.mean((2, 3), keepdim=True)
    found = extract("xgradcam", toy.double(), pictures, TARGETS, layers="stage", epsilon=epsilon).maps
    assert found.dtype == torch.float32
    for number, target in enumerate(TARGETS):
        a = activations(toy, pictures, number)
        slopes = toy.fc.weight.detach().numpy()[target][:, None, None] * np.maximum(a, 0) / 6
        expected = unit(sum((slopes[k] * a[k]).sum() / (a[k].sum() + epsilon) * a[k] for k in range(3)))
        np.testing.assert_allclose(found[number], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "family", "settings"),
    [(name, "resnet", {}) for name in ("cam", *FORMULAS, "smoothgradcam++", "scorecam", "iscam")]
    + [("sscam", "resnet", {"samples": 2}), ("rollout", "vit", {}), ("gradrollout", "vit", {})],
)
def test_every_map_takes_a_network_in_double_precision(
    name: str, family: str, settings: Any, networks: dict[str, Any], images: Tensor
) -> None:
    twice = copy.deepcopy(networks[family]).double()
    found = extract(name, twice, images[:1], 3, **settings)
    assert found.maps.dtype == torch.float32
    torch.testing.assert_close(
        found.maps, extract(name, networks[family], images[:1], 3, **settings).maps, atol=1e-3, rtol=0
    )


def test_smooth_grad_cam_plus_plus_averages_powers_of_noisy_gradients(toy: Any, pictures: Tensor) -> None:
    found = extract("smoothgradcam++", toy, pictures, TARGETS, layers="stage", samples=3, std=0.05, seed=7).maps
    generator = torch.Generator().manual_seed(7)
    noise = [0.05 * torch.randn((3, 4, 6), generator=generator) for _ in range(3)]
    for number in range(2):
        powers = [gradient(toy, pictures + each, number) for each in noise]
        # A noisy activation below zero would end at the ReLU; none is.
        assert all((activations(toy, pictures + each, number) > 0).all() for each in noise)
        first, second, third = (sum(each**power for each in powers) / 3 for power in (1, 2, 3))
        expected = unit(plus_plus(activations(toy, pictures, number), first, second, third))
        np.testing.assert_allclose(found[number], expected, atol=1e-5)


def test_cam_is_the_weighted_sum_without_relu_or_bias(toy: Any, pictures: Tensor) -> None:
    found = extract("cam", toy, pictures, TARGETS, layers="square").maps
    for number in range(2):
        grid = activations(toy, pictures, number) ** 2 / 2
        weights = toy.fc.weight.detach().numpy()[TARGETS[number]]
        expected = sum(weights[k] * grid[k] for k in range(3))
        np.testing.assert_allclose(found[number], (expected - expected.min()) / np.ptp(expected), atol=1e-5)


def test_cam_is_refused_where_the_head_is_another(toy: Any, pictures: Tensor, networks: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the head does more than to average the output of stage"):
        extract("cam", toy, pictures, layers="stage")
    with pytest.raises(ConfigError, match="the head does more"):
        extract("cam", networks["vit"], torch.rand(1, 3, 64, 96))
    with pytest.raises(ConfigError, match="reads the one grid"):
        extract("cam", toy, pictures, layers=["stage", "square"])
    with pytest.raises(ConfigError, match="no single linear layer"):
        extract("cam", nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), pictures)


def upsampled(channel: Any, masks: str) -> Tensor:
    plane = torch.from_numpy(channel).float()[None, None]
    if masks == "grid":
        return nn.functional.interpolate(normalize(plane), (4, 6), mode="bilinear", align_corners=False)[0]
    return normalize(nn.functional.interpolate(plane, (4, 6), mode="bilinear", align_corners=True))[0]


def by_scores(toy: Any, a: Any, scores: list[float]) -> Any:
    weights = [math.exp(score) for score in scores]
    return unit(sum(weight * channel for weight, channel in zip(weights, a, strict=True)))


@pytest.mark.parametrize("masks", ["image", "grid"])
def test_score_cam_weighs_channels_by_the_score_of_what_they_show(masks: str, toy: Any, pictures: Tensor) -> None:
    found = extract("scorecam", toy, pictures, TARGETS, layers="stage", masks=masks).maps
    for number, target in enumerate(TARGETS):
        a = activations(toy, pictures, number)
        scores = [toy(pictures[number : number + 1] * upsampled(each, masks))[0, target].item() for each in a]
        np.testing.assert_allclose(found[number], by_scores(toy, a, scores), atol=1e-5)


@pytest.mark.parametrize("variant", ["activation", "input"])
def test_ss_cam_adds_noise_to_the_mask_or_to_the_masked_image(variant: str, toy: Any, pictures: Tensor) -> None:
    settings = {"variant": variant, "samples": 3, "std": 0.5, "seed": 11}
    found = extract("sscam", toy, pictures, TARGETS, layers="stage", **settings).maps
    planes = 1 if variant == "activation" else 3
    generator = torch.Generator().manual_seed(11)
    noise = [[0.5 * torch.randn((planes, 4, 6), generator=generator) for _ in range(3)] for _ in range(3)]
    for number, target in enumerate(TARGETS):
        a, image = activations(toy, pictures, number), pictures[number : number + 1]
        scores = []
        for k in range(3):
            mask = upsampled(a[k], "image")
            noisy = [
                image * (mask + noise[i][k]) if variant == "activation" else image * mask + noise[i][k]
                for i in range(3)
            ]
            scores.append(sum(toy(each)[0, target].item() for each in noisy) / 3)
        np.testing.assert_allclose(found[number], by_scores(toy, a, scores), atol=1e-5)


def test_is_cam_adds_up_growing_masks(toy: Any, pictures: Tensor) -> None:
    found = extract("iscam", toy, pictures, TARGETS, layers="stage", samples=4).maps
    for number, target in enumerate(TARGETS):
        a, image = activations(toy, pictures, number), pictures[number : number + 1]
        scores = []
        for k in range(3):
            masked = image * upsampled(a[k], "image")
            steps = [toy(masked * factor)[0, target].item() for factor in (0.25, 0.75, 1.5, 2.5)]
            scores.append(sum(steps) / 4)
        np.testing.assert_allclose(found[number], by_scores(toy, a, scores), atol=1e-5)


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
@pytest.mark.parametrize("chunk", [1, 4, 5, 1000])
def test_score_maps_are_the_same_whatever_the_chunk(name: str, chunk: int, toy: Any, pictures: Tensor) -> None:
    settings = {} if name == "scorecam" else {"samples": 2}
    passes = []
    hook = toy.register_forward_pre_hook(lambda module, given: passes.append(len(given[0])))
    found = extract(name, toy, pictures, TARGETS, layers="stage", chunk=chunk, **settings).maps
    hook.remove()
    expected = extract(name, toy, pictures, TARGETS, layers="stage", **settings).maps
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert max(passes[1:]) <= chunk


def attention_of(network: Any, images: Tensor) -> list[Any]:
    """Attention after the softmax, computed again from each block's input, (heads, n, n) of the first image."""
    found, tokens = [], network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(images))))
    for block in network.blocks:
        attn, given = block.attn, block.norm1(tokens)
        queries, keys, _ = attn.qkv(given).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = attn.q_norm(queries) * attn.scale @ attn.k_norm(keys).transpose(2, 3)
        found.append(scores.softmax(3)[0].detach().double().numpy())
        tokens = block(tokens)
    return found


def rolled(matrices: list[Any]) -> Any:
    product = np.eye(len(matrices[0]))
    for matrix in matrices:
        with_residual = matrix + np.eye(len(matrix))
        product = with_residual / with_residual.sum(1, keepdims=True) @ product
    return product


@pytest.mark.parametrize(("classes", "pooling"), [(True, "token"), (False, "avg")])
def test_attention_rollout_multiplies_the_attention_of_all_blocks(classes: bool, pooling: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(
        "test_vit", depth=3, img_size=(32, 48), class_token=classes, global_pool=pooling, num_classes=5
    ).eval()
    images = torch.rand(1, 3, 32, 48)
    product = rolled([each.mean(0) for each in attention_of(network, images)])
    row = product[0, 1:] if classes else product.mean(0)
    found = extract("rollout", network, images)
    np.testing.assert_allclose(found.maps[0], unit(row.reshape(2, 3)), atol=1e-4)
    assert found.layers == tuple(f"blocks.{i}.attn.attn_drop" for i in range(3))


def test_gradient_rollout_keeps_attention_that_raises_the_score() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", depth=1, img_size=(32, 48), num_classes=5).eval()
    images = torch.rand(1, 3, 32, 48)
    (attention,) = attention_of(network, images)
    block = network.blocks[0]
    tokens = network._pos_embed(network.patch_embed(images))
    given = torch.from_numpy(attention).float()[None].requires_grad_()
    values = block.attn.qkv(block.norm1(tokens)).unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)[2]
    mixed = block.attn.proj(block.attn.norm((given @ values).transpose(1, 2).flatten(2)))
    after = tokens + block.ls1(mixed)
    after = after + block.ls2(block.mlp(block.norm2(after)))
    (slope,) = torch.autograd.grad(network.forward_head(network.norm(after))[0, 3], given)
    fused = np.maximum((attention * slope[0].double().numpy()).mean(0), 0)
    found = extract("gradrollout", network, images, 3)
    np.testing.assert_allclose(found.maps[0], unit(rolled([fused])[0, 1:].reshape(2, 3)), atol=1e-3)


@pytest.mark.parametrize("name", ["rollout", "gradrollout"])
def test_rollout_is_refused_without_plain_attention(name: str, networks: dict[str, Any], images: Tensor) -> None:
    with pytest.raises(ConfigError, match="needs a plain vision transformer"):
        extract(name, networks["resnet"], images)
    with pytest.raises(ConfigError, match=r"layer blocks\.0: it puts out \(3, 25, 64\)"):
        extract(name, networks["vit"], images, layers="blocks.0")
