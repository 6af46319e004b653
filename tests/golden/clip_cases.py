"""A small CLIP with weights that any machine draws alike, and images, for maps that other programs made too.

Its weights are laid out as OpenAI's are (``visual.*``); in open_clip they have the same names.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, LAYERS, HEADS, PATCH, SIDE, DIMENSIONS = 128, 10, 2, 16, 96, 32
SCALE = 10.0  # of the cosines: with so few dimensions they are large
CLASSES, BACKGROUND = 20, 25
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SQUARE, WIDE, LARGE = (96, 96), (64, 112), (96, 160)
LABELS = ((0,), (8, 13))  # of the first and the second image
WINDOW, STEP = 64, 32
EVERY = 8  # of maps of an image's full size, each so manieth pixel is kept


def image_tower(*, flat: bool) -> dict[str, Tensor]:
    """The weights of the image tower: norms near one, and attention that is neither uniform nor on one token.

    Args:
        flat: All patches have the same position embedding, so that it does not matter how that is interpolated.
    """
    random = np.random.RandomState(0)  # its stream is fixed for all versions of numpy

    def draw(*shape: int, size: float, mean: float = 0.0) -> Tensor:
        return torch.from_numpy(mean + size * random.standard_normal(shape)).float()

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": draw(WIDTH, size=0.2, mean=1.0), f"{name}.bias": draw(WIDTH, size=0.2)}

    grid = SIDE // PATCH
    weights = {
        "class_embedding": draw(WIDTH, size=0.5),
        # In half precision, which one of the originals brings it to.
        "positional_embedding": draw(grid * grid + 1, WIDTH, size=0.5).half().float(),
        "proj": draw(WIDTH, DIMENSIONS, size=WIDTH**-0.5),
        "conv1.weight": draw(WIDTH, 3, PATCH, PATCH, size=2 / PATCH),
        **norm("ln_pre"),
        **norm("ln_post"),
    }
    for index in range(LAYERS):
        block = f"transformer.resblocks.{index}."
        weights |= norm(f"{block}ln_1") | norm(f"{block}ln_2")
        for name, rows, columns, size in (
            ("attn.in_proj_", 3 * WIDTH, WIDTH, 1.4),
            ("attn.out_proj.", WIDTH, WIDTH, 0.7),
            ("mlp.c_fc.", 4 * WIDTH, WIDTH, 0.7),
            ("mlp.c_proj.", WIDTH, 4 * WIDTH, 0.7),
        ):
            weights[f"{block}{name}weight"] = draw(rows, columns, size=size * columns**-0.5)
            weights[f"{block}{name}bias"] = draw(rows, size=0.1)
    if flat:
        weights["positional_embedding"][2:] = weights["positional_embedding"][1]
    return weights


def texts() -> tuple[Tensor, Tensor]:
    """Unit embeddings of the classes (k, d) and of the background words (m, d)."""
    drawn = torch.from_numpy(np.random.RandomState(1).standard_normal((CLASSES + BACKGROUND, DIMENSIONS))).float()
    units = F.normalize(drawn, dim=1)
    return units[:CLASSES], units[CLASSES:]


def pictures(size: tuple[int, int]) -> np.ndarray:
    """Two pictures (2, h, w, 3) of eight bits, smooth at the scale of some pixels."""
    coarse = np.random.RandomState(2).standard_normal((2, 3, size[0] // 8, size[1] // 8))
    smooth = F.interpolate(torch.from_numpy(coarse), size, mode="bilinear", align_corners=False)
    return (128 + 50 * smooth).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def images(size: tuple[int, int]) -> Tensor:
    """The pictures as CLIP takes them, (2, 3, h, w)."""
    values = torch.from_numpy(pictures(size)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def masks(size: tuple[int, int]) -> Tensor:
    """Maps (2, 3, h, w) for refinement."""
    coarse = torch.from_numpy(np.random.RandomState(3).standard_normal((2, 3, 5, 7))).float()
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False)
