"""A finer last grid without dilation: the strides beyond the wanted one become 1, the weights stay."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from boxless.backbones.base import evaluating

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_CLEARLY = 1.5  # grids of networks that do not pad are a little smaller than the size over the stride


def undo_strides(model: Any, output_stride: int, size: int) -> None:
    """Let no stage of a convolutional network have a coarser grid than ``output_stride``.

    Convolutions beyond it step by 1 and see a smaller part of the image than they were trained on: so do Choe et al.
    (CVPR 2020) with ResNet50's last stage. Pools whose windows do not overlap are dropped, as they drop VGG's last.

    Args:
        model: A timm network, changed in place.
        output_stride: Input pixels per cell that no grid may exceed.
        size: Side of the square images.

    Raises:
        ValueError: The first grid is coarser already, or the last one stays so: what makes it coarser is neither a
            convolution nor a pool.
        RuntimeError: The grids of the network's branches do not fit each other any more.
    """
    finest = min(int(stage["reduction"]) for stage in model.feature_info)
    if finest > output_stride:
        raise ValueError(f"its first grid has a stride of {finest}")
    weight = next(model.parameters())
    images = torch.zeros(1, 3, size, size, device=weight.device, dtype=weight.dtype)
    for name in _strided(model, images, output_stride):
        module = model.get_submodule(name)
        if isinstance(module, _POOLS) and module.kernel_size == module.stride:
            model.set_submodule(name, nn.Identity())
        else:
            module.stride = (1, 1)
    with evaluating(model), torch.no_grad():
        last = model.forward_intermediates(images, intermediates_only=True, output_fmt="NCHW")[-1]
    if size > _CLEARLY * output_stride * last.shape[2]:
        raise ValueError(f"its last grid stays {last.shape[2]} x {last.shape[3]}")


def _strided(model: Any, images: Tensor, output_stride: int) -> list[str]:
    """Names of the convolutions and pools that would make a grid coarser than wanted."""
    found: list[str] = []

    def look(name: str, module: Any, given: tuple[Tensor, ...], result: Tensor) -> None:
        before, after = (images.shape[2] / grid.shape[2] for grid in (given[0], result))
        if after > _CLEARLY * before and after > _CLEARLY * output_stride:
            found.append(name)

    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, *_POOLS))
    ]
    try:
        with evaluating(model), torch.no_grad():
            model.forward_features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found
