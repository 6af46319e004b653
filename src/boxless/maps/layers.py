"""Which layer a map reads, and what it puts out as a grid, for convolutional networks and transformers alike."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError

LISTED = 40
# Where the head of a network begins: what comes before the first of these is the grid that it pools.
_HEADS = {"global_pool", "pre_logits", "head", "head_drop", "fc", "fc_norm", "classifier", "flatten", "attn_pool"}
_HEADS |= {"avgpool", "pool", "head_dist", "dropout"}


def list_layers(model: nn.Module) -> list[str]:
    """Dotted names of all layers of the network, in its own order."""
    return [name for name, _ in model.named_modules() if name]


def pooled_layer(model: nn.Module) -> str:
    """The layer whose output the head pools: the last stage of a CNN, or the norm after the blocks of a transformer.

    Raises:
        ConfigError: The network is not built of parts from which that could be told.
    """
    before: list[str] = []
    for name, module in model.named_children():
        if name in _HEADS or isinstance(module, nn.Linear | nn.AdaptiveAvgPool2d):
            break
        before.append(name)
    if not before:
        raise ConfigError(f"{_name(model)}: no layer for a map was found; name one. {_listed(model)}")
    module = getattr(model, before[-1])
    return f"{before[-1]}.{len(module) - 1}" if isinstance(module, nn.ModuleList) else before[-1]


def last_layer(model: nn.Module) -> str:
    """The layer that a map reads if none is named.

    It is the last grid before the pooling. In a transformer with a class token the last patch tokens have no influence
    on the class, so there it is the norm before the last attention, which still reads them.

    Raises:
        ConfigError: As for `pooled_layer`.
    """
    blocks: Any = getattr(model, "blocks", None)
    if isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(model, "patch_embed") and len(blocks):
        if isinstance(getattr(blocks[-1], "norm1", None), nn.Module):
            return f"blocks.{len(blocks) - 1}.norm1"
        if getattr(model, "num_prefix_tokens", 0) and len(blocks) > 1:
            return f"blocks.{len(blocks) - 2}"
    return pooled_layer(model)


def find_modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The layers of those dotted names.

    Raises:
        ConfigError: There is no such layer; the model's layers are listed. Or one is named twice.
    """
    known = dict(model.named_modules())
    for name in names:
        if name not in known or not name:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ConfigError(f"layer {name!r}: the model has no such layer; {hint}{_listed(model)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"layers {', '.join(names)}: a layer is named twice; name each once.")
    return [known[name] for name in names]


def to_grid(output: Tensor, model: nn.Module, layer: str, size: tuple[int, int], images: int) -> Tensor:
    """What a layer put out, (b, c, h', w'): float64 of a network in double precision, else float32.

    Taken are grids, channels first or last, and tokens, of which class and register tokens are left out.

    Args:
        output: Of the layer, for a batch.
        model: The network, which knows its patches and prefix tokens.
        layer: The layer's name, for the message.
        size: (height, width) of the images.
        images: How many there are.

    Raises:
        ConfigError: It is no grid, or not one for each image.
    """
    output = exact(output)
    shape = tuple(output.shape)
    if len(output) == images and output.ndim == 4:
        first, last = _fits(shape[2:], size), _fits(shape[1:3], size)
        if last and (not first or getattr(model, "output_fmt", None) == "NHWC"):
            return output.permute(0, 3, 1, 2)
        if first:
            return output
    if len(output) == images and output.ndim == 3 and (found := _token_grid(model, shape[1], size)):
        prefix, (rows, columns) = found
        return output[:, prefix:].transpose(1, 2).reshape(images, shape[2], rows, columns)
    raise ConfigError(
        f"layer {layer}: it puts out {shape} for {images} images of {size[0]} x {size[1]} pixels, which is no grid for "
        f"each of them; name another. {_listed(model)}"
    )


def exact(values: Tensor) -> Tensor:
    """Values in the precision that maps are computed in: float32, or float64 where they are in that already."""
    return values if values.dtype == torch.float64 else values.float()


def _token_grid(model: nn.Module, tokens: int, size: tuple[int, int]) -> tuple[int, tuple[int, int]] | None:
    """How many tokens come before the patches, and the rows and columns of these."""
    declared = int(getattr(model, "num_prefix_tokens", 0) or 0)
    prefixes = tuple(dict.fromkeys((declared, 0)))
    embedding: Any = getattr(model, "patch_embed", None)
    if hasattr(embedding, "dynamic_feat_size"):
        rows, columns = embedding.dynamic_feat_size(size)
        if tokens - rows * columns in prefixes:
            return tokens - rows * columns, (int(rows), int(columns))
    for prefix in (*prefixes, 1):  # a network that is not timm's may have a class token and not say so
        if grid := _rectangle(tokens - prefix, size):
            return prefix, grid
    return None


def _rectangle(cells: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns with that product, in the proportion of the image to less than a cell."""
    candidates = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    fitting = [grid for grid in candidates if _error(grid, size) < max(size)]
    return min(fitting, key=lambda grid: _error(grid, size)) if fitting else None


def _fits(grid: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether a grid may be that of an image: no finer, and of its proportions, up to a cell of padding each way."""
    return grid[0] <= size[0] and grid[1] <= size[1] and _error(grid, size) < sum(size)


def _error(grid: Sequence[int], size: tuple[int, int]) -> int:
    return abs(grid[0] * size[1] - grid[1] * size[0])


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _listed(model: nn.Module) -> str:
    """The layers down to two levels first, since a deep network has hundreds."""
    names = list_layers(model)
    short = [name for name in names if name.count(".") < 2]
    listed = names if len(names) <= LISTED else short[:LISTED]
    more = len(names) - len(listed)
    rest = f" and {more} more inside them (boxless.maps.list_layers)" if more else ""
    return f"Layers of {_name(model)}: {', '.join(listed)}{rest}."
