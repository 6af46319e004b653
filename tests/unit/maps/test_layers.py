"""The layer that is found in each family of networks, and what it puts out as a grid."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps import extract, list_layers
from boxless.maps.layers import last_layer, pooled_layer, to_grid


@pytest.mark.parametrize(
    ("name", "options", "layer", "pooled"),
    [
        ("test_resnet", {}, "layer4", "layer4"),
        ("vgg11", {"device": "meta"}, "features", "features"),
        ("test_efficientnet", {}, "bn2", "bn2"),
        ("mobilenetv3_small_050", {"device": "meta"}, "blocks", "blocks"),
        ("densenet121", {"device": "meta"}, "features", "features"),
        ("inception_v3", {"device": "meta"}, "Mixed_7c", "Mixed_7c"),
        ("test_convnext", {}, "norm_pre", "norm_pre"),
        ("test_byobnet", {}, "final_conv", "final_conv"),
        ("test_vit", {}, "blocks.5.norm1", "norm"),
        ("vit_tiny_r_s16_p8_224", {"device": "meta"}, "blocks.11.norm1", "norm"),
        ("swin_tiny_patch4_window7_224", {"device": "meta"}, "norm", "norm"),
        ("coatnet_0_224", {"device": "meta"}, "norm", "norm"),
    ],
)
def test_the_last_grid_of_each_family_is_found(name: str, options: dict[str, Any], layer: str, pooled: str) -> None:
    with torch.device(options.get("device", "cpu")):
        network = timm.create_model(name)
    assert last_layer(network) == layer
    assert pooled_layer(network) == pooled


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [
        ("test_resnet", {}, (2, 3)),
        ("test_efficientnet", {}, (2, 3)),
        ("test_convnext", {}, (2, 3)),
        ("test_vit", {"img_size": (64, 96)}, (4, 6)),
        ("test_vit2", {"img_size": (64, 96)}, (4, 6)),
        ("swin_tiny_patch4_window7_224", {"img_size": (64, 96), "depths": (1, 1), "embed_dim": 24}, (8, 12)),
        ("mixer_s32_224", {"img_size": (64, 96)}, (2, 3)),
        ("xcit_nano_12_p8_224", {"depth": 1}, (8, 12)),
        ("poolformer_s12", {}, (2, 3)),
        ("coatnet_nano_cc_224", {"img_size": (64, 96), "depths": (1, 1, 1, 1)}, (2, 3)),
    ],
)
def test_rectangular_images_give_a_grid_of_their_shape_in_every_family(
    name: str, options: dict[str, Any], grid: tuple[int, int], images: Tensor
) -> None:
    torch.manual_seed(0)
    if name == "swin_tiny_patch4_window7_224":
        options = {**options, "num_heads": (1, 2), "window_size": 4}
    network = timm.create_model(name, num_classes=5, **options).eval()
    assert extract("gradcam", network, images, 1).maps.shape == (3, *grid)


def test_class_and_register_tokens_are_left_out_and_rows_come_first() -> None:
    network = timm.create_model("test_vit", reg_tokens=2, img_size=(64, 96))
    cells = torch.arange(24.0).view(1, 24, 1)
    tokens = torch.cat([torch.full((1, 3, 1), 99.0), cells], 1)
    grid = to_grid(tokens, network, "blocks.0", (64, 96), 1)
    assert torch.equal(grid, torch.arange(24.0).view(1, 1, 4, 6))


def test_channels_may_come_last() -> None:
    values = torch.arange(2 * 4 * 6 * 5.0).view(2, 4, 6, 5)
    assert torch.equal(to_grid(values, nn.Identity(), "x", (64, 96), 2), values.permute(0, 3, 1, 2))
    first = values.permute(0, 3, 1, 2)
    assert torch.equal(to_grid(first, nn.Identity(), "x", (64, 96), 2), first)


def test_a_grid_whose_axes_do_not_tell_is_read_as_the_model_says() -> None:
    model, values = nn.Identity(), torch.arange(8 * 8 * 8.0).view(1, 8, 8, 8)
    assert torch.equal(to_grid(values, model, "x", (64, 64), 1), values)
    model.output_fmt = "NHWC"
    assert torch.equal(to_grid(values, model, "x", (64, 64), 1), values.permute(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(2, 7), (2, 5, 5, 64), (8, 4, 6, 16), (2, 31, 8)])
def test_what_is_no_grid_for_each_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"layer x: .* for 2 images of 64 x 96 pixels, which is no grid"):
        to_grid(torch.zeros(shape), nn.Linear(1, 1), "x", (64, 96), 2)


def test_a_layer_that_does_not_exist_is_refused_with_the_model_s_layers(
    networks: dict[str, Any], images: Tensor
) -> None:
    with pytest.raises(
        ConfigError, match=r"layer 'layer5': .*did you mean .*layer4.* Layers of ResNet: conv1, bn1, act1"
    ):
        extract("gradcam", networks["resnet"], images, layers="layer5")
    with pytest.raises(ConfigError, match="a layer is named twice"):
        extract("gradcam", networks["resnet"], images, layers=["layer4", "layer4"])
    with pytest.raises(ConfigError, match="no layer is named"):
        extract("gradcam", networks["resnet"], images, layers=[])


def test_all_layers_are_listed_by_dotted_name(toy: nn.Module) -> None:
    assert list_layers(toy) == ["stage", "act", "square", "dropout", "fc"]


def test_a_model_without_parts_before_its_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer for a map was found; name one"):
        pooled_layer(nn.Sequential(nn.Linear(3, 2)))
