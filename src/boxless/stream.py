"""An ordered, bounded map over threads: decoding goes on while the network works, and memory stays flat."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Source = TypeVar("Source")
Result = TypeVar("Result")


def default_workers() -> int:
    """Threads for decoding: the processors that this process may use, at most 8."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        available = os.cpu_count() or 1
    return min(available, 8)


def ordered_map(
    function: Callable[[Source], Result], sources: Iterable[Source], *, workers: int, ahead: int
) -> Iterator[Result]:
    """Yield ``function(source)`` in order, with at most ``ahead`` results waiting or under way.

    Threads and not processes: image decoding and resizing release the interpreter lock, nothing has to be pickled, and
    an interrupt reaches the one process there is. With no workers the function runs in the caller's thread. An
    exception of ``function`` is raised when its turn comes.
    """
    if workers <= 0:
        yield from map(function, sources)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="boxless") as pool:
        waiting: deque[Future[Result]] = deque()
        iterator = iter(sources)
        try:
            for source in islice(iterator, ahead):
                waiting.append(pool.submit(function, source))
            while waiting:
                result = waiting.popleft().result()
                for source in islice(iterator, 1):
                    waiting.append(pool.submit(function, source))
                yield result
        finally:  # the consumer stopped early, or something failed: do not wait for work that nobody wants
            for future in waiting:
                future.cancel()


def batched(items: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Lists of ``size`` items, the last one perhaps shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
