"""Labelled images of any known format, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.data.cache import cache_folder as cache_folder
    from boxless.data.catalog import Catalog as Catalog
    from boxless.data.catalog import read_catalog as read_catalog
    from boxless.data.checks import Inspection as Inspection
    from boxless.data.checks import inspect as inspect
    from boxless.data.images import list_images as list_images
    from boxless.data.images import read_image as read_image
    from boxless.data.masks import Masks as Masks
    from boxless.data.masks import read_masks as read_masks
    from boxless.data.transforms import Augment as Augment
    from boxless.data.transforms import Preprocess as Preprocess
    from boxless.data.truth import Truth as Truth
    from boxless.data.truth import read_truth as read_truth

_HOMES = {
    "Augment": "transforms",
    "Catalog": "catalog",
    "Inspection": "checks",
    "Masks": "masks",
    "Preprocess": "transforms",
    "Truth": "truth",
    "cache_folder": "cache",
    "inspect": "checks",
    "list_images": "images",
    "read_catalog": "catalog",
    "read_image": "images",
    "read_masks": "masks",
    "read_truth": "truth",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy(__name__, _HOMES)
