"""Boxes that need no model: what any localizer must beat, reported beside it.

The centred box is strong where objects are photographed in the middle: Choe et al., CVPR 2020, found a centred Gaussian
close to, and at times above, trained methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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
