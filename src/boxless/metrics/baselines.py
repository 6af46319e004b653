"""Boxes and maps that need no model: what any localizer must beat, reported beside it.

The centred box is strong where objects are photographed in the middle: Choe et al., CVPR 2020, found a centred Gaussian
close to, and at times above, trained methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError
from boxless.metrics._draws import check_whole, draw_words

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SIDES = tuple(step / 20 for step in range(1, 21))
"""Sides of centred boxes to choose among, as fractions of the image's: 0.05, 0.1, ... 1."""


def centred_boxes(sizes: ArrayLike, side: float = 0.7) -> NDArray[np.float64]:
    """A box in the middle of each image.

    Args:
        sizes: (n, 2), width and height in pixels.
        side: The box's width and height as a fraction of the image's, in (0, 1]. Fixed, so that it saw no true box.

    Returns:
        Boxes (n, 4).

    Raises:
        DataError: Sizes or a side that are not as said above.
    """
    given = np.asarray(sizes, dtype=np.float64).reshape(-1, 2) if np.size(sizes) == 0 else np.asarray(sizes, np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or not (given > 0).all():
        raise DataError(f"sizes: got {given.tolist()[:3]}; give (n, 2), the positive width and height of each image.")
    if not 0 < side <= 1:
        raise DataError(f"side: got {side}; it is a fraction of the image's sides, in (0, 1].")
    margin = given * (1 - side) / 2
    return np.concatenate([margin, given - margin], axis=1)


def whole_image_boxes(sizes: ArrayLike) -> NDArray[np.float64]:
    """The box that is the whole image, for each of ``sizes`` (n, 2), width and height: (n, 4)."""
    return centred_boxes(sizes, 1.0)


def centred_sides(sizes: ArrayLike, sides: Sequence[float] = SIDES) -> NDArray[np.float64]:
    """Centred boxes of several sides for each image, to find the side that fits a data set best.

    The best side is an oracle where it is chosen on the very boxes that it is measured on.

    Args:
        sizes: (n, 2), width and height in pixels.
        sides: Fractions of the image's sides, each in (0, 1].

    Returns:
        Boxes (n, s, 4).

    Raises:
        DataError: What `centred_boxes` refuses, or no side.
    """
    if not len(sides):
        raise DataError("sides: got none; give at least one fraction of the image's sides, in (0, 1].")
    return np.stack([centred_boxes(sizes, side) for side in sides], axis=1)


def random_maps(
    names: Sequence[str], size: tuple[int, int] = (224, 224), grid: int = 14, seed: int = 0
) -> NDArray[np.float32]:
    """Maps of a localizer that knows nothing: coarse noise, enlarged as the maps of a network are.

    A map is a function of its image's name and the seed only, whatever else is in the batch.

    Args:
        names: The name of each of n images.
        size: Height and width of the maps.
        grid: Uniform noise of grid x grid is enlarged bilinearly, corners not aligned; at least 2. A network of stride
            16 makes 14 x 14 of an image of 224 pixels.
        seed: Another seed gives other maps.

    Returns:
        Maps (n, height, width), each stretched to [0, 1].

    Raises:
        DataError: Names that are not text, a seed below 0, a size without a pixel, or a grid below 2.
    """
    height, width = (check_whole(side, "size") for side in size)
    if min(height, width) < 1:
        raise DataError(f"size: got {size}; height and width of a map are 1 or more.")
    if check_whole(grid, "grid") < 2:
        raise DataError(f"grid: got {grid}; noise of fewer than 2 x 2 is a constant map, which names no place.")
    words = draw_words(names, grid * grid, seed, "random maps")
    noise = words.reshape(len(words), grid, grid).astype(np.float32)
    maps: NDArray[np.float32] = np.matmul(_enlarging(grid, height) @ noise, _enlarging(grid, width).T, dtype=np.float32)
    lowest, highest = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    span = highest - lowest
    maps -= lowest
    maps /= np.where(span == 0, np.float32(1), span)
    return maps


def _enlarging(source: int, target: int) -> NDArray[np.float32]:
    """The matrix (target, source) that resizes a row bilinearly, corners not aligned."""
    place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    distance = np.abs(place[:, None] - np.arange(source))
    matrix: NDArray[np.float32] = np.maximum(1 - distance, 0).astype(np.float32)
    return matrix
