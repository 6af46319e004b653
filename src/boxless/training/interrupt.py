"""Ctrl-C while training: the run ends between two steps, with all that was done saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the user asked for an end."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._event.is_set()

    def raise_if_asked(self) -> None:
        """End here if the run is to end: for work that notes its own progress."""
        if self._event.is_set():
            raise KeyboardInterrupt

    def ask(self) -> None:
        """Ask for an end between two steps; asked twice, it comes at once."""
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Within it, Ctrl-C and a termination signal end the run between two steps; asked again, they end it at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
