"""Pure functions over maps and boxes, loaded when first asked for: boxes need no torch, and nothing needs all of it.

`boxless.ops.components` is the module; the function of the same name is ``boxless.ops.components.components``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.ops.anchors import orthogonal_anchors as orthogonal_anchors
    from boxless.ops.anchors import polar_anchors as polar_anchors
    from boxless.ops.anchors import random_anchors as random_anchors
    from boxless.ops.boxes import clip as clip
    from boxless.ops.boxes import iou as iou
    from boxless.ops.boxes import scale as scale
    from boxless.ops.components import Components as Components
    from boxless.ops.components import ComponentSweep as ComponentSweep
    from boxless.ops.components import Sweep as Sweep
    from boxless.ops.components import default_thresholds as default_thresholds
    from boxless.ops.components import largest_boxes as largest_boxes
    from boxless.ops.components import sweep_batch as sweep_batch
    from boxless.ops.components import sweep_boxes as sweep_boxes
    from boxless.ops.components import sweep_components as sweep_components
    from boxless.ops.maps import normalize as normalize
    from boxless.ops.maps import resize as resize
    from boxless.ops.otsu import otsu_thresholds as otsu_thresholds
    from boxless.ops.spectral import spectral_maps as spectral_maps

_HOMES = {
    "ComponentSweep": "components",
    "Components": "components",
    "Sweep": "components",
    "clip": "boxes",
    "default_thresholds": "components",
    "iou": "boxes",
    "largest_boxes": "components",
    "normalize": "maps",
    "orthogonal_anchors": "anchors",
    "otsu_thresholds": "otsu",
    "polar_anchors": "anchors",
    "random_anchors": "anchors",
    "resize": "maps",
    "scale": "boxes",
    "spectral_maps": "spectral",
    "sweep_batch": "components",
    "sweep_boxes": "components",
    "sweep_components": "components",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
