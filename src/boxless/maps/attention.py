"""Maps from the attention of a vision transformer, followed through all of its blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError
from boxless.maps.base import MapExtractor, asked, score
from boxless.maps.layers import exact, to_grid
from boxless.maps.session import Session
from boxless.methods.base import Paper


class Rollout(MapExtractor):
    """Attention of each block to the one before, multiplied from the first block to the last.

    The layers are the modules that pass on attention after its softmax (b, heads, n, n): ``attn_drop`` in timm.
    """

    gradients: ClassVar[bool]

    def default_layers(self, model: nn.Module) -> tuple[str, ...]:
        """The attention of each block."""
        names = dict(model.named_modules())
        blocks: Any = getattr(model, "blocks", ())
        found = [f"blocks.{i}.attn.attn_drop" for i in range(len(blocks))]
        if not found or any(name not in names for name in found):
            raise ConfigError(
                f"{type(model).__name__}: attention rollout needs a plain vision transformer, whose blocks each attend "
                "to all tokens; take another map, such as gradcam."
            )
        return tuple(found)

    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One forward pass with attention that is not fused, and a backward pass if gradients are needed."""
        with unfused(model), Session(model, layers, gradients=self.gradients) as session:
            logits = session.forward(images)
            classes = asked(logits, targets)
            attention = session.kept()
            _refuse_other_outputs(attention, layers, len(images))
            gradients = session.gradients(score(logits, classes)) if self.gradients else attention
        fused = (self.fuse(exact(a), exact(g)) for a, g in zip(attention, gradients, strict=True))
        rolled = _rolled(list(fused))
        prefix = bool(getattr(model, "num_prefix_tokens", 0))
        # The class token's row; without one the head averages all tokens, and so are their rows.
        tokens = rolled[:, 0] if prefix else rolled.mean(1)
        grid = to_grid(tokens[:, :, None], model, layers[-1], (images.shape[2], images.shape[3]), len(images))
        return grid[:, 0], logits.detach(), classes

    @abstractmethod
    def fuse(self, attention: Tensor, gradients: Tensor) -> Tensor:
        """One matrix (b, n, n) from the heads' (b, heads, n, n); rows need not sum to one."""


@final
class AttentionRollout(Rollout):
    """Attention rollout: what the class token attends to through all blocks. It is the same map for every class."""

    class_specific = False
    gradients = False
    paper = Paper(
        "Abnar and Zuidema",
        "Quantifying Attention Flow in Transformers",
        "ACL",
        2020,
        "https://arxiv.org/abs/2005.00928",
    )

    def fuse(self, attention: Tensor, gradients: Tensor) -> Tensor:
        """The mean over heads."""
        return attention.mean(1)


@final
class GradientAttentionRollout(Rollout):
    """Gradient attention rollout: rollout of the attention that raises the class score, as ViTOL takes it."""

    gradients = True
    paper = Paper(
        "Gupta et al.",
        "ViTOL: Vision Transformer for Weakly Supervised Object Localization",
        "CVPR Workshops",
        2022,
        "https://arxiv.org/abs/2204.06772",
    )

    def fuse(self, attention: Tensor, gradients: Tensor) -> Tensor:
        """The mean over heads of attention times gradient, where that is positive."""
        return (attention * gradients).mean(1).relu()


def _rolled(matrices: Sequence[Tensor]) -> Tensor:
    """The product, last block first, of the matrices with the residual connection added and rows that sum to one."""
    identity = torch.eye(matrices[0].shape[-1]).to(matrices[0])
    rolled = identity.expand_as(matrices[0])
    for matrix in matrices:
        with_residual = matrix + identity
        rolled = with_residual / with_residual.sum(2, keepdim=True) @ rolled
    return rolled


def _refuse_other_outputs(outputs: Sequence[Tensor], layers: Sequence[str], images: int) -> None:
    for name, each in zip(layers, outputs, strict=True):
        square = each.ndim == 4 and each.shape[2] == each.shape[3]
        if not square or len(each) != images or each.shape[2:] != outputs[0].shape[2:]:
            raise ConfigError(
                f"layer {name}: it puts out {tuple(each.shape)}, and not the attention of all tokens to all tokens "
                "(images, heads, tokens, tokens); attention rollout needs a plain vision transformer."
            )


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Within it attention is computed as a matrix; fused kernels never form one."""
    fused = [module for module in model.modules() if getattr(module, "fused_attn", False)]
    try:
        for module in fused:
            setattr(module, "fused_attn", False)  # noqa: B010
        yield
    finally:
        for module in fused:
            setattr(module, "fused_attn", True)  # noqa: B010
