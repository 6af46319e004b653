"""Images, labels and weights written down as formulas, for comparing training steps, in float64."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

CLASSES = 4


def waves(*shape: int, offset: float, step: float = 1.7) -> Tensor:
    """Numbers in [-1, 1] without a pattern that matters."""
    count = torch.Size(shape).numel()
    return torch.sin(step * torch.arange(count, dtype=torch.float64) + offset).reshape(shape)


def images(count: int, side: int) -> Tensor:
    """(count, 3, side, side), smooth with one bright place each, as features of an object are."""
    place = torch.arange(side, dtype=torch.float64) / side
    made = []
    for index in range(count):
        y, x = 0.3 + 0.15 * index, 0.7 - 0.2 * index
        bump = torch.exp(-((place[:, None] - y) ** 2 + (place - x) ** 2) / (0.02 + 0.02 * index))
        colours = torch.tensor([1.0, 0.5, -0.3], dtype=torch.float64).roll(index)[:, None, None]
        made.append(colours * bump + 0.2 * waves(3, side, side, offset=index, step=0.013))
    return torch.stack(made)


def labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def fill(modules: Iterable[nn.Module]) -> None:
    """Give modules their weights, in the order of their parameters."""
    with torch.no_grad():
        for number, parameter in enumerate(p for module in modules for p in module.parameters()):
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(scale * waves(*parameter.shape, offset=number))


def sharpen(convolution: nn.Conv2d) -> None:
    """Make a filled convolution's results, as probabilities, reach from near 0 to near 1."""
    with torch.no_grad():
        convolution.weight.mul_(150)
        convolution.bias.fill_(-4)


def fingerprint(gradients: Iterable[Tensor]) -> list[float]:
    """One number for each gradient, that any change of its values or their places changes."""
    return [float((gradient * waves(*gradient.shape, offset=0.4, step=2.3)).sum()) for gradient in gradients]
