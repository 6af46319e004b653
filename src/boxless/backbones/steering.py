"""A token that a method adds to a vision transformer, and that steers what all others attend to.

The token takes part in a forward pass by hooks, which are set for this pass and removed after it, so that copies and
saved states of a network hold none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn

from boxless.backbones.table import BACKBONES
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.backbones.base import Backbone

Weigh = Callable[[Tensor], Tensor]
Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Steering:
    """What a backbone has to know of it in a forward pass."""

    token: Tensor  # (c,)
    blocks: tuple[int, ...]
    weigh: Weigh
    factors: list[Tensor] = field(default_factory=list)  # (b, h, w) of each block that was computed


def steerable(backbone: Backbone, *blocks: int) -> tuple[int, ...]:
    """The transformer blocks that `steered` may name, by index from 0; negative ones count from the last.

    Raises:
        ConfigError: The backbone is no plain vision transformer of timm, or has no such block.
    """
    layers = _attentions(backbone)
    if not layers:
        fitting = ", ".join(row.name for row in BACKBONES if row.kind == "vit" and row.prefix_tokens)
        raise ConfigError(
            f"{backbone.title} takes no token of a method's own: it is no plain vision transformer of timm, whose "
            f"blocks each attend from all tokens to all; fitting: {fitting}."
        )
    for block in blocks:
        if not -len(layers) <= block < len(layers):
            raise ConfigError(f"block {block}: {backbone.title} has {len(layers)} blocks, counted from 0.")
    return tuple(block % len(layers) for block in blocks)


@contextmanager
def steered(backbone: Backbone, token: Tensor, blocks: Sequence[int], weigh: Weigh) -> Iterator[list[Tensor]]:
    """Within it, a token more goes through the backbone, and attention is weighed by what that token looks at.

    The token joins the others before the first block, and before the norm that some networks have there. It stands
    last and is left out of grids and of tokens that are tapped. It may learn also where the backbone is frozen.

    Args:
        backbone: One that `steerable` takes. Its attention cannot be tapped meanwhile.
        token: (c,) with its position embedding.
        blocks: Where attention is weighed, as in `steerable`. It is computed as a matrix there. Blocks above the last
            stage that is tapped are not computed.
        weigh: Gets what the token attends to before the softmax, scaled, (b, heads, n); of n tokens class and register
            tokens come first, then the grid's cells, row by row, then the token itself. Gives a factor (b, n) for each
            token: the attention that it gets, after the softmax and from all tokens, is multiplied by it, and does not
            sum to one any more.

    Yields:
        A list that each forward pass fills anew: for each of the blocks, in the network's order, the factors of the
        grid's cells (b, h, w).

    Raises:
        ConfigError: The backbone or a block does not fit.
    """
    backbone.steering = Steering(token, steerable(backbone, *blocks), weigh)
    try:
        yield backbone.steering.factors
    finally:
        backbone.steering = None


@contextmanager
def steering_hooks(backbone: Backbone, images: Tensor) -> Iterator[None]:
    """Within it, a forward pass of the images goes as `steered` says, if anything steers the backbone."""
    steering = backbone.steering
    if steering is None:
        yield
        return
    model: Any = backbone.model
    rows, columns = model.patch_embed.dynamic_feat_size((images.shape[2], images.shape[3]))
    cells = slice(backbone.prefix_tokens, -1)
    steering.factors.clear()

    def weigh(scores: Tensor) -> Tensor:
        factors = steering.weigh(scores)
        steering.factors.append(factors[:, cells].reshape(-1, rows, columns))
        return factors

    with ExitStack() as stack:
        for module, hook in ((model.norm_pre, _joining(steering.token)), (model.norm, _leaving)):
            stack.enter_context(module.register_forward_pre_hook(hook))
        for block in steering.blocks:
            stack.enter_context(_weighed(model.blocks[block].attn, weigh))
        yield


def _attentions(backbone: Backbone) -> tuple[Attention, ...]:
    """The attention of each block; none unless a token can be added and each block's attention can be weighed."""
    model = getattr(backbone, "model", None)
    if not isinstance(model, VisionTransformer):
        return ()
    found = tuple(getattr(block, "attn", None) for block in model.blocks)
    return found if all(type(each) is Attention for each in found) else ()


def _joining(token: Tensor) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens = inputs[0]
        return (torch.cat([tokens, token.to(tokens.dtype).expand(tokens.shape[0], 1, -1)], 1),)

    return hook


def _leaving(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0][:, :-1],)


@contextmanager
def _weighed(attention: Any, weigh: Weigh) -> Iterator[None]:
    """Within it, a block's attention is multiplied by what ``weigh`` makes of that of the last token."""
    met: dict[str, Tensor] = {}

    def ask(module: nn.Module, inputs: tuple[Tensor, ...], queries: Tensor) -> None:
        met["query"] = queries[:, :, -1:] * attention.scale

    def answer(module: nn.Module, inputs: tuple[Tensor, ...], keys: Tensor) -> None:
        met["scores"] = (met.pop("query") @ keys.mT)[:, :, 0]

    def change(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * weigh(met.pop("scores"))[:, None, None],)

    fused = attention.fused_attn
    with (
        attention.q_norm.register_forward_hook(ask),
        attention.k_norm.register_forward_hook(answer),
        attention.attn_drop.register_forward_pre_hook(change),
    ):
        try:
            attention.fused_attn = False
            yield
        finally:
            attention.fused_attn = fused
