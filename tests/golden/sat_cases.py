"""A small vision transformer with a spatial token, with weights that any machine draws alike, and images for it.

Its weights are named as the authors of SAT name them; in timm those of the transformer have the same names. Their code
takes grids of 14 x 14 only, and weighs the attention of the tenth block and of those after it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WIDTH, BLOCKS, HEADS, PATCH, SIDE, CLASSES = 24, 12, 3, 2, 28, 5
LABELS, AREA = (3, 1), 0.35
TOKEN, PLACE, HEAD = "loc_token", "loc_embed", "head"


def weights() -> dict[str, Tensor]:
    """Norms near one, and attention that is neither uniform nor on one token."""
    random = np.random.RandomState(0)  # its stream is fixed for all versions of numpy

    def draw(*shape: int, size: float, mean: float = 0.0) -> Tensor:
        return torch.from_numpy(mean + size * random.standard_normal(shape)).float()

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": draw(WIDTH, size=0.2, mean=1.0), f"{name}.bias": draw(WIDTH, size=0.2)}

    drawn = {
        "cls_token": draw(1, 1, WIDTH, size=0.5),
        "pos_embed": draw(1, (SIDE // PATCH) ** 2 + 1, WIDTH, size=0.5),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH, size=2 / PATCH),
        "patch_embed.proj.bias": draw(WIDTH, size=0.1),
        TOKEN: draw(1, 1, WIDTH, size=0.5),
        PLACE: draw(1, 1, WIDTH, size=0.5),
        f"{HEAD}.weight": draw(CLASSES, WIDTH, 3, 3, size=0.3),
        f"{HEAD}.bias": draw(CLASSES, size=0.3),
        **norm("norm"),
    }
    for index in range(BLOCKS):
        block = f"blocks.{index}."
        drawn |= norm(f"{block}norm1") | norm(f"{block}norm2")
        for name, rows, columns, size in (
            ("attn.qkv", 3 * WIDTH, WIDTH, 1.2),
            ("attn.proj", WIDTH, WIDTH, 0.7),
            ("mlp.fc1", 4 * WIDTH, WIDTH, 0.7),
            ("mlp.fc2", WIDTH, 4 * WIDTH, 0.7),
        ):
            drawn[f"{block}{name}.weight"] = draw(rows, columns, size=size * columns**-0.5)
            drawn[f"{block}{name}.bias"] = draw(rows, size=0.1)
    return drawn


def images() -> Tensor:
    """Two images (2, 3, 28, 28), as they come out of the normalisation."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal((len(LABELS), 3, SIDE, SIDE))).float()
