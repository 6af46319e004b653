"""What the tokens of a timm transformer attend to, read from the network's own forward pass by hooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from timm.layers import apply_rot_embed_cat
from timm.models.eva import EvaAttention
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

Rows = Literal["class", "all"]
Given = dict[int, Tensor]  # attention by block


def attention_modules(model: nn.Module) -> tuple[Any, ...]:
    """The attention of each block; none where blocks do not each attend from tokens to tokens in a known way."""
    blocks: Any = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return ()
    found = tuple(getattr(block, "attn", None) for block in blocks)
    fits = all(hasattr(each, "attn_drop") and hasattr(each, "num_heads") for each in found)
    return found if fits else ()


@contextmanager
def reading_attention(model: nn.Module, blocks: Sequence[int], rows: Rows) -> Iterator[Given]:
    """Within it, a forward pass fills what is given with the attention of these blocks, by their indices.

    Attention stays fused where queries and keys meet in a known way. Elsewhere, as in BEiT, whose attention depends on
    places too, it is computed as a matrix meanwhile.
    """
    modules, given = attention_modules(model), Given()
    with ExitStack() as stack:
        for block in set(blocks):
            attention = modules[block]
            read = _read_factors if _is_plain(attention) else _read_matrix
            stack.enter_context(read(attention, given, block, rows))
        yield given


def _is_plain(attention: Any) -> bool:
    """Whether it is a softmax of products of normed and perhaps turned queries and keys, and nothing else."""
    return type(attention) in (Attention, EvaAttention) or type(attention).__name__ == "AttentionRope"


@contextmanager
def _read_factors(attention: Any, given: Given, block: int, rows: Rows) -> Iterator[None]:
    """Multiply the queries and keys that go into fused attention once more, or those of the class token alone."""
    met: dict[str, Any] = {}

    def begin(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        met["turns"] = named.get("rope")

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        met["queries"] = output

    def multiply(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        queries, turns = met.pop("queries"), met.pop("turns")
        asked = queries[:, :, :1] if rows == "class" else _turned(queries, turns, attention)
        keys = _turned(output, turns, attention)
        keys = keys.repeat_interleave(asked.shape[1] // keys.shape[1], 1)  # those that several heads share
        weights = (asked * attention.scale @ keys.mT).softmax(-1)
        given[block] = weights[:, :, 0] if rows == "class" else weights

    with (
        attention.register_forward_pre_hook(begin, with_kwargs=True),
        attention.q_norm.register_forward_hook(keep),
        attention.k_norm.register_forward_hook(multiply),
    ):
        yield


def _turned(heads: Tensor, turns: Tensor | None, attention: Any) -> Tensor:
    """Queries or keys (b, heads, n, c) with the rotary embedding of those of patches, where there is one."""
    if turns is None:
        return heads
    count = attention.num_prefix_tokens
    turned = apply_rot_embed_cat(heads[:, :, count:], turns, half=getattr(attention, "rotate_half", False))
    return torch.cat([heads[:, :, :count], turned], 2).type_as(heads)


@contextmanager
def _read_matrix(attention: Any, given: Given, block: int, rows: Rows) -> Iterator[None]:
    """Take the matrix that goes into the dropout of attention that is not fused."""

    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given[block] = inputs[0][:, :, 0] if rows == "class" else inputs[0]

    fused = getattr(attention, "fused_attn", False)
    with attention.attn_drop.register_forward_pre_hook(take):
        try:
            if fused:
                attention.fused_attn = False
            yield
        finally:
            if fused:
                attention.fused_attn = True
