"""boxless list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from boxless.cli.options import Json
from boxless.errors import UnknownNameError

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Listing:
    """One thing that can be listed."""

    what: str  # one sentence
    header: Sequence[str]
    rows: Callable[[], Rows]


def list_names(
    table: Annotated[str | None, typer.Argument(metavar="TABLE", help="Which; without it, what can be listed.")] = None,
    as_json: Json = False,
) -> None:
    """List methods, backbones, datasets, formats, maps or annotators.

    'boxless show method NAME' and 'boxless show backbone NAME' say more of one of them.
    """
    from boxless.cli.output import Output

    with Output(as_json=as_json) as output:
        rows: Rows
        if table is None:
            header, rows = ["table", "what it lists"], [(name, each.what) for name, each in TABLES.items()]
        elif table in TABLES:
            header, rows = list(TABLES[table].header), TABLES[table].rows()
        else:
            raise UnknownNameError("table", table, TABLES)
        output.table(rows, header)
        if table in _AFTER:
            output.say(f"\n{_AFTER[table]}")
        output.finish([dict(zip(header, row, strict=True)) for row in rows])


def _methods() -> Rows:
    from boxless.cli.prose import summary
    from boxless.methods import METHODS

    return [(name, summary(METHODS, name)) for name in METHODS]


def _backbones() -> Rows:
    from boxless.backbones.table import BACKBONES

    return [(row.name, row.kind, f"{row.parameters:g}", row.licence, row.note) for row in BACKBONES]


def _maps() -> Rows:
    from boxless.cli.prose import class_summary
    from boxless.maps import MAPS

    return [(name, class_summary(MAPS, name)) for name in MAPS]


def _annotators() -> Rows:
    from boxless.cli.prose import class_summary
    from boxless.pseudo.table import ANNOTATORS

    return [(name, class_summary(ANNOTATORS, name)) for name in ANNOTATORS]


def _datasets() -> Rows:
    from boxless.data.catalog import CLIPS, SAMPLE

    return [
        (SAMPLE, "bundled: clothes on photographs, 10 classes, boxes and masks for val and test"),
        (CLIPS, "bundled: short clips of the same clothes in motion, boxes for every frame of val and test"),
    ]


def _formats() -> Rows:
    from boxless.cli.prose import summary
    from boxless.data.sources import SOURCES
    from boxless.formats import FORMATS

    read: Rows = [("read", name, summary(SOURCES, name)) for name in SOURCES]
    return read + [("written", name, summary(FORMATS, name)) for name in FORMATS]


TABLES = {
    "methods": Listing("what train --method takes", ("name", "what"), _methods),
    "backbones": Listing(
        "what train --backbone takes: a choice with licences and sizes",
        ("name", "kind", "M parameters", "licence", "note"),
        _backbones,
    ),
    "datasets": Listing("what train, inspect and evaluate know by name", ("name", "what"), _datasets),
    "formats": Listing("what train reads and what predict writes", ("direction", "name", "what"), _formats),
    "maps": Listing("what explain --map takes", ("name", "what"), _maps),
    "annotators": Listing("what annotate --annotator takes", ("name", "what"), _annotators),
}
_AFTER = {
    "backbones": "Any other model of timm works too, such as resnet26d, or of open_clip, as open_clip:RN101/openai.",
    "datasets": "Your own folder of images, with one folder per class, works the same way.",
}
