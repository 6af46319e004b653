"""How long each stretch of a job takes."""

from __future__ import annotations

import time

from boxless.listener import Listener


class Clock(Listener):
    """The seconds of each stretch of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._task, self._since = "", 0.0

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._task, self._since = task, time.perf_counter()

    def end(self) -> None:
        self.seconds[self._task] = round(time.perf_counter() - self._since, 1)
