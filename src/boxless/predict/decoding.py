"""Images decoded a batch ahead of the network, in threads; errors are passed on as values."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from boxless.errors import DataError
from boxless.predict.sources import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as the network takes it."""

    source: Source
    size: tuple[int, int]  # (width, height), upright
    squares: tuple[NDArray[np.uint8], ...]  # (side, side, 3) at each scale that is looked at; the first is at scale 1
    image: Image.Image | None = None  # kept for a second look at parts of it; perhaps at a reduced scale


@dataclass(frozen=True, slots=True)
class Refused:
    """An image that cannot be used, and why."""

    source: Source
    error: DataError


@dataclass(frozen=True, slots=True)
class Large:
    """An image that is looked at in tiles, and is not held whole."""

    source: Source


Outcome = Decoded | Refused | Large
Decode = Callable[[Source], Outcome]


@final
class Decoders:
    """Threads that decode one batch at a time; none at all with no workers."""

    def __init__(self, decode: Decode, workers: int) -> None:
        self._decode = decode
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="boxless") if workers > 0 else None
        self._batch: list[Source] = []
        self._futures: list[Future[Outcome]] = []

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, batch: list[Source]) -> None:
        """Begin to decode a batch, if there are threads for it."""
        self._batch = batch
        if self._pool is not None:
            self._futures = [self._pool.submit(self._decode, source) for source in batch]

    def wait(self) -> list[Outcome]:
        """The batch that was started last, in order."""
        if self._pool is None:
            return [self._decode(source) for source in self._batch]
        return [future.result() for future in self._futures]
