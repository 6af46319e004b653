"""What the samplers refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError


def checked_maps(maps: Tensor) -> Tensor:
    """Maps (b, h, w) in float32.

    Raises:
        DataError: Another shape, no pixel, not floats, or a value that is not in [0, 1].
    """
    if maps.ndim != 3 or not maps.numel() or not maps.is_floating_point():
        raise DataError(f"maps: got {maps.dtype} of shape {tuple(maps.shape)}; give floats (b, h, w), not empty.")
    levels = maps.float()
    if not bool(((levels >= 0) & (levels <= 1)).all()):  # written so that nan is refused
        raise DataError(
            f"maps: got values from {float(levels.min())} to {float(levels.max())}; "
            "maps are finite and lie in [0, 1]: see boxless.ops.normalize."
        )
    return levels


def check_boxes(boxes: Tensor, valid: Tensor, images: int) -> None:
    """Refuse boxes that are not (b, k, 4) floats, and ``valid`` if it is not (b, k) bool.

    Raises:
        DataError: As said.
    """
    if boxes.ndim != 3 or boxes.shape[2] != 4 or len(boxes) != images or not boxes.is_floating_point():
        raise DataError(
            f"boxes: got {boxes.dtype} of shape {tuple(boxes.shape)} for {images} images; "
            "give floats (b, k, 4), each x0, y0, x1, y1 in pixels of the map."
        )
    if valid.shape != boxes.shape[:2] or valid.dtype != torch.bool:
        raise DataError(
            f"valid: got {valid.dtype} of shape {tuple(valid.shape)}; give bool of shape {tuple(boxes.shape[:2])}: "
            "which boxes exist."
        )


def check_shares(**shares: float) -> None:
    """Refuse shares outside (0, 1].

    Raises:
        ConfigError: As said.
    """
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ConfigError(f"{name}: got {share}; it is a part of the pixels, in (0, 1].")


def check_counts(**counts: int) -> None:
    """Refuse numbers of pixels below 1.

    Raises:
        ConfigError: As said.
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name}: got {count}; draw at least 1 pixel.")


def check_squares(**sides: int) -> None:
    """Refuse sides of squares that have no pixel in their middle.

    Raises:
        ConfigError: As said.
    """
    for name, side in sides.items():
        if side < 1 or side % 2 == 0:
            raise ConfigError(f"{name}: got {side}; the side of the square is odd: 1 (none), 3, 5 ...")
