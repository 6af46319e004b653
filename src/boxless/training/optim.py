"""The optimiser, and the learning rate as a plain function of the step: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from torch import nn, optim

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.recipe import Training

_NETWORK = "backbone.model."  # of a timm network's parameters


def build_optimizer(method: nn.Module, training: Training) -> optim.Optimizer:
    """The optimiser over what learns: backbones at their own scale, everything else at the full rate.

    Raises:
        ConfigError: The backbone has no module of a name in ``head_modules``.
    """
    heads = tuple(f"{_NETWORK}{name}." for name in training.head_modules)
    named = [(name, p) for name, p in method.named_parameters()]
    for head in heads:
        if not any(name.startswith(head) for name, _ in named):
            _unknown(head.removeprefix(_NETWORK).removesuffix("."), [name for name, _ in named])
    named = [(name, p) for name, p in named if p.requires_grad]
    networks = tuple(f"{name}." for name, module in method.named_modules() if isinstance(module, Backbone))
    backbone = [p for name, p in named if name.startswith(networks) and not name.startswith(heads)]
    rest = [p for name, p in named if not name.startswith(networks) or name.startswith(heads)]
    pairs = ((rest, 1.0), (backbone, training.backbone_scale))
    groups: list[dict[str, Any]] = [{"params": ps, "scale": scale} for ps, scale in pairs if ps]
    if training.optimizer == "sgd":
        return optim.SGD(
            groups,
            lr=training.learning_rate,
            momentum=training.momentum,
            nesterov=training.momentum > 0,
            weight_decay=training.weight_decay,
        )
    return optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)


def _unknown(module: str, parameters: Sequence[str]) -> NoReturn:
    inner = [name.removeprefix(_NETWORK) for name in parameters if name.startswith(_NETWORK)]
    listed = ", ".join(dict.fromkeys(name.partition(".")[0] for name in inner))
    raise ConfigError(
        f"training.head_modules: the backbone has no module {module!r} with weights; at the top it has {listed}."
    )


def rate_factor(training: Training, step: int, total: int, steps_per_epoch: int) -> float:
    """The factor in (0, 1] on the learning rate at a step, counted from 0, of ``total``."""
    warmup = round(training.warmup * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if training.schedule == "cosine":
        done = (step - warmup) / max(total - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * done))
    if training.schedule == "step":
        return training.gamma ** (step // steps_per_epoch // training.step_epochs)
    return 1.0


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give each group its part of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
