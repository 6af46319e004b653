"""Prediction files that other programs open: one writer for each format, rules and limits in docs/formats.md.

Importing this package imports no format: writers are loaded by name, and need the standard library and Pillow at most.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.errors import ConfigError, nearest
from boxless.registry import Registry

if TYPE_CHECKING:
    from boxless.types import Prediction

__all__ = ["FORMATS", "write"]

FORMATS = Registry(
    "format",
    {
        "coco": "boxless.formats.coco:write",
        "yolo": "boxless.formats.yolo:write",
        "voc": "boxless.formats.voc:write",
        "labelstudio": "boxless.formats.labelstudio:write",
        "cvat": "boxless.formats.cvat:write",
        "csv": "boxless.formats.table:write",
        "wsol": "boxless.formats.wsol:write",
    },
)


def write(
    name: str, predictions: Iterable[Prediction], classes: Sequence[str], folder: Path, **options: str | float
) -> Path:
    """Write predictions under ``folder`` in the format ``name`` and return the main file.

    The predictions are taken one at a time and never kept. If the iterable raises, or the disk fills, what an earlier
    call wrote is still there and nothing half-written is.

    Args:
        name: One of ``FORMATS``.
        predictions: Any iterable, a generator too; it is read once.
        classes: Every class name, in the order of the class indices, also those that no box shows.
        folder: The output folder; each format writes only its own file or sub-folder there.
        **options: Settings of that format, such as ``image_prefix`` of ``labelstudio``.

    Raises:
        UnknownNameError: No such format.
        ConfigError: The format has no such option.
        DataError: A prediction that no file can hold, such as a name that leads out of the folder.
        RunError: The folder cannot be written to, or the disk is full.
    """
    writer = FORMATS.load(name)
    known = [each.name for each in inspect.signature(writer).parameters.values() if each.kind is each.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(f"format {name!r} has no option {option!r}; {nearest(option, known)}")
    written: Path = writer(predictions, classes, Path(folder), **options)
    return written
