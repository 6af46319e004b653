"""A look into somebody else's network that leaves no trace in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps.layers import find_modules


@final
class Session:
    """Runs a network in evaluation mode and keeps what some of its layers put out, for a ``with`` statement.

    At its end each module's mode, the hooks, the random state and the gradient mode are as they were; ``.grad`` and
    ``requires_grad`` of the network are never touched. What comes before the first layer that is kept is computed
    without a graph, so that a gradient costs the passes through the rest only.

    Args:
        model: The network, on any device, in any mode.
        layers: Dotted names of the layers to keep.
        gradients: Whether `gradients` will be called.

    Raises:
        ConfigError: A layer does not exist; or gradients are wanted where torch cannot give any.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], *, gradients: bool = False) -> None:
        self.model, self.layers = model, tuple(layers)
        self._modules, self._with_gradients = find_modules(model, self.layers), gradients
        self._kept: dict[str, Tensor] = {}
        self._weight = next((each for each in model.parameters() if each.is_floating_point()), None)
        if gradients:
            self._refuse_inference_mode()

    def __enter__(self) -> Self:
        self._modes = [(module, module.training) for module in self.model.modules()]
        with ExitStack() as stack:
            stack.callback(self._restore)
            stack.enter_context(_kept_random_state(self._weight))
            for module, _ in self._modes:
                module.training = False  # not eval(): what a network adds to that could not be undone
            for name, module in zip(self.layers, self._modules, strict=True):
                stack.callback(module.register_forward_hook(self._keeper(name)).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        self._kept.clear()

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of images (b, 3, h, w), which are brought to the network's device and precision.

        Raises:
            ConfigError: The network gives no scores (b, k), or a layer was not run exactly once.
        """
        self._kept.clear()
        if self._weight is not None:
            images = images.to(self._weight.device, self._weight.dtype)
        with torch.set_grad_enabled(False):  # the hook of the first kept layer turns it on
            scores: Any = self.model(images.clone() if images.is_inference() else images)
        if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != images.shape[0]:
            got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise ConfigError(f"the model gives {got} and not class scores (images, classes); maps need a classifier.")
        if missing := [name for name in self.layers if name not in self._kept]:
            raise ConfigError(f"layer {', '.join(missing)}: it is not run when the model classifies; name another.")
        return scores

    def kept(self) -> tuple[Tensor, ...]:
        """What each layer put out in the latest `forward`, in the order of the layers, without a graph."""
        return tuple(self._kept[name].detach() for name in self.layers)

    def gradients(self, score: Tensor) -> tuple[Tensor, ...]:
        """The gradient of a scalar, made of the latest scores, for what each layer put out.

        Raises:
            ConfigError: The scalar does not depend on a layer by anything that torch can differentiate.
        """
        outputs = [self._kept[name] for name in self.layers]
        found: Sequence[Tensor | None] = [None] * len(outputs)
        if score.requires_grad:
            found = torch.autograd.grad(score, outputs, allow_unused=True)
        for name, each in zip(self.layers, found, strict=True):
            if each is None:
                raise ConfigError(
                    f"layer {name}: the class score has no gradient there, since the model computes it without one "
                    "(torch.no_grad, detach, quantized layers) or by another way; name another layer, or take a map "
                    "that needs no gradient, such as scorecam."
                )
        return tuple(each for each in found if each is not None)

    def _keeper(self, name: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        def keep(module: nn.Module, given: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                raise ConfigError(
                    f"layer {name}: it puts out {type(output).__name__} and not one tensor; name a layer inside it."
                )
            if name in self._kept:
                raise ConfigError(
                    f"layer {name}: the model runs it several times in one pass; name the layer before or after it."
                )
            if self._with_gradients:
                torch.set_grad_enabled(True)
                output = output if output.requires_grad else output.detach().requires_grad_()
            self._kept[name] = output
            following: Tensor = output.clone()  # the next layer may work in place
            return following

        return keep

    def _restore(self) -> None:
        for module, mode in self._modes:
            module.training = mode

    def _refuse_inference_mode(self) -> None:
        if torch.is_inference_mode_enabled():
            raise ConfigError(
                "a gradient map cannot be taken inside torch.inference_mode, which allows no gradient at all; "
                "call it outside, or use torch.no_grad there, inside which it works."
            )
        if any(each.is_inference() for each in self.model.parameters()):
            raise ConfigError(
                "the model's weights were made inside torch.inference_mode and allow no gradient; "
                "build or load the model outside it."
            )


def _kept_random_state(weight: Tensor | None) -> Any:
    """The random state of the processor, and of the accelerator that the network is on, put back at the end."""
    if weight is None or weight.device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[weight.device], device_type=weight.device.type)
