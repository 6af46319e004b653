"""Where a verb's words go: results to stdout, notes and progress to stderr; JSON to stdout if that is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import typer

from boxless.cli.printable import printable
from boxless.cli.progress import PlainProgress, TerminalProgress
from boxless.listener import Listener

LISTED_REFUSALS = 20


class Output:
    """The output of one verb, for a ``with`` statement: so a progress bar is put away before an error is shown.

    Args:
        as_json: Print one JSON document on stdout, and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.listener: Listener = TerminalProgress() if sys.stderr.isatty() else PlainProgress()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.listener.end()

    def say(self, text: str = "") -> None:
        """A line of the result, for people."""
        if not self.as_json:
            sys.stdout.write(f"{printable(text)}\n")

    def table(self, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
        """Rows of the result, in aligned columns."""
        if not self.as_json and rows:
            sys.stdout.write(aligned(rows, header))

    def finish(self, value: Any, refused: Sequence[tuple[str, str]] = ()) -> None:
        """End the verb: the JSON document if it was asked for, what was refused, and exit code 1 if anything was."""
        if self.as_json:
            if isinstance(value, Mapping):
                value = {**value, "refused": [{"name": name, "reason": reason} for name, reason in refused]}
            sys.stdout.write(printable(json.dumps(value, indent=2, ensure_ascii=False, default=str)) + "\n")
        if refused:
            sys.stdout.flush()
            _list_refused(refused)
            raise typer.Exit(1)


def _list_refused(refused: Sequence[tuple[str, str]]) -> None:
    images = "1 image was" if len(refused) == 1 else f"{len(refused):,} images were"
    lines = [f"{images} refused; everything else is done:"]
    lines += [f"  {reason if name in reason else f'{name}: {reason}'}" for name, reason in refused[:LISTED_REFUSALS]]
    if len(refused) > LISTED_REFUSALS:
        lines.append(f"  ... and {len(refused) - LISTED_REFUSALS:,} more; --json lists them all.")
    typer.echo(printable("\n".join(lines)), err=True)


def aligned(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Text in columns: as wide as it needs on a pipe, where lines are searched, and wrapped to fit a terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    terminal = Console(file=sys.stdout)
    table = Table(box=None, show_header=bool(header), header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, _ in enumerate(rows[0]):
        title = header[number] if header else ""
        table.add_column(title if terminal.is_terminal else title.replace("\n", " "), overflow="fold")
    for row in rows:
        lines = row if terminal.is_terminal else [cell.replace("\n", " ") for cell in row]
        table.add_row(*map(_plain, lines))
    buffer = StringIO()
    colour = terminal.is_terminal and not terminal.no_color
    Console(
        file=buffer,
        width=terminal.width if terminal.is_terminal else 10_000,
        force_terminal=colour,
        color_system="auto" if colour else None,
        highlight=False,
    ).print(table)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _plain(text: str) -> Any:
    """A cell that is text and no markup: paths may hold brackets."""
    from rich.text import Text

    return Text(printable(text))


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
