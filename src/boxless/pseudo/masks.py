"""Pseudo-masks: where a classifier sees an image's class, cut by Otsu; for selection where val has no true mask.

The thesis takes them from a classifier of another architecture than the one that is trained (section 4.6.6,
InceptionV3), so that a method is not judged by its own mistakes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor

from boxless.maps import DEFAULT_MAP
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.pseudo.labels import RUN, check_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boxless.pseudo.annotators import Material


def class_masks(
    images: Tensor, labels: Tensor, material: Material, *, absent: Collection[int] = ()
) -> NDArray[np.bool_]:
    """The masks (b, h, w) of images (b, 3, h, w) and their classes (b,), for `boxless.protocol.mask_criterion`.

    Maps are the classifier's own where it is a run or a zero-shot localizer, else Grad-CAM of its network. All of the
    foreground counts and not its largest region alone: glands are many. A flat map shows no place and gives an empty
    mask.

    Args:
        images: As the material's backbone takes them.
        labels: Places in the classifier's classes.
        material: Of whose teacher the maps are.
        absent: Classes that show no object, such as normal tissue: their masks are empty.

    Raises:
        ConfigError: The classifier gives no map.
    """
    source = check_source(RUN if material.teacher.method else DEFAULT_MAP, {}, material.backbone, kind="maps")
    maps = source(material.backbone, material.teacher, images, labels)[:, :1].float()
    large = resize(maps, (images.shape[2], images.shape[3]))[:, 0].clamp(0, 1).cpu().numpy()
    highest = large.max((1, 2), keepdims=True)
    masks: NDArray[np.bool_] = large > otsu_thresholds(large)[:, None, None] * highest.astype(float)
    masks &= highest > large.min((1, 2), keepdims=True)
    for place in absent:
        masks[(labels == place).cpu().numpy()] = False
    return masks
