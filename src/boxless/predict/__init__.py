"""From a run and any number of images to boxes: `Localizer` gives a stream, `predict_to` files that can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.predict.engine import Engine as Engine
    from boxless.predict.engine import Said as Said
    from boxless.predict.localizer import Localizer as Localizer
    from boxless.predict.options import Options as Options
    from boxless.predict.sources import Source as Source
    from boxless.predict.sources import Sources as Sources
    from boxless.predict.writing import Outcome as Outcome
    from boxless.predict.writing import how_to_resume as how_to_resume
    from boxless.predict.writing import predict_to as predict_to

_HOMES = {
    "Engine": "engine",
    "Localizer": "localizer",
    "Options": "options",
    "Outcome": "writing",
    "Said": "engine",
    "Source": "sources",
    "Sources": "sources",
    "how_to_resume": "writing",
    "predict_to": "writing",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
