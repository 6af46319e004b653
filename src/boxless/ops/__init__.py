"""Pure functions over maps and boxes, loaded when first asked for: boxes need no torch, and nothing needs all of it.

`boxless.ops.components` is the module; the function of the same name is ``boxless.ops.components.components``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boxless.ops.boxes import clip, iou, scale
    from boxless.ops.components import (
        Components,
        ComponentSweep,
        Sweep,
        default_thresholds,
        largest_boxes,
        sweep_batch,
        sweep_boxes,
        sweep_components,
    )
    from boxless.ops.maps import normalize, resize
    from boxless.ops.otsu import otsu_thresholds

__all__ = [
    "ComponentSweep",
    "Components",
    "Sweep",
    "clip",
    "default_thresholds",
    "iou",
    "largest_boxes",
    "normalize",
    "otsu_thresholds",
    "resize",
    "scale",
    "sweep_batch",
    "sweep_boxes",
    "sweep_components",
]

_HOMES = {
    "boxes": ("clip", "iou", "scale"),
    "components": (
        "ComponentSweep",
        "Components",
        "Sweep",
        "default_thresholds",
        "largest_boxes",
        "sweep_batch",
        "sweep_boxes",
        "sweep_components",
    ),
    "maps": ("normalize", "resize"),
    "otsu": ("otsu_thresholds",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"boxless.ops.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
