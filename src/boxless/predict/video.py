"""Predict a video frame by frame: lines and a table of what was found when, and the video with the boxes drawn on."""

from __future__ import annotations

import csv
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import numpy as np
from PIL import Image

from boxless.errors import ConfigError, DataError, RunError
from boxless.files import atomic_write, unwritable
from boxless.formats.records import confidence, pixels
from boxless.maps.sanity import Warned, Warnings
from boxless.predict.options import Options
from boxless.predict.overlay import draw
from boxless.predict.steady import Steady
from boxless.predict.video_io import Frame, Video, VideoWriter, is_video

if TYPE_CHECKING:
    from boxless.predict.engine import Engine
    from boxless.predict.localizer import Localizer
    from boxless.types import Box, Prediction

__all__ = ["COLUMNS", "LINES", "OVERLAY", "TABLE", "VideoOutcome", "is_video", "predict_video"]

Progress = Callable[[int, int], None]  # (frames done, frames in all as far as the file says)

LINES, TABLE, OVERLAY = "frames.jsonl", "frames.csv", "overlay.mp4"
COLUMNS = ("frame", "time", "label", "class_score", "x0", "y0", "x1", "y1", "box_label", "box_score", "threshold")
_HELD = 1 << 25  # pixels of frames that wait for the network at once; three bytes each, and as much again drawn on


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """What became of a video."""

    frames: int  # looked at
    seconds: float  # the time of the last of them
    found: int  # of them with a box
    cuts: int  # between scenes, where smoothing began anew
    files: tuple[Path, ...]  # lines, table, and the overlay if it was asked for
    refused: tuple[tuple[str, str], ...]  # (name, reason) if a part of it could not be decoded
    frames_per_second: float  # looked at in a second
    sound: bool  # whether the video has sound, which no overlay has
    warnings: tuple[Warned, ...]  # what is wrong with the maps


def predict_video(
    localizer: Localizer,
    path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    smooth: float = 0.0,
    every: int = 1,
    overlays: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> VideoOutcome:
    """Predict the frames of a video, in memory that does not grow with its length.

    Writes ``frames.jsonl``, a line a frame as they are looked at, with a line about the job before and one after them;
    ``frames.csv``, a row a box; and with ``overlays`` ``overlay.mp4``, with the times of the video and no sound. Table
    and overlay are there whole or not at all; the lines of a job that was stopped stay, without the last one. A video
    that was stopped begins from its start again.

    Args:
        localizer: What looks at the frames.
        path: The video.
        out: The folder for all that is written.
        options: How boxes are found.
        smooth: Seconds over which scores and maps are averaged, see `Steady`; 0 looks at each frame alone.
        every: Look at one frame of so many.
        overlays: Write the video with its boxes; of the frames that were looked at.
        overwrite: Replace what an earlier job finished.
        batch_size: Frames in one forward pass, at most.
        progress: Called after each frame.

    Raises:
        ConfigError: A smoothing or a step that cannot be, or tiles, which are for images.
        DataError: The file is no video, or not one frame of it can be decoded.
        MissingExtraError: PyAV is not installed.
        RunError: The folder cannot be written to, or holds what an earlier job finished.
    """
    path, out, options = Path(path), Path(out), options or Options()
    _check(smooth, every, options)
    started = time.perf_counter()
    steady = Steady(smooth) if smooth > 0 else None
    with ExitStack() as stack:
        video = stack.enter_context(Video(path, every))
        source = _Ahead(video, steady)
        facts = _facts(localizer, video, source.first, options, smooth)
        if not overwrite:
            _refuse_finished(out)
        results = _Results(stack, out, facts, video, source.first, overlays=overlays)
        try:
            at_once = _batch(localizer.engine, source.first, batch_size)
            for prediction in localizer.predict_arrays(
                source.pictures(), options, batch_size=at_once, maps=overlays, steady=steady
            ):
                results.add(prediction, source.waiting.popleft())
                if progress is not None:
                    progress(results.frames, max(video.count(), results.frames))
        except KeyboardInterrupt as stop:
            stop.add_note(f"The frames so far are in {out / LINES}; the same command begins the video from its start.")
            raise
        results.end(video.broken, steady.cuts if steady else 0)
    speed = results.frames / (time.perf_counter() - started)
    refused = ((path.name, f"{path}: {video.broken}; what could be decoded was kept."),) if video.broken else ()
    return VideoOutcome(
        results.frames, results.seconds, results.found, steady.cuts if steady else 0, results.files, refused, speed,
        video.sound, results.warnings.all(),
    )  # fmt: skip


@final
class _Ahead:
    """The frames of a video on their way to the network, kept until they are drawn on."""

    def __init__(self, video: Video, steady: Steady | None) -> None:
        self.waiting: deque[Frame] = deque()
        self._video, self._steady = video, steady
        self._frames = iter(video)
        first = next(self._frames, None)
        if first is None:
            reason = f" ({video.broken})" if video.broken else ""
            raise DataError(
                f"{video.path}: no frame of it can be decoded{reason}; copy it again, or convert it to MP4."
            )
        self.first = first

    def pictures(self) -> Iterator[tuple[str, Any]]:
        """Each frame with a name."""
        frame: Frame | None = self.first
        while frame is not None:
            if self._steady is not None:
                self._steady.expect(frame.time, frame.picture)
            self.waiting.append(frame)
            yield f"{self._video.path.name}#{frame.index:06}", frame.picture
            frame = next(self._frames, None)


@final
class _Results:
    """The files of one job, open."""

    def __init__(
        self, stack: ExitStack, out: Path, facts: dict[str, Any], video: Video, first: Frame, *, overlays: bool
    ) -> None:
        self.frames, self.found, self.seconds = 0, 0, 0.0
        self.warnings = Warnings()
        self.files = (out / LINES, out / TABLE, *([out / OVERLAY] if overlays else []))
        self._table = csv.writer(stack.enter_context(atomic_write(out / TABLE)), lineterminator="\n")
        self._table.writerow(COLUMNS)
        self._overlay: VideoWriter | None = None
        if overlays:
            file = stack.enter_context(atomic_write(out / OVERLAY, "wb"))
            height, width = first.picture.shape[:2]
            self._overlay = VideoWriter(file, (width, height), video.rate / video.every)
        self._lines: IO[str] = stack.enter_context(_opened(out / LINES))
        self._write(facts)

    def add(self, prediction: Prediction, frame: Frame) -> None:
        """What was found in a frame."""
        self.frames += 1
        self.found += bool(prediction.boxes)
        self.seconds = frame.time
        self.warnings.add(prediction.name, prediction.warning)
        self._write(_line(prediction, frame))
        self._table.writerows(_rows(prediction, frame))
        if self._overlay is not None:
            self._overlay.write(np.asarray(draw(Image.fromarray(frame.picture), prediction)), frame.time)

    def end(self, broken: str | None, cuts: int) -> None:
        """Close the overlay, and say in the last line that this is all."""
        if self._overlay is not None:
            self._overlay.close()
        self._write({"end": True, "frames": self.frames, "seconds": self.seconds, "cuts": cuts, "broken": broken})

    def _write(self, fields: dict[str, Any]) -> None:
        try:
            self._lines.write(json.dumps(fields, separators=(",", ":")) + "\n")
            self._lines.flush()
        except OSError as error:
            raise RunError(unwritable(Path(self._lines.name), error)) from error


def _check(smooth: float, every: int, options: Options) -> None:
    if not 0 <= smooth < float("inf"):
        raise ConfigError(f"smooth is {smooth}; expected seconds, such as 0.5, or 0 for none.")
    if every < 1:
        raise ConfigError(f"every is {every}; expected 1 (each frame) or more.")
    if options.tile is not None:
        raise ConfigError("tiles are for images, and not for the frames of a video; leave tile out.")


def _facts(localizer: Localizer, video: Video, first: Frame, options: Options, smooth: float) -> dict[str, Any]:
    engine = localizer.engine
    return {
        "boxless_video": 1,
        "video": str(video.path.absolute()),
        "run": engine.digest,
        "classes": list(localizer.classes(options)),
        "options": options.fields(),
        "smooth": smooth,
        "every": video.every,
        "size": [first.picture.shape[1], first.picture.shape[0]],
        "frames_per_second": round(float(video.rate), 3),
        "selected_by": engine.selected_by,
        "threshold_from": engine.threshold_from,
    }


def _refuse_finished(out: Path) -> None:
    """A job that was stopped may be replaced, one that ended not."""
    path = out / LINES
    if path.is_file():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            if b'{"end":true' in file.read():
                raise RunError(f"{path}: holds the frames of a video; choose another --out, or add --overwrite.")


def _batch(engine: Engine, first: Frame, asked: int | None) -> int:
    height, width = first.picture.shape[:2]
    return int(max(1, min(asked or engine.batch_size, _HELD // (height * width))))


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="ascii")
    except OSError as error:
        raise RunError(unwritable(path, error)) from error


def _line(prediction: Prediction, frame: Frame) -> dict[str, Any]:
    fields = {
        "frame": frame.index,
        "time": round(frame.time, 6),
        "label": prediction.label,
        "score": confidence(prediction.score),
        "threshold": confidence(prediction.threshold),
        "boxes": [_box(box, prediction.size) for box in prediction.boxes],
    }
    if prediction.presence is not None:
        fields |= {"presence": confidence(prediction.presence), "absent": prediction.absent}
    return fields if prediction.warning is None else {**fields, "warning": prediction.warning}


def _box(box: Box, size: tuple[int, int]) -> dict[str, Any]:
    fields = {"xyxy": [*map(pixels, box.xyxy)], "label": box.label, "score": confidence(box.score)}
    return fields if box.mask is None else {**fields, "mask": {"size": [*size[::-1]], "counts": box.mask}}


def _rows(prediction: Prediction, frame: Frame) -> Iterator[tuple[object, ...]]:
    head = (frame.index, round(frame.time, 6), prediction.label, confidence(prediction.score))
    threshold = confidence(prediction.threshold)
    for box in prediction.boxes:
        yield (*head, *map(pixels, box.xyxy), box.label, confidence(box.score), threshold)
    if not prediction.boxes:
        yield (*head, "", "", "", "", "", "", threshold)
