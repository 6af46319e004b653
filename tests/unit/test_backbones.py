from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn

from boxless.backbones import weights
from boxless.backbones.base import Backbone, Stage
from boxless.backbones.table import BACKBONES, Row
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError, UnknownNameError, WeightsError
from boxless.types import Features

FAMILIES = ("test_efficientnet", "test_resnet", "test_convnext", "test_vit", "test_vit2", "test_byobnet")


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, size) for name in FAMILIES for size in (96, 160)), ("test_maxvit", 160)],  # its windows divide 160 only
)
def test_any_timm_network_gives_the_grid_that_it_declares(name: str, size: int) -> None:
    backbone = TimmBackbone(name, weights="random", image_size=size).eval()
    stages = backbone.tap(*range(len(backbone.stages)))
    with torch.inference_mode():
        features = backbone(torch.rand(2, 3, size, size))
    for stage, grid in zip(stages, features.grids, strict=True):
        assert grid.shape == (2, stage.channels, size // stage.stride, size // stage.stride)
    assert backbone.grid(size, size) == tuple(features.grid.shape[2:])


def test_a_transformer_at_the_size_that_it_was_built_for_is_as_timm_builds_it() -> None:
    backbone, images = TimmBackbone("test_vit", weights="random", image_size=96).eval(), torch.rand(2, 3, 96, 96)
    plain = timm.create_model("test_vit", num_classes=0, img_size=96, dynamic_img_size=False).eval()
    plain.load_state_dict(backbone.model.state_dict())  # the weights are the same ones
    with torch.inference_mode():
        torch.testing.assert_close(
            backbone(images).grid.flatten(2).transpose(1, 2), plain.forward_features(images)[:, 1:]
        )


def test_a_transformer_takes_other_sizes_with_its_position_embedding_interpolated() -> None:
    backbone, images = TimmBackbone("test_vit", weights="random", image_size=96).eval(), torch.rand(2, 3, 48, 80)
    torch.nn.init.normal_(backbone.model.pos_embed)
    state = backbone.model.state_dict()
    plain = timm.create_model("test_vit", num_classes=0, img_size=(48, 80), dynamic_img_size=False).eval()
    embedding = resample_abs_pos_embed(state["pos_embed"], new_size=(3, 5), old_size=(6, 6))
    plain.load_state_dict(state | {"pos_embed": embedding})
    with torch.inference_mode():
        grid = backbone(images).grid
        torch.testing.assert_close(grid.flatten(2).transpose(1, 2), plain.forward_features(images)[:, 1:])
        assert grid.shape[2:] == (3, 5)
        padded = torch.nn.functional.pad(images[:, :, :33, :70], (0, 10, 0, 15))
        torch.testing.assert_close(backbone(images[:, :, :33, :70]).grid, backbone(padded).grid)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_vit_relpos", "vit_small_patch16_dinov3"])
def test_networks_of_one_size_refuse_others_and_rotary_ones_take_them(name: str) -> None:
    with torch.device("meta"):
        backbone, images = TimmBackbone(name, weights="random", image_size=224).eval(), torch.rand(1, 3, 160, 224)
    if "dino" in name:
        assert backbone(images).grid.shape[2:] == (10, 14)
    else:
        with pytest.raises(ConfigError, match=f"{name} does not take images of 160 x 224 pixels"):
            backbone(images)


def test_weights_of_the_hub_are_fitted_to_another_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself is out of reach of tests: what it would send is put in its place."""
    sent = timm.create_model("test_vit").state_dict()  # with its classifier, at the size of its training
    for value in sent.values():
        torch.nn.init.normal_(value)
    monkeypatch.setattr(weights, "in_hub_cache", lambda name: True)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: dict(sent))
    state = TimmBackbone("test_vit.r160_in1k", weights="hub", image_size=96).model.state_dict()
    expected = resample_abs_pos_embed(sent["pos_embed"], new_size=(6, 6), old_size=(10, 10))
    torch.testing.assert_close(state.pop("pos_embed"), expected)
    assert all(torch.equal(value, sent[key]) for key, value in state.items())


def test_weights_of_the_hub_that_leave_a_tensor_as_it_was_drawn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = timm.create_model("test_resnet").state_dict()
    monkeypatch.setattr(weights, "in_hub_cache", lambda name: True)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: dict(sent))
    TimmBackbone("test_resnet.r160_in1k", weights="hub")
    del sent["conv1.0.weight"]
    with pytest.raises(WeightsError, match=r"(?s)test_resnet\.r160_in1k: its weights could not be loaded.*conv1\.0"):
        TimmBackbone("test_resnet.r160_in1k", weights="hub")


@pytest.mark.parametrize(
    ("name", "tokens", "class_token"),
    [
        ("test_vit", 1, True),
        ("test_vit2", 1, False),  # a register
        ("vit_small_patch14_reg4_dinov2", 5, True),
        ("vit_small_patch16_dinov3", 5, True),
        ("cait_xxs24_224", 1, False),  # its class token is in blocks of its own, and not handed out
        ("test_vit_relpos", 0, False),
        ("test_resnet", 0, False),
    ],
)
def test_prefix_tokens_are_counted_and_a_class_token_is_known(name: str, tokens: int, class_token: bool) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone(name, weights="random")
    assert (backbone.prefix_tokens, backbone.class_token) == (tokens, class_token)


def test_the_head_stage_is_what_the_classifier_sees() -> None:
    backbone = TimmBackbone("test_efficientnet", weights="random", image_size=96).eval()
    assert backbone.stages[-1].name == "head"
    images = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images).grid, backbone.model.forward_features(images))


def test_a_transformers_grid_is_its_normalised_patch_tokens_in_raster_order() -> None:
    backbone = TimmBackbone("test_vit", weights="random", image_size=96).eval()
    images = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        tokens = backbone.model.forward_features(images)
        grid = backbone(images).grid
    torch.testing.assert_close(grid.flatten(2).transpose(1, 2), tokens[:, 1:])


def test_output_stride_makes_the_last_grid_finer() -> None:
    backbone = TimmBackbone("test_resnet", weights="random", image_size=128, output_stride=16).eval()
    assert backbone.stages[-1].stride == 16
    assert backbone.grid(128, 128) == (8, 8)


def test_output_stride_on_a_network_without_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"test_vit.*output_stride"):
        TimmBackbone("test_vit", weights="random", output_stride=16)


@pytest.mark.parametrize(("stride", "side"), [(8, 16), (16, 8)])
def test_strides_are_undone_without_dilation(stride: int, side: int) -> None:
    plain = TimmBackbone("test_resnet", weights="random", image_size=128)
    backbone = TimmBackbone("test_resnet", weights="random", image_size=128, output_stride=stride, dilate=False)
    backbone.load_state_dict(plain.state_dict())  # the weights are the same ones
    assert backbone.stages[-1].stride == stride
    assert backbone.grid(128, 128) == (side, side)
    convolutions = [each for each in backbone.modules() if isinstance(each, nn.Conv2d)]
    assert {each.dilation for each in convolutions} == {(1, 1)}


def test_without_dilation_convolutions_see_as_much_as_before_at_more_places() -> None:
    plain = TimmBackbone("test_resnet", weights="random", image_size=128)
    fine = TimmBackbone("test_resnet", weights="random", image_size=128, output_stride=16, dilate=False)
    fine.load_state_dict(plain.state_dict())
    pairs = zip(plain.model.named_modules(), fine.model.modules(), strict=True)
    changed = [(name, a, b) for (name, a), b in pairs if isinstance(a, nn.Conv2d) and a.stride != b.stride]
    assert changed
    assert all(name.startswith(plain.stages[-1].name) for name, _, _ in changed)
    for _, before, after in changed:
        grid = torch.rand(1, before.in_channels, 8, 8)
        torch.testing.assert_close(after(grid)[:, :, ::2, ::2], before(grid))


@pytest.mark.parametrize(("stride", "side"), [(8, 28), (16, 14)])
def test_vgg_without_its_last_pools_has_the_grid_of_wsolevaluation(stride: int, side: int) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone("vgg11", weights="random", image_size=224, output_stride=stride, dilate=False)
    assert backbone.grid(224, 224) == (side, side)
    assert sum(weight.numel() for weight in backbone.parameters()) < 10e6  # no fully connected layers


@pytest.mark.parametrize(
    ("name", "stride"), [("swin_tiny_patch4_window7_224", 16), ("test_vit", 8), ("inception_v3", 8)]
)
def test_strides_that_cannot_be_undone_are_refused(name: str, stride: int) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*output_stride {stride}"):
        TimmBackbone(name, weights="random", output_stride=stride, dilate=False)


def test_dilate_without_an_output_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match="name one"):
        TimmBackbone("test_resnet", weights="random", dilate=False)


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*resnet50"):
        TimmBackbone("resnet5o", weights="random")


def test_an_unknown_stage_is_refused_with_those_there_are() -> None:
    backbone = TimmBackbone("test_resnet", weights="random")
    with pytest.raises(ConfigError, match=r"stage 9: .*layer4 \(stride 32\)"):
        backbone.tap(9)


def test_only_tapped_stages_are_computed() -> None:
    backbone = TimmBackbone("test_resnet", weights="random").eval()
    backbone.tap(1)
    calls: list[str] = []
    backbone.model.layer4.register_forward_hook(lambda *_: calls.append("layer4"))
    with torch.inference_mode():
        backbone(torch.rand(1, 3, 64, 64))
    assert calls == []


def test_replay_serves_this_tensor_and_no_other() -> None:
    backbone = TimmBackbone("test_resnet", weights="random").eval()
    images, other = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    features = Features((torch.zeros(1, 96, 2, 2),))
    with torch.inference_mode(), backbone.replay(images, features):
        assert backbone(images) is features
        assert backbone(other).grid.abs().sum() > 0
    with torch.inference_mode():
        assert backbone(images).grid.abs().sum() > 0


def test_a_frozen_backbone_stays_in_evaluation_mode() -> None:
    backbone = TimmBackbone("test_resnet", weights="random")
    backbone.freeze()
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


class Doubling(torch.nn.Module):
    """Doubles in training; it has a weight, so that it shows in the state."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return grid * self.factor if self.training else grid


def doubled_by_hand(model: torch.nn.Module, images: torch.Tensor, stage: int) -> torch.Tensor:
    """What ``forward_features`` does, with the grid doubled behind a stage and class tokens left alone."""
    if hasattr(model, "layer1"):  # a residual network
        grid = model.maxpool(model.act1(model.bn1(model.conv1(images))))
        for number, layer in enumerate((model.layer1, model.layer2, model.layer3, model.layer4), 1):
            grid = layer(grid) * (2 if number == stage else 1)
        return grid
    if hasattr(model, "layers"):  # Swin: channels last
        grid = model.patch_embed(images)
        for number, layer in enumerate(model.layers):
            grid = layer(grid) * (2 if number == stage else 1)
        return grid.permute(0, 3, 1, 2)
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    for number, block in enumerate(model.blocks):
        tokens = block(tokens)
        if number == stage:
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:] * 2], 1)
    return model.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, (6, 6))


@pytest.mark.parametrize(
    ("name", "size", "stage"),
    [("test_resnet", 96, 3), ("test_resnet", 96, 4), ("test_vit", 96, 2), ("swin_tiny_patch4_window7_224", 224, 2)],
)
def test_an_inserted_module_changes_the_grid_of_its_stage_and_all_after_it(name: str, size: int, stage: int) -> None:
    backbone, images = TimmBackbone(name, weights="random", image_size=size).eval(), torch.rand(1, 3, size, size)
    plain = backbone(images).grid
    assert backbone.insert(stage, Doubling()) is backbone.stages[stage]
    assert torch.equal(backbone(images).grid, plain)  # in evaluation it does nothing
    backbone.inserted.train()
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images).grid, doubled_by_hand(backbone.model, images, stage))
    assert not any(module._forward_hooks for module in backbone.modules())


def test_what_is_tapped_is_behind_what_is_inserted_and_what_is_before_it_stays() -> None:
    backbone, images = (
        TimmBackbone("test_efficientnet", weights="random", image_size=96).eval(),
        torch.rand(1, 3, 96, 96),
    )
    backbone.tap(2, 3, -1)
    before, at, last = backbone(images).grids
    backbone.insert(3, Doubling())
    backbone.insert(-1, Doubling())  # the convolution between the last stage and the pooling
    backbone.inserted.train()
    grids = backbone(images).grids
    assert torch.equal(grids[0], before)
    assert torch.equal(grids[1], 2 * at)
    backbone.inserted[0].factor.data.fill_(1)
    assert torch.equal(backbone(images).grids[2], 2 * last)


def test_two_modules_at_one_stage_come_one_after_the_other() -> None:
    backbone, images = TimmBackbone("test_resnet", weights="random", image_size=64).eval(), torch.rand(1, 3, 64, 64)
    plain = backbone(images).grid
    backbone.insert(-1, Doubling())
    backbone.insert(4, torch.nn.ReLU6())
    backbone.inserted.train()
    torch.testing.assert_close(backbone(images).grid, (2 * plain).clamp(0, 6))


def test_inserted_modules_belong_to_the_state_and_to_copies() -> None:
    backbone, images = TimmBackbone("test_resnet", weights="random", image_size=64), torch.rand(2, 3, 64, 64)
    names = set(backbone.state_dict())
    backbone.insert(3, torch.nn.Dropout2d())
    assert set(backbone.state_dict()) == names  # what has no weights leaves no trace
    backbone.insert(-1, Doubling())
    assert set(backbone.state_dict()) - names == {"inserted.1.factor"}
    twin = copy.deepcopy(backbone.eval())
    for each in (backbone, twin):
        each.inserted[1].train()
    twin.inserted[1].factor.data.fill_(3.0)
    torch.testing.assert_close(twin(images).grid / 3, backbone(images).grid / 2)  # each goes through its own
    twin.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(twin(images).grid, backbone(images).grid)


def test_in_a_frozen_backbone_what_is_inserted_follows_the_methods_mode() -> None:
    backbone = TimmBackbone("test_resnet", weights="random", image_size=64)
    backbone.freeze()
    backbone.insert(-1, Doubling())
    backbone.train()
    assert [module for module in backbone.modules() if module.training] == [backbone.inserted[0]]
    backbone.eval()
    assert not backbone.inserted[0].training


def test_inserting_leaves_modes_and_random_state_as_found() -> None:
    backbone = TimmBackbone("test_resnet", weights="random", image_size=64)
    backbone.model.layer2.eval()
    modes = [module.training for module in backbone.model.modules()]
    state, statistics = torch.get_rng_state(), backbone.model.bn1.running_mean.clone()
    backbone.insert(2, torch.nn.Identity())
    assert [module.training for module in backbone.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(backbone.model.bn1.running_mean, statistics)


def test_a_stage_whose_module_does_not_give_its_grid_is_refused() -> None:
    backbone = TimmBackbone("hrnet_w18_small", weights="random", image_size=64)
    with pytest.raises(ConfigError, match=r"stage 2 of hrnet_w18_small: .* its module stage2 .* choose another"):
        backbone.insert(2, torch.nn.Identity())
    assert len(backbone.inserted) == 0
    with pytest.raises(ConfigError, match="no such stage"):
        backbone.insert(9, torch.nn.Identity())


def test_a_backbone_that_does_not_heed_what_is_inserted_refuses_it() -> None:
    class Plain(Backbone):
        stages = (Stage("only", 3, 1),)

        def extract(self, images: torch.Tensor) -> Features:
            return Features((images,))

    with pytest.raises(ConfigError, match="stage only: nothing can be inserted into Plain"):
        Plain().insert(0, torch.nn.Identity())


def test_the_offline_weights_fit_and_are_not_random() -> None:
    first = TimmBackbone(weights.OFFLINE_BACKBONE, weights="package").state_dict()
    again = TimmBackbone(weights.OFFLINE_BACKBONE, weights="package").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert first["model.bn1.running_var"].sub(1).abs().max() > 0.01  # a fresh network has ones


def test_offline_features_are_those_of_the_published_network() -> None:
    """A channel order mixed up would still load; ImageNet features of a plain and a striped image must differ much."""
    backbone = TimmBackbone(weights.OFFLINE_BACKBONE, weights="package", image_size=160).eval()
    plain = torch.zeros(1, 3, 160, 160)
    striped = plain.clone()
    striped[..., ::8] = 1.0
    with torch.inference_mode():
        one, two = (backbone(each).grid.mean((2, 3))[0] for each in (plain, striped))
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) < 0.7


def test_weights_that_no_package_has_name_the_one_that_comes_so() -> None:
    with pytest.raises(WeightsError, match="tf_efficientnet_lite0"):
        TimmBackbone("resnet18", weights="package")


def test_a_hub_out_of_reach_says_what_else_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "hub_answers", lambda: False)
    monkeypatch.setattr(weights, "in_hub_cache", lambda name: False)
    with pytest.raises(WeightsError, match=r"out of reach.*boxless\[offline\].*backbone.weights=random"):
        TimmBackbone("resnet18.tv_in1k", weights="auto")


def test_without_a_name_the_offline_backbone_is_taken_when_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "hub_answers", lambda: False)
    monkeypatch.setattr(weights, "in_hub_cache", lambda name: False)
    name, reason = weights.choose()
    assert name == "tf_efficientnet_lite0"
    assert "out of reach" in reason
    monkeypatch.setattr(weights, "hub_answers", lambda: True)
    assert weights.choose()[0] == weights.HUB_BACKBONE


def test_hub_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not weights.hub_answers()


@pytest.mark.parametrize("row", [row for row in BACKBONES if row.kind != "clip"], ids=lambda row: row.name)
def test_the_table_tells_what_timm_knows(row: Row) -> None:
    config = timm.get_pretrained_cfg(row.name)
    assert config is not None
    assert config.has_weights
    assert config.license == row.licence
    with torch.device("meta"):
        model = timm.create_model(row.name, pretrained=False, num_classes=0)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == row.parameters
    assert bool(getattr(model, "num_prefix_tokens", 0)) == row.prefix_tokens


def test_the_table_imports_no_torch() -> None:
    code = "import sys, boxless.backbones.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("options", [{}, {"output_stride": 16, "dilate": False}], ids=["plain", "strides"])
def test_a_network_that_gives_no_features_is_refused(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match="test_resnet: timm gives no intermediate features"):
        TimmBackbone("test_resnet", weights="random", **options)


def test_weights_come_from_a_file_also_that_of_a_run_with_its_other_tensors(tmp_path: Path) -> None:
    given = TimmBackbone("test_vit", weights="random", image_size=64)
    own = {key: value.contiguous() for key, value in given.model.state_dict().items()}
    save_file({f"backbone.model.{key}": value for key, value in own.items()}, tmp_path / "run.safetensors")
    save_file({"head.weight": torch.zeros(3, 64), **own}, tmp_path / "plain.safetensors")
    images = torch.randn(1, 3, 64, 64)
    for name in ("run", "plain"):
        other = TimmBackbone("test_vit", weights=str(tmp_path / f"{name}.safetensors"), image_size=64)
        assert torch.equal(other.eval()(images).grid, given.eval()(images).grid)


def test_a_file_of_other_weights_is_refused_by_what_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        TimmBackbone("test_vit", weights=str(file), image_size=64)
    file.write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        TimmBackbone("test_vit", weights=str(file), image_size=64)
    larger = TimmBackbone("test_vit", weights="random", image_size=96).model.state_dict()
    save_file({key: value.contiguous() for key, value in larger.items()}, file)
    with pytest.raises(WeightsError, match=r"pos_embed is \(1, 37, 64\) there and \(1, 17, 64\).*data.image_size"):
        TimmBackbone("test_vit", weights=str(file), image_size=64)
    with pytest.raises(WeightsError, match=r"not the weights of test_resnet: .* are missing, such as conv1.0.weight"):
        TimmBackbone("test_resnet", weights=str(file), image_size=64)
    with pytest.raises(ConfigError, match=r"known: auto, package, hub, random, or a .safetensors file"):
        TimmBackbone("test_vit", weights="mine.bin", image_size=64)
