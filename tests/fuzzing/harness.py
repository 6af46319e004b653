"""Readers on inputs that mean harm: each ends with a value or with an error of our own, soon, and in bounds."""

from __future__ import annotations

import hashlib
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from boxless.errors import BoxlessError

from .mutation import mutate
from .readers import NAMES, Reader, picture, readers

__all__ = ["Figures", "feed", "inputs", "keep", "readers"]

SECONDS, GROWTH = 5.0, 1 << 30  # of the processor for one input, and bytes of memory that it may add to the process
LOADING = 120.0  # seconds for the first input, for which modules are imported


class TooLong(BaseException):
    """An input that a reader is not done with in time. No reader's ``except Exception`` sees it."""


@dataclass
class Figures:
    """What came of one reader."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds of one input
    seconds: float = 0.0
    findings: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # by the place of the error: input, traceback


def inputs(name: str, reader: Reader, count: int, seed: int) -> Iterator[bytes]:
    """The sound files, then changed ones; the same for the same name and seed."""
    random, seeds = Random(f"{name} {seed}"), reader.seeds()
    yield from seeds[:count]
    for _ in range(count - len(seeds)):
        yield mutate(random, seeds, reader.kind)


def feed(reader: Reader, contents: Iterable[bytes], folder: Path, figures: Figures | None = None) -> Figures:
    """Give inputs to a reader, each in a folder that holds nothing else but the images of its data."""
    figures = figures or Figures()
    began = time.perf_counter()
    for content in contents:
        place = folder / "input"
        _prepare(place, reader, content)
        (folder / "latest").write_bytes(content)  # what is left of a process that died of it
        since, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures.inputs += 1
        try:
            with _in_time(SECONDS if figures.inputs > 1 else LOADING), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(place)
            figures.accepted += 1
        except BoxlessError as error:
            figures.refused += 1
            str(error).encode("utf-8", "backslashreplace")
        except (Exception, TooLong) as error:
            _note(figures, content, error)
        figures.slowest = max(figures.slowest, time.process_time() - since)
        if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 > GROWTH:
            _note(figures, content, MemoryError("it took more than 1 GiB"))
    figures.seconds += time.perf_counter() - began
    return figures


def _prepare(place: Path, reader: Reader, content: bytes) -> None:
    shutil.rmtree(place, ignore_errors=True)
    (place / reader.file).parent.mkdir(parents=True)
    (place / reader.file).write_bytes(content)
    if reader.with_images:
        for name in (*NAMES, "train_1.bmp", "train_3.bmp"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(_small())


def _small(made: list[bytes] = []) -> bytes:  # noqa: B006 - made once
    if not made:
        made.append(picture("PNG"))
    return made[0]


def _note(figures: Figures, content: bytes, error: BaseException) -> None:
    """One finding for each place in our code that an error comes from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/boxless/" in frame.filename]
    last = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
    told = "".join(traceback.format_exception(error)[-8:])
    figures.findings.setdefault(f"{type(error).__name__} {last}", (content, told))


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong(f"not done after {seconds:.0f} seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def keep(folder: Path, name: str, figures: Figures) -> list[Path]:
    """Write the inputs of findings to files, to be kept as cases."""
    written = []
    for content, _ in figures.findings.values():
        digest = hashlib.blake2b(content, digest_size=4).hexdigest()
        path = folder / f"{name.replace(': ', '-').replace(' ', '-')}-{digest}"
        path.write_bytes(content)
        written.append(path)
    return written
