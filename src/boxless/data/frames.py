"""Frames of video files as JPEG files, taken once into the cache: some of every shot, and those that are asked for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from bisect import bisect
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar, final

from PIL import Image

from boxless.data.cache import cache_folder
from boxless.data.shots import Cuts
from boxless.errors import DataError
from boxless.listener import Listener, counter
from boxless.predict.video_io import Frame, Video
from boxless.stream import default_workers

if TYPE_CHECKING:
    from typing import Any

Value = TypeVar("Value")

LISTING = "frames.json"  # beside the frames of a video
APART = 0.2  # seconds between frames that are kept; those between them look much the same
MOST = 64  # frames of one shot that are kept
QUALITY = 95  # of the JPEG files
_VERSION = 1  # raised whenever the same video gives other frames
_WAITING = 4 * MOST  # frames of a shot that may wait for its end, before every second of them is given up
_EARLY = 0.005  # seconds by which a frame may come before its time, since files round times


@dataclass(frozen=True, slots=True)
class Frames:
    """What was taken from one video."""

    folder: Path  # of the files, see `file_of`
    count: int  # of frames that were decoded
    starts: tuple[int, ...]  # the first frame of each shot
    kept: tuple[int, ...]  # frames spread evenly over each shot, in time
    named: tuple[int, ...]  # frames that were asked for, as far as they are there
    broken: str | None  # what of the video cannot be decoded

    def shot_of(self, frame: int) -> int:
        """The number of the shot that a frame is in."""
        return bisect(self.starts, frame) - 1


def file_of(frame: int) -> str:
    """The name of a frame's file."""
    return f"{frame:06d}.jpg"


def spread(values: Sequence[Value], most: int) -> list[Value]:
    """At most so many of them, at even distances: the middle ones of ``most`` equal parts."""
    if len(values) <= most:
        return list(values)
    return [values[(2 * part + 1) * len(values) // (2 * most)] for part in range(most)]


def take_frames(videos: Sequence[tuple[Path, Iterable[int]]], listener: Listener) -> list[Frames | str]:
    """The frames of each video, from the cache where they are there; for a video that gives none, the reason.

    A video is known by its path, size and time of change. Several are decoded side by side.

    Args:
        videos: Files, each with the numbers of frames that are wanted besides those that are kept.
        listener: Hears of each video that is decoded.

    Raises:
        DataError: The cache cannot be written to.
        MissingExtraError: PyAV is not installed, and a video has to be decoded.
    """
    found: list[Frames | str | None] = []
    jobs: list[_Job] = []
    for place, (video, wanted) in enumerate(videos):
        try:
            job = _Job(place, video, frozenset(wanted))
            found.append(_known(job))
        except OSError as error:
            found.append(f"{video}: cannot be read ({error.strerror})")
            continue
        if found[place] is None:
            jobs.append(job)
    show, stop = counter(listener, "taking frames from videos"), Event()
    with ThreadPoolExecutor(max(1, default_workers() // 2), thread_name_prefix="boxless") as pool:
        places = {pool.submit(_take, job, stop): job.place for job in jobs}
        try:
            for done, future in enumerate(as_completed(places), start=1):
                found[places[future]] = future.result()
                show(done, len(jobs))
        finally:
            stop.set()  # if this was interrupted, nobody waits for a long video
            pool.shutdown(wait=False, cancel_futures=True)
    return [each for each in found if each is not None]


@final
class _Job:
    """A video whose frames are wanted, and where they belong."""

    def __init__(self, place: int, video: Path, wanted: frozenset[int]) -> None:
        seen = video.stat()
        self.place, self.video, self.wanted = place, video, wanted
        facts = [_VERSION, str(video.absolute()), seen.st_size, seen.st_mtime_ns, APART, MOST, QUALITY, sorted(wanted)]
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
        self.folder = cache_folder() / "frames" / digest


def _known(job: _Job) -> Frames | None:
    """What the cache has, if all of it is there."""
    try:
        listed = json.loads((job.folder / LISTING).read_text(encoding="utf-8"))
        numbers = {name: tuple(map(int, listed[name])) for name in ("starts", "kept", "named")}
        frames = Frames(job.folder, int(listed["count"]), broken=listed["broken"], **numbers)
        there = set(os.listdir(job.folder))  # noqa: PTH208 - names are all that is needed
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return frames if there.issuperset(map(file_of, {*frames.kept, *frames.named})) else None


def _take(job: _Job, stop: Event) -> Frames | str:
    """Decode a video into its folder, whole or not at all."""
    parent = job.folder.parent
    try:
        with Video(job.video) as video:
            parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{job.folder.name}.", dir=parent))
            try:
                return _fill(scratch / "frames", job, video, stop)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except DataError as error:
        return str(error)
    except OSError as error:
        raise DataError(
            f"{parent}: frames of {job.video} cannot be kept there ({error.strerror or error}); free space, or choose "
            f"another folder with the environment variable BOXLESS_CACHE."
        ) from error


def _fill(made: Path, job: _Job, video: Video, stop: Event) -> Frames | str:
    made.mkdir()  # below the scratch folder, which is private to its owner
    taking = _Taking(made, job.wanted)
    for frame in video:
        if stop.is_set():
            return "stopped"  # nobody reads it
        taking.add(frame)
    taking.end()
    if not taking.starts:
        return f"{job.video}: no frame of it can be decoded{f' ({video.broken})' if video.broken else ''}"
    starts, kept, named = map(tuple, (taking.starts, taking.kept, taking.named))
    frames = Frames(job.folder, taking.last + 1, starts, kept, named, video.broken)
    listed: dict[str, Any] = {"video": str(job.video.absolute()), **asdict(frames)}
    del listed["folder"]
    (made / LISTING).write_text(json.dumps(listed), encoding="utf-8")
    try:
        made.replace(job.folder)
    except OSError:
        if _known(job) is None:  # what lies there is not whole
            shutil.rmtree(job.folder)
            made.replace(job.folder)
    return frames


@final
class _Taking:
    """Writes the frames of a video that are to be kept, as they come.

    Of a shot whose end has not come yet more frames are held than will be kept; where they are too many, every second
    one goes and twice the time passes between those that follow.
    """

    def __init__(self, folder: Path, wanted: frozenset[int]) -> None:
        self.folder, self.wanted = folder, wanted
        self.starts: list[int] = []
        self.kept: list[int] = []
        self.named: list[int] = []
        self.last = -1
        self._cuts = Cuts()
        self._held: list[tuple[int, float]] = []  # of this shot: number and time
        self._apart = APART

    def add(self, frame: Frame) -> None:
        """Look at the next frame."""
        self.last = frame.index
        if self._cuts.before(frame.picture) or not self.starts:
            self.end()
            self.starts.append(frame.index)
        due = not self._held or frame.time >= self._held[-1][1] + self._apart - _EARLY
        if due:
            self._held.append((frame.index, frame.time))
        if named := frame.index in self.wanted:
            self.named.append(frame.index)
        if due or named:
            Image.fromarray(frame.picture).save(self.folder / file_of(frame.index), quality=QUALITY)
        if len(self._held) > _WAITING:
            self._keep(self._held[::2])
            self._apart *= 2

    def end(self) -> None:
        """The shot is over."""
        self._keep(spread(self._held, MOST))
        self.kept += [index for index, _ in self._held]
        self._held, self._apart = [], APART

    def _keep(self, chosen: list[tuple[int, float]]) -> None:
        for index, _ in set(self._held) - set(chosen):
            if index not in self.wanted:
                (self.folder / file_of(index)).unlink()
        self._held = chosen
