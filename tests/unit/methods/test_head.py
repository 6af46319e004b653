"""The classifier that reads class tokens where there are any, and shares a pass of its backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from boxless.backbones.base import Backbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods.head import ClassHead


def small(name: str) -> TimmBackbone:
    return TimmBackbone(name, weights="random", image_size=96).eval()


def test_its_parameters_on_deit_s_are_those_of_the_thesis() -> None:
    """Section 2.4, complexity: 1.616 million of head and decoder, of which the decoder has 1,308,620."""
    with torch.device("meta"):
        head = ClassHead(TimmBackbone("vit_small_patch16_224", weights="random"), 200)
    assert sum(each.numel() for each in head.parameters()) == 307_400  # 4 x 384 features, and a bias, for 200 classes


def test_class_tokens_of_the_last_blocks_go_side_by_side_into_a_linear_layer() -> None:
    backbone, images = small("test_vit"), torch.rand(2, 3, 96, 96)
    head = ClassHead(backbone, 3, blocks=2, dropout=0.5).eval()
    assert backbone.taps == ()
    assert backbone.token_taps == (4, 5)
    model = backbone.model
    with torch.inference_mode():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        for block in model.blocks[:5]:
            tokens = block(tokens)
        last = model.blocks[5](tokens)
        pooled = torch.cat([model.norm(tokens)[:, 0], model.norm(last)[:, 0]], 1)
        expected = pooled @ head.classifier.weight.T + head.classifier.bias
        torch.testing.assert_close(head(backbone(images)), expected)
        head.train()
        torch.manual_seed(0)
        assert not torch.allclose(head(backbone(images)), expected)  # with half of the features dropped


def test_registers_are_not_read() -> None:
    with torch.device("meta"):
        head = ClassHead(TimmBackbone("vit_small_patch14_reg4_dinov2", weights="random"), 5)
    assert head.classifier.in_features == 4 * 384


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit2"])  # test_vit2 has a register and no class token
def test_without_a_class_token_the_grid_is_averaged(name: str) -> None:
    backbone, images = small(name), torch.rand(2, 3, 96, 96)
    head = ClassHead(backbone, 3, stride=16, fuse=False, hidden=8).eval()
    assert head.neck is not None
    assert not backbone.token_taps
    with torch.inference_mode():
        features = backbone(images)
        assert isinstance(head.neck.convolution, nn.Sequential)
        pooled = head.neck.convolution(features.grid).mean((2, 3))
        expected = pooled @ head.classifier.weight.T + head.classifier.bias
        torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_a_decoder_built_after_it_reads_the_same_pass(name: str) -> None:
    backbone, images = small(name), torch.rand(1, 3, 96, 96)
    backbone.tap(0, 1, 2)  # forgotten
    head = ClassHead(backbone, 3).eval()
    with torch.inference_mode():
        alone = head(backbone(images))
        places = backbone.also_tap(0, -1)
        features = backbone(images)
        torch.testing.assert_close(head(features), alone)
        grids = [features.grids[place] for place in places]
        backbone.tap(0, -1)
        for grid, expected in zip(grids, backbone(images).grids, strict=True):
            torch.testing.assert_close(grid, expected)


def test_tokens_tapped_for_another_reader_are_forgotten_where_it_reads_none(pyramid: Callable[..., Backbone]) -> None:
    backbone = pyramid()
    backbone.token_taps += (0,)
    ClassHead(backbone, 3, stride=1, hidden=0)
    assert not backbone.token_taps
    assert backbone.taps == (0, 1, 2)


def test_what_it_cannot_read_is_refused() -> None:
    backbone = small("test_vit")
    with pytest.raises(ConfigError, match=r"method\.blocks: got 7; test_vit has 6"):
        ClassHead(backbone, 3, blocks=7)
    with pytest.raises(ConfigError, match=r"method\.stride: 8 is finer"):
        ClassHead(small("test_vit2"), 3, stride=8)
    head = ClassHead(backbone, 3)
    backbone.tap_tokens()
    with pytest.raises(ConfigError, match="no class tokens"):
        head(backbone(torch.rand(1, 3, 96, 96)))
