"""Where a classifier sees the classes that an image is known to show: what some methods hide or learn from."""

from __future__ import annotations

from torch import Tensor

from boxless.ops.maps import normalize


def attention(maps: Tensor, targets: Tensor) -> Tensor:
    """The normalised map of each image's class, without gradient; of several classes the highest at each place.

    The papers that read it know images of one class only; for several, a place belongs to the objects as soon as it
    belongs to one of them.

    Args:
        maps: (b, k, h, w) a map for each class.
        targets: (b, k) 1 for each class the image shows, else 0.

    Returns:
        (b, 1, h, w) in [0, 1]; zeros for an image that shows no class.
    """
    return (normalize(maps.detach()) * targets[:, :, None, None]).amax(1, keepdim=True)
