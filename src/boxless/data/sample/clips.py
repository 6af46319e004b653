"""Short clips of the sample's garments in motion, with the box of every frame to evaluate against."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

from PIL import Image

from boxless.data.sample.assets import Assets, load_assets
from boxless.data.sample.moving import render_clip
from boxless.data.sample.scene import Scene
from boxless.data.sample.writing import QUALITY, WITH_TRUTH, Job, jobs_of, numbers_of, write_whole
from boxless.errors import ConfigError
from boxless.predict.video_io import VideoWriter
from boxless.stream import default_workers, ordered_map

VERSION = 1  # raised whenever the same seed gives other clips
CARD = "clips.json"
COUNTS = {"train": 20, "val": 4, "test": 8}  # clips of each class, if not said
RATE = Fraction(12)  # frames a second, in video files

Place = tuple[Path, tuple[int, ...]]  # of a frame: its file, or a video file and its number there


def write_clips(
    folder: Path,
    *,
    seed: int = 0,
    size: int = 128,
    counts: Mapping[str, int] | None = None,
    frames: int = 24,
    videos: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render short clips into ``folder`` and return it; nothing is done if they are there already.

    In each clip one garment moves, turns and grows or shrinks, while clutter moves too and the camera pans; in about
    three of ten it is out of sight for a while. The garments of a split are the first ones of the sample's same split.

    The folder then holds ``train|val|test/<class>/<clip>/<frame>.jpg``, or ``<clip>.mp4`` with ``videos``, and
    ``clips.json``; and ``boxes.csv`` with a line for every frame of val and test, half-open xyxy of what is visible,
    whose corners are empty where less than a fifth of the object is inside the frame. It is written whole or not at
    all.

    Args:
        folder: Where to; it must be missing, empty, or hold these very clips.
        seed: Decides on backgrounds, clutter, and how all moves.
        size: Side of the frames, in pixels.
        counts: Clips of each class by split, at most as many as the sample has items; ``COUNTS`` if not given.
        frames: Of each clip, 2 or more.
        videos: Write MP4 files and not folders of frames; this needs the extra ``video``.
        progress: Called with the clips done so far and their number in all.

    Raises:
        ConfigError: A size, a count or a number of frames that cannot be had.
        UnknownNameError: ``counts`` names a split that does not exist.
        RunError: The folder holds something else, or cannot be written.
        MissingExtraError: Videos are asked for without PyAV.
    """
    assets = load_assets()
    if frames < 2:
        raise ConfigError(f"clips: {frames} frames a clip were asked for; give 2 or more.")
    numbers = numbers_of("clips", assets, COUNTS if counts is None else counts, size)
    card = {"version": VERSION, "seed": seed, "size": size, "classes": list(assets.classes), "counts": numbers}
    card |= {"frames": frames, "videos": videos}
    jobs = jobs_of(assets, numbers)
    draw = partial(_draw, assets, seed, size, frames)
    keep = _keep_video if videos else _keep_frames
    return write_whole(folder, CARD, card, lambda made: _fill(made, assets, jobs, draw, keep, progress))


def _draw(assets: Assets, seed: int, size: int, frames: int, job: Job) -> list[Scene]:
    return list(render_clip(assets, *job, seed=seed, size=size, frames=frames))


def _fill(
    folder: Path,
    assets: Assets,
    jobs: Sequence[Job],
    draw: Callable[[Job], list[Scene]],
    keep: Callable[[Path, Sequence[Scene]], list[Place]],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Render every job into ``folder``, and the boxes of those that have a truth."""
    for split, label in dict.fromkeys((job.split, job.label) for job in jobs):
        (folder / split / assets.classes[label]).mkdir(parents=True)

    def write(job: Job) -> list[tuple[str | int, ...]]:
        scenes = draw(job)
        clip = folder / job.split / assets.classes[job.label] / f"{job.number:04d}"
        places = keep(clip, scenes)
        if job.split not in WITH_TRUTH:
            return []
        rows: list[tuple[str | int, ...]] = []
        for (file, number), scene in zip(places, scenes, strict=True):
            rows.append((file.relative_to(folder).as_posix(), *number, *_corners(scene)))
        return rows

    frame = ("frame",) if keep is _keep_video else ()
    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", *frame, "x0", "y0", "x1", "y1"))
        workers = default_workers()
        for done, rows in enumerate(ordered_map(write, jobs, workers=workers, ahead=2 * workers), start=1):
            table.writerows(rows)
            if progress is not None:
                progress(done, len(jobs))


def _corners(scene: Scene) -> tuple[str | int, ...]:
    """Of the object's box, empty where there is none."""
    return scene.box if scene.mask.any() else ("", "", "", "")


def _keep_frames(clip: Path, scenes: Sequence[Scene]) -> list[Place]:
    """Write a folder of JPEG files; the file of each frame."""
    clip.mkdir()
    files = [clip / f"{number:04d}.jpg" for number in range(len(scenes))]
    for file, scene in zip(files, scenes, strict=True):
        Image.fromarray(scene.image).save(file, quality=QUALITY)
    return [(file, ()) for file in files]


def _keep_video(clip: Path, scenes: Sequence[Scene]) -> list[Place]:
    """Write an MP4 file; it, and the number in it, of each frame."""
    path = clip.with_suffix(".mp4")
    with path.open("wb") as file:
        height, width = scenes[0].mask.shape
        writer = VideoWriter(file, (width, height), RATE)
        for number, scene in enumerate(scenes):
            writer.write(scene.image, float(number / RATE))
        writer.close()
    return [(path, (number,)) for number in range(len(scenes))]
