"""CLIP's convolutional image towers: feature maps, and each of their cells in the space shared with texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.func import functional_call

from boxless.errors import ConfigError


class ClipConvnet(nn.Module):
    """A convolutional image tower of open_clip: its own ``ModifiedResNet``, or a network of timm.

    A cell's embedding is that of an image of this cell alone: the pooling is left out. Where attention pools, its
    values and then its output projection are applied, as for the dense features of Zhou et al., "Extract Free Dense
    Labels from CLIP" (ECCV 2022), section 3.2.

    Args:
        visual: The network of open_clip; its weights are the tower's.
        log_scale: Logarithm of what similarities of images and texts are multiplied with.

    Attributes:
        patch: Input pixels per cell of the last feature map.
        prefix: Class tokens: none.
    """

    prefix = 0
    log_scale: Tensor

    def __init__(self, visual: Any, log_scale: Tensor) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("log_scale", log_scale.detach().reshape(()).clone())
        self._attends = hasattr(visual, "attnpool")
        if not self._attends and not _gives_maps(visual.trunk):
            raise ConfigError(
                f"this image tower of open_clip, {type(visual.trunk).__name__} of timm, gives no feature maps whose "
                "cells could be compared with texts; take a vision transformer, a ConvNeXt or a ResNet."
            )
        self.patch = self.stage_names()[-1][2]

    def stage_names(self) -> list[tuple[str, int, int]]:
        """Name, channels and stride of each feature map, from fine to coarse."""
        if self._attends:
            channels = [getattr(self.visual, f"layer{i}")[-1].conv3.out_channels for i in (1, 2, 3, 4)]
            return [(f"layer{i + 1}", each, 4 * 2**i) for i, each in enumerate(channels)]
        return [
            (f"trunk.{s['module']}", int(s["num_chs"]), int(s["reduction"])) for s in self.visual.trunk.feature_info
        ]

    def read(self, images: Tensor, wanted: Collection[int]) -> dict[int, tuple[Tensor, Any]]:
        """The wanted feature maps (b, c, h, w); the stage after the last one is the shared space."""
        count = len(self.stage_names())
        maps, last = self._maps(images, min(max(wanted) + 1, count))
        found: dict[int, tuple[Tensor, Any]] = {index: (maps[index], None) for index in wanted if index < count}
        if count in wanted:
            found[count] = (self._cells(last), None)
        return found

    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The image (b, d) and its cells (b, d, h, w) in the space shared with texts, not normalised."""
        last = self._maps(images, len(self.stage_names()))[1]
        return self._pooled(last), self._cells(last)

    def _maps(self, images: Tensor, count: int) -> tuple[list[Tensor], Tensor]:
        """The first feature maps, and what would be pooled after the last of all."""
        if not self._attends:
            last, maps = self.visual.trunk.forward_intermediates(
                images, indices=list(range(count)), stop_early=True, output_fmt="NCHW"
            )
            return maps, last
        maps = [self.visual.stem(images)]
        for index in range(count):
            maps.append(getattr(self.visual, f"layer{index + 1}")(maps[-1]))
        return maps[1:], maps[-1]

    def _pooled(self, last: Tensor) -> Tensor:
        if not self._attends:
            pooled: Tensor = self.visual.head(self.visual.trunk.forward_head(last))
            return pooled
        pool = self.visual.attnpool
        places = resample_abs_pos_embed(pool.positional_embedding[None], list(last.shape[2:]))[0]
        out: Tensor = functional_call(pool, {"positional_embedding": places}, last)
        return out

    def _cells(self, last: Tensor) -> Tensor:
        flat = last.flatten(2).mT
        if self._attends:
            pool = self.visual.attnpool
            embedded = pool.c_proj(pool.v_proj(flat))
        else:
            alone = flat.flatten(0, 1)[:, :, None, None]
            embedded = self.visual.head(self.visual.trunk.forward_head(alone)).unflatten(0, flat.shape[:2])
        cells: Tensor = embedded.mT.unflatten(2, last.shape[2:])
        return cells


def _gives_maps(trunk: Any) -> bool:
    """Whether the network's last features are a map with channels first, which its head pools by their mean."""
    pooling = getattr(getattr(trunk, "head", None), "global_pool", None)
    maps = hasattr(trunk, "forward_intermediates") and getattr(trunk, "output_fmt", "NCHW") == "NCHW"
    return maps and hasattr(trunk, "feature_info") and getattr(pooling, "pool_type", "") == "avg"
