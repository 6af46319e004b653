"""The image transformers that open_clip has: its own, and those of timm inside it."""

# ruff: noqa: D102 -- what each step does is said once, in `ClipTower`.

from __future__ import annotations

from typing import Any

import torch
from timm.layers import apply_rot_embed_cat, build_rotary_pos_embed, resample_abs_pos_embed
from timm.layers.format import Format
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.backbones.clip_tower import ClipTower, Grid, fitting
from boxless.errors import ConfigError


class OpenClipTower(ClipTower):
    """open_clip's own ``VisionTransformer``: the networks of OpenAI, LAION and most others."""

    prefix = 1
    place = "transformer.resblocks"

    def __init__(self, visual: Any, log_scale: Tensor) -> None:
        super().__init__(visual, log_scale)
        plain = all(isinstance(getattr(each, "attn", None), nn.MultiheadAttention) for each in self.blocks)
        if not plain or visual.attn_pool is not None:
            raise ConfigError(
                "this image tower of open_clip has attention or pooling of its own kind, which cannot be read patch by "
                f"patch; fitting: {fitting()}."
            )
        self.width, self.heads = int(visual.conv1.out_channels), int(self.blocks[0].attn.num_heads)
        self.patch = int(visual.patch_size[0])

    @property
    def blocks(self) -> Any:
        return self.visual.transformer.resblocks

    def tokens(self, images: Tensor) -> tuple[Tensor, Grid]:
        rest = (-images.shape[3] % self.patch, -images.shape[2] % self.patch)
        patches = self.visual.conv1(F.pad(images, (0, rest[0], 0, rest[1])))
        grid = (int(patches.shape[2]), int(patches.shape[3]))
        own = self.visual.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
        places = resample_abs_pos_embed(self.visual.positional_embedding[None], grid, self.visual.grid_size)
        x = torch.cat([own, patches.flatten(2).mT], 1) + places.to(patches.dtype)
        return self.visual.ln_pre(x), grid

    def normed(self, index: int, x: Tensor) -> Tensor:
        normed: Tensor = self.blocks[index].ln_1(x)
        return normed

    def qkv(self, index: int, y: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        attn = self.blocks[index].attn
        q, k, v = _by_heads(F.linear(y, attn.in_proj_weight, attn.in_proj_bias), self.heads)
        return q, k, v

    def mixed(self, index: int, weights: Tensor, v: Tensor) -> Tensor:
        out: Tensor = self.blocks[index].attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return out

    def residual(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        change: Tensor = self.blocks[index].ls_1(attended)
        return x + change

    def mlp(self, index: int, x: Tensor) -> Tensor:
        block = self.blocks[index]
        change: Tensor = block.ls_2(block.mlp(block.ln_2(x)))
        return x + change

    def block(self, index: int, x: Tensor, grid: Grid) -> Tensor:
        out: Tensor = self.blocks[index](x)
        return out

    def last_norm(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual.ln_post(x)
        return out

    def embed(self, x: Tensor) -> Tensor:
        projection: Tensor = self.visual.proj
        return self.last_norm(x) @ projection

    def pooled(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual._pool(x)[0] @ self.visual.proj
        return out


class TimmTower(ClipTower):
    """A transformer of timm inside open_clip: EVA-CLIP with its rotary positions, SigLIP, and plain ones."""

    place = "trunk.blocks"

    def __init__(self, visual: Any, log_scale: Tensor) -> None:
        super().__init__(visual, log_scale)
        if not all(_is_plain(each) for each in self.blocks) or getattr(self.trunk, "rope_mixed", False):
            raise ConfigError(
                f"this image tower of open_clip, {type(self.trunk).__name__} of timm, has attention of its own kind, "
                f"which cannot be read patch by patch; fitting: {fitting()}."
            )
        embedding = self.trunk.patch_embed
        self.width, self.heads = int(self.trunk.embed_dim), int(self.blocks[0].attn.num_heads)
        self.patch, self.prefix = int(embedding.feat_ratio()), int(self.trunk.num_prefix_tokens)
        # As timm builds it with dynamic_img_size, which open_clip does not pass on.
        self.trunk.dynamic_img_size = embedding.dynamic_img_pad = True
        embedding.strict_img_size = embedding.flatten = False
        embedding.output_fmt = Format.NHWC

    @property
    def trunk(self) -> Any:
        """The network of timm."""
        return self.visual.trunk

    @property
    def blocks(self) -> Any:
        return self.trunk.blocks

    def tokens(self, images: Tensor) -> tuple[Tensor, Grid]:
        patches = self.trunk.patch_embed(images)
        x = self.trunk._pos_embed(patches)
        return self.trunk.norm_pre(x[0] if isinstance(x, tuple) else x), (int(patches.shape[1]), int(patches.shape[2]))

    def normed(self, index: int, x: Tensor) -> Tensor:
        normed: Tensor = self.blocks[index].norm1(x)
        return normed

    def qkv(self, index: int, y: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        attn = self.blocks[index].attn
        if attn.qkv is None:
            joined = torch.cat([attn.q_proj(y), attn.k_proj(y), attn.v_proj(y)], -1)
        elif getattr(attn, "q_bias", None) is not None:
            joined = F.linear(y, attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias]))
        else:
            joined = attn.qkv(y)
        q, k, v = _by_heads(joined, self.heads)
        q, k = attn.q_norm(q), attn.k_norm(k)
        turns = self._turns(grid, y)
        if turns is not None:
            q, k = (
                torch.cat([each[:, :, : self.prefix], apply_rot_embed_cat(each[:, :, self.prefix :], turns)], 2)
                for each in (q, k)
            )
        return q, k, v

    def mixed(self, index: int, weights: Tensor, v: Tensor) -> Tensor:
        attn = self.blocks[index].attn
        out: Tensor = attn.proj(attn.norm((weights @ v).transpose(1, 2).flatten(2)))
        return out

    def residual(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        return x + self._scaled(index, 1, attended)

    def mlp(self, index: int, x: Tensor) -> Tensor:
        block = self.blocks[index]
        return x + self._scaled(index, 2, block.mlp(block.norm2(x)))

    def block(self, index: int, x: Tensor, grid: Grid) -> Tensor:
        turns = self._turns(grid, x)
        out: Tensor = self.blocks[index](x) if turns is None else self.blocks[index](x, rope=turns)
        return out

    def last_norm(self, x: Tensor) -> Tensor:
        out: Tensor = self.trunk.norm(x)
        return out

    def embed(self, x: Tensor) -> Tensor:
        """See `ClipTower`; where attention pools, a token's embedding is that of an image of this token alone."""
        y = self.last_norm(x)
        if getattr(self.trunk, "attn_pool", None) is not None:
            y = self.trunk.attn_pool(y.flatten(0, 1)[:, None]).unflatten(0, y.shape[:2])
        out: Tensor = self.visual.head(self.trunk.head(self.trunk.fc_norm(y)))
        return out

    def pooled(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual.head(self.trunk.forward_head(self.last_norm(x)))
        return out

    def _scaled(self, index: int, half: int, change: Tensor) -> Tensor:
        """What a half of a block adds to the stream."""
        block = self.blocks[index]
        scaled = getattr(block, f"ls{half}", None)
        gamma = getattr(block, f"gamma_{half}", None)
        change = scaled(change) if scaled is not None else change if gamma is None else gamma * change
        out: Tensor = getattr(block, f"drop_path{half}")(change)
        return out

    def _turns(self, grid: Grid, like: Tensor) -> Tensor | None:
        """Sines and cosines of the rotary embedding for a grid; the network's own are of its native size only."""
        rope = getattr(self.trunk, "rope", None)
        if rope is None:
            return None
        return torch.cat(
            build_rotary_pos_embed(
                list(grid),
                dim=self.width // self.heads,
                max_res=rope.max_res,
                temperature=rope.temperature,
                linear_bands=rope.linear_bands,
                in_pixels=rope.in_pixels,
                ref_feat_shape=rope.ref_feat_shape,
                grid_offset=rope.grid_offset,
                grid_indexing=rope.grid_indexing,
                device=like.device,
            ),
            -1,
        ).to(like.dtype)


def _by_heads(joined: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Three tensors (b, heads, t, c / heads) of their channels one after another, (b, t, 3 * c)."""
    return joined.reshape(*joined.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _is_plain(block: Any) -> bool:
    """Whether a block of timm is computed as `TimmTower` does step by step."""
    if type(block) not in (EvaBlock, Block):
        return False
    attn = block.attn
    known = type(attn) in (EvaAttention, Attention) or type(attn).__name__ == "AttentionRope"
    grouped = getattr(attn, "num_kv_groups", 1) > 1
    return known and not grouped and getattr(attn, "gate", None) is None and not getattr(attn, "rotate_half", False)
