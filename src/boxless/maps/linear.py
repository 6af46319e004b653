"""CAM: the weights of a linear head, applied to the grid before it is pooled."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps.base import MapExtractor, asked, weighted_sum
from boxless.maps.layers import exact, pooled_layer, to_grid
from boxless.maps.session import Session
from boxless.methods.base import Paper


@final
class ClassActivationMap(MapExtractor):
    """CAM: exact, and no gradient, but only for a head that averages a grid and has one linear layer.

    Whether the head is such a one is not guessed from names: its scores are computed again from the grid and compared.
    """

    paper = Paper(
        "Zhou et al.",
        "Learning Deep Features for Discriminative Localization",
        "CVPR",
        2016,
        "https://arxiv.org/abs/1512.04150",
    )

    def default_layers(self, model: nn.Module) -> tuple[str, ...]:
        """The grid that the head pools."""
        return (pooled_layer(model),)

    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 2 of the paper: the sum over channels of w_k^c f_k(x, y), the bias left out, with no ReLU."""
        if len(layers) != 1:
            raise ConfigError(f"cam reads the one grid that the head pools, and not {', '.join(layers)}.")
        head = _linear_head(model)
        with Session(model, layers) as session:
            logits = session.forward(images)
            (output,) = session.kept()
        grid = to_grid(output, model, layers[0], (images.shape[2], images.shape[3]), len(images))
        weight = exact(head.weight.detach()).flatten(1)
        _refuse_other_head(grid, weight, head.bias, logits, layers[0])
        classes = asked(logits, targets)
        return weighted_sum(weight[classes], grid), logits, classes


def _linear_head(model: nn.Module) -> Any:
    head = model.get_classifier() if hasattr(model, "get_classifier") else getattr(model, "fc", None)  # type: ignore[operator]
    if isinstance(head, nn.Linear) or (isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1)):
        return head
    raise ConfigError(
        f"cam: {type(model).__name__} has no single linear layer as its head, whose weights this map is made of; "
        "take another map, such as gradcam."
    )


def _refuse_other_head(grid: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor, layer: str) -> None:
    """Raise unless the scores are the linear layer of the grid's average."""
    same = grid.shape[1] == weight.shape[1]
    if same:
        again = grid.mean((2, 3)) @ weight.T + (0 if bias is None else exact(bias.detach()))
        tolerance = 1e-3 if logits.dtype in (torch.float32, torch.float64) else 5e-2
        same = bool((again - exact(logits)).abs().max() <= tolerance * (1 + logits.float().abs().max()))
    if not same:
        raise ConfigError(
            f"cam: the head does more than to average the output of {layer} and apply one linear layer, so that the "
            "weights are of other features; take another map, such as gradcam."
        )
