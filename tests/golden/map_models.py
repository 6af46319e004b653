"""Small networks of four families with weights that any machine draws alike, for maps that other programs made too."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vgg import VGG
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

CLASSES, SIZE = 5, (64, 96)
TARGETS = (3, 0)


def _resnet() -> nn.Module:
    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, channels=(8, 12, 16, 24))


def _vgg() -> nn.Module:
    return VGG([8, "M", 12, "M", 16, "M", 24], num_classes=CLASSES)


def _vit() -> nn.Module:
    return VisionTransformer(
        img_size=SIZE, patch_size=8, num_classes=CLASSES, embed_dim=32, depth=2, num_heads=2, reg_tokens=2
    )


def _swin() -> nn.Module:
    return SwinTransformer(
        img_size=SIZE, num_classes=CLASSES, embed_dim=16, depths=(1, 1), num_heads=(1, 2), window_size=4
    )


MODELS = {"resnet": _resnet, "vgg": _vgg, "vit": _vit, "swin": _swin}
# The layer of single maps, and those of fused ones. The vision transformer has a class token and two registers.
LAYERS = {
    "resnet": ("layer4", ("layer3", "layer4")),
    "vgg": ("features", ("features.5", "features")),
    "vit": ("blocks.1.norm1", ("blocks.0.norm1", "blocks.1.norm1")),
    "swin": ("layers.1.blocks.0.norm1", ("layers.0", "layers.1.blocks.0.norm1")),
}
PREFIX = 3


def build(name: str) -> Any:
    """The network, in evaluation mode: weights of a size that keeps its signal's, norms near one, biases not zero."""
    model = MODELS[name]()
    random = np.random.RandomState(0)  # its stream is fixed for all versions of numpy
    with torch.no_grad():
        for key, weight in model.named_parameters():
            values = torch.from_numpy(random.standard_normal(tuple(weight.shape))).float()
            if weight.ndim > 1:
                weight.copy_(values * (2 / max(1, weight[0].numel())) ** 0.5)
            else:
                weight.copy_(0.2 * values + (1 if key.endswith("weight") else 0))
    return model.eval()


def images() -> Tensor:
    """Two images, smooth at the scale of some pixels."""
    random = np.random.RandomState(1)
    coarse = torch.from_numpy(random.standard_normal((2, 3, SIZE[0] // 8, SIZE[1] // 8))).float()
    return nn.functional.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
