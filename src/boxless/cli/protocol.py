"""What boxless evaluate does with --protocol realistic, oracle or both: the protocol table of one run or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.cli.output import Output
    from boxless.report.tables import Table

TABLES = ("realistic", "oracle", "both")
SHOWN = ("box_accuracy", "mean_iou")  # in the terminal; the others are in the files and in JSON


def refuse_with_table(given: Mapping[str, object]) -> None:
    """Refuse what the table has no use for."""
    if wrong := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"{', '.join(wrong)}: the protocol table takes what the runs themselves selected; leave that out, or name "
            "threshold sources with --protocol."
        )


def show_table(
    what: tuple[Sequence[str], str | None], which: Any, settings: Mapping[str, Any], out: str | None, output: Output
) -> None:
    """Measure, print and write.

    Args:
        what: The runs, and the data.
        which: One of `TABLES`.
        settings: Of `boxless.protocol.table.protocol_table`.
        out: The folder for files, if any are wanted.
        output: Of the verb.
    """
    from boxless.protocol.table import protocol_table

    runs, data = what
    found = protocol_table(runs, data, **settings, listener=output.listener)
    output.listener.end()
    tables = found.tables(which)
    for name, table in tables.items():
        if name in SHOWN or name.removesuffix("-differences") in SHOWN:
            _print(table, output)
    document = found.to_dict(which)
    for note in dict.fromkeys(note for name in SHOWN for note in tables[name].notes):
        output.say(note)
    if out is None:
        output.say("IoU 0.3 and 0.7 and their mean with 0.5 (V2) are in the files of --out DIR, and in --json.")
    else:
        from boxless.files import write_json
        from boxless.report.tables import write_all

        folder = Path(out).expanduser()
        write_json(folder / "protocol.json", document)
        written = [folder / "protocol.json", *write_all(folder, "protocol", tables)]
        output.say("written: " + ", ".join(map(str, written)))
    output.finish(document, found.refused)


def _print(table: Table, output: Output) -> None:
    """As narrow as it can be: what selected, and below it where the threshold is from, in one column."""
    split = "threshold from" in table.header
    rows = [(row[0], f"{row[1]},\n{row[2]}", *row[3:]) if split else tuple(row) for row in table.rows]
    header = (table.header[0], "selected by, threshold from", *table.header[3:]) if split else tuple(table.header)
    output.say(table.title)
    output.table(rows, [title.replace(": ", ":\n") for title in header])
    output.say()
