"""Where a classifier sees the classes that an image is known to show: what some methods hide or learn from."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from boxless.methods.base import pick
from boxless.ops.maps import normalize


def attention(maps: Tensor, targets: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The normalised map of each image's class, without gradient; of several classes the highest at each place.

    The papers that read it know images of one class only; for several, a place belongs to the objects as soon as it
    belongs to one of them.

    Args:
        maps: (b, k, h, w) a map for each class.
        targets: (b, k) 1 for each class the image shows, else 0.
        size: Height and width that maps are brought to before they are normalised; None leaves them.

    Returns:
        (b, 1, h, w) in [0, 1]; zeros for an image that shows no class.
    """
    # Only the maps of classes that are shown are enlarged: of a thousand classes all would fill the memory.
    most = max(int(targets.sum(1).max()), 1)
    shown, classes = targets.topk(most, 1)
    seen = pick(maps.detach(), classes)
    if size is not None:
        seen = enlarge(seen, size)
    return (normalize(seen) * shown[:, :, None, None]).amax(1, keepdim=True)


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (b, n, h, w) of any range at another size, bilinearly."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
