"""Who hears of progress: the command line shows it, a notebook may, a test counts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Listener:
    """Hears of a run's progress; the command line shows it. Every method may be left as it is."""

    def note(self, text: str) -> None:
        """One sentence that the user should read, such as which backbone was taken and why."""

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """A stretch of work starts: ``total`` steps, of which ``done`` were done in an earlier session."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Steps of the current stretch were done."""

    def end(self) -> None:
        """The current stretch is over."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch of training is over and saved; what this raises ends the training there.

        Args:
            record: The epoch's line of ``metrics.jsonl``; under ``select`` the figure that weights are selected by, if
                the stage has one.
        """


def counter(listener: Listener, task: str) -> Callable[[int, int], None]:
    """A callback ``(done, total)`` that tells a listener of one stretch of work, from its first call to its last."""
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        if shown < 0:
            listener.begin(task, total)
            shown = 0
        listener.advance(done - shown)
        shown = done
        if done == total:
            listener.end()

    return show
