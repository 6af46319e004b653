"""Maps of any trained classifier, with no training: where in the image it saw the class.

`boxless.maps.extract` takes a map by its name in `MAPS`; nothing heavy is imported before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy
from boxless.maps.table import DEFAULT_MAP as DEFAULT_MAP
from boxless.maps.table import MAPS as MAPS

if TYPE_CHECKING:
    from boxless.maps.base import MapExtractor as MapExtractor
    from boxless.maps.base import Maps as Maps
    from boxless.maps.base import extract as extract
    from boxless.maps.layers import list_layers as list_layers
    from boxless.maps.session import Session as Session

_HOMES = {
    "MapExtractor": "base",
    "Maps": "base",
    "Session": "session",
    "extract": "base",
    "list_layers": "layers",
}
__all__ = sorted([*_HOMES, "DEFAULT_MAP", "MAPS"])

__getattr__, __dir__ = lazy(__name__, _HOMES, ("DEFAULT_MAP", "MAPS"))
