"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, final

from boxless.cli.printable import printable
from boxless.listener import Listener

SECONDS_BETWEEN_LINES = 10.0


@final
class PlainProgress(Listener):
    """Lines for logs: one at the start of a stretch of work, one every ten seconds, one at its end."""

    def __init__(self) -> None:
        self._task, self._total, self._done = "", 0, 0
        self._figures = ""
        self._said, self._shown = 0.0, 0

    def note(self, text: str) -> None:
        """Write the sentence."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """Show the new stretch."""
        self.end()
        self._task, self._total, self._done, self._figures = task, total, done, ""
        self._say()

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Count, and show it when it is time."""
        self._done += steps
        self._figures = said(figures) or self._figures
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._say()

    def end(self) -> None:
        """Show how far the stretch came."""
        if self._task and self._done != self._shown:
            self._say()
        self._task = ""

    def _say(self) -> None:
        self._said, self._shown = time.monotonic(), self._done
        figures = f"  {self._figures}" if self._figures else ""
        self.note(f"{self._task}: {self._done:,} of {self._total:,}{figures}")


@final
class TerminalProgress(Listener):
    """A bar with the time that is left and the latest figures."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._id: Any = None

    def note(self, text: str) -> None:
        """Write the sentence above the bar."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(f"{printable(text)}\n")

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """Start a bar."""
        from rich import progress
        from rich.console import Console

        self.end()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            progress.TextColumn("{task.fields[figures]}", markup=False),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._id = self._bar.add_task(task, total=total, completed=done, figures="")

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            shown = {"figures": said(figures)} if figures else {}
            self._bar.update(self._id, advance=steps, **shown)

    def end(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def said(figures: dict[str, float]) -> str:
    """Figures as a line shows them."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
