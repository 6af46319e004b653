"""Where the grid of a stage is in what a network's module gives, and how to change it there: by forward hooks.

Hooks are set for one forward pass and removed after it, so that copies and saved states of a network hold none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError

Layout = Literal["channels first", "channels last", "tokens"]


@dataclass(frozen=True, slots=True)
class Place:
    """A module of a network whose output holds the grid of a stage."""

    module: str  # its dotted name
    layout: Layout
    stride: int  # input pixels per grid cell
    prefix_tokens: int  # class and register tokens before those of the grid


def layout_of(model: nn.Module, module: str, prefix_tokens: int, compute: Callable[[], Tensor]) -> Layout | None:
    """How the grid (1, c, h, w) that ``compute`` gives lies in the output of ``module`` in that forward pass.

    Sizes alone would not tell: a grid may be as wide as it has channels, and tokens may be in another order than rows
    after rows. So values are compared.

    Returns:
        The layout; None if the module is missing, is not called, or its output is not that grid.
    """
    found = dict(model.named_modules()).get(module)
    if found is None:
        return None
    outputs: list[Any] = []
    handle = found.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        grid = compute()
    finally:
        handle.remove()
    output = outputs[0] if len(outputs) == 1 else None
    if not isinstance(output, Tensor):
        return None
    layouts: dict[int, tuple[Layout, ...]] = {4: ("channels first", "channels last"), 3: ("tokens",)}
    for layout in layouts.get(output.ndim, ()):
        if _is_grid(output, layout, prefix_tokens, grid):
            return layout
    return None


def _is_grid(output: Tensor, layout: Layout, prefix_tokens: int, grid: Tensor) -> bool:
    count = output.shape[1] - prefix_tokens
    if layout == "tokens" and count != grid.shape[2] * grid.shape[3]:
        return False
    return torch.equal(_as_grid(output, layout, prefix_tokens, (grid.shape[2], grid.shape[3])), grid)


@contextmanager
def hooked(
    model: nn.Module, changes: Sequence[tuple[Place, Callable[[Tensor], Tensor]]], size: Sequence[int]
) -> Iterator[None]:
    """Within it, each place's grid is changed by its function in a forward pass.

    Args:
        model: The network.
        changes: Places, and what makes a new grid (b, c, h, w) of the old one.
        size: Height and width of the images that the network is given.
    """
    with ExitStack() as stack:
        for place, change in changes:
            handle = model.get_submodule(place.module).register_forward_hook(_hook(place, change, size))
            stack.callback(handle.remove)
        yield


def _hook(place: Place, change: Callable[[Tensor], Tensor], size: Sequence[int]) -> Callable[..., Tensor]:
    rows, columns = (-(-side // place.stride) for side in size)

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if place.layout == "tokens" and output.shape[1] != rows * columns + place.prefix_tokens:
            raise ConfigError(
                f"module {place.module}: {output.shape[1]} tokens are not {place.prefix_tokens} and a grid of "
                f"{rows} x {columns}; take an image size that the network's patches divide."
            )
        grid = _as_grid(output, place.layout, place.prefix_tokens, (rows, columns))
        changed = change(grid)
        return output if changed is grid else _as_output(changed, place.layout, output[:, : place.prefix_tokens])

    return hook


def _as_grid(output: Tensor, layout: Layout, prefix_tokens: int, size: tuple[int, int]) -> Tensor:
    if layout == "channels first":
        return output
    if layout == "channels last":
        return output.permute(0, 3, 1, 2)
    return output[:, prefix_tokens:].transpose(1, 2).reshape(output.shape[0], -1, *size)


def _as_output(grid: Tensor, layout: Layout, prefix: Tensor) -> Tensor:
    if layout == "channels first":
        return grid
    if layout == "channels last":
        return grid.permute(0, 2, 3, 1)
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], 1)
