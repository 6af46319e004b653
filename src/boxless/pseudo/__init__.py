"""Pseudo-labels: what a localizer learns from where images have a class and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.pseudo.pixels import choose_boxes as choose_boxes
    from boxless.pseudo.pixels import sample_pixels as sample_pixels
    from boxless.pseudo.pixels import sample_seeds as sample_seeds

_HOMES = {
    "choose_boxes": "pixels",
    "sample_pixels": "pixels",
    "sample_seeds": "pixels",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
