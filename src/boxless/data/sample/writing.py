"""The sample as a folder of images sorted by class, with boxes and masks to evaluate against."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from boxless.data.sample.assets import Assets, load_assets
from boxless.data.sample.scene import Scene, render
from boxless.errors import ConfigError, RunError, UnknownNameError
from boxless.files import unwritable, write_json
from boxless.stream import default_workers, ordered_map

VERSION = 2  # raised whenever the same seed gives other images
CARD = "sample.json"
QUALITY = 92
WITH_TRUTH = ("val", "test")  # training has no boxes, so that no method can use them
_LEAST_SIZE = 64  # below this a garment has too few pixels to be told


class Job(NamedTuple):
    """An item to render."""

    split: str
    label: int
    number: int


def write_sample(
    folder: Path,
    *,
    seed: int = 0,
    size: int = 128,
    counts: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the sample into ``folder`` and return it; nothing is done if it is there already.

    The folder then holds ``train|val|test/<class>/<id>.jpg``, ``boxes.csv`` (half-open xyxy of val and test),
    ``masks/val|test/<class>/<id>.png`` (0 or 255) and ``sample.json``. It is written whole or not at all.

    Args:
        folder: Where to; it must be missing, empty, or hold this very sample.
        seed: Decides on backgrounds, clutter and poses; the garments of a split are always the same.
        size: Side of the images, in pixels.
        counts: Images of each class by split, at most as many as there are items; all of them if not given.
        progress: Called with the images done so far and their number in all.

    Raises:
        ConfigError: A size or count that cannot be had.
        UnknownNameError: ``counts`` names a split that does not exist.
        RunError: The folder holds something else, or cannot be written.
    """
    assets = load_assets()
    numbers = numbers_of("sample", assets, counts, size)
    card = {"version": VERSION, "seed": seed, "size": size, "classes": list(assets.classes), "counts": numbers}
    jobs = jobs_of(assets, numbers)
    draw = partial(_draw, assets, seed, size)
    return write_whole(folder, CARD, card, lambda made: _fill(made, assets, jobs, draw, progress))


def write_whole(folder: Path, name: str, card: Mapping[str, object], fill: Callable[[Path], None]) -> Path:
    """Have a folder filled, whole or not at all, and return it; nothing is done if it holds this very card already.

    Args:
        folder: Where to; it must be missing, empty, or hold what the card says.
        name: Of the card's file, which is written when all else is there.
        card: What the folder holds.
        fill: Given a new folder to write into.

    Raises:
        RunError: The folder holds something else, or cannot be written.
    """
    if _is_there(folder, name, card):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name[:64]}.", dir=folder.parent))
        try:
            made = scratch / "sample"  # one level down, since the scratch folder itself is private to its owner
            made.mkdir()
            fill(made)
            write_json(made / name, card)
            made.replace(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise RunError(unwritable(folder, error)) from error
    return folder


def jobs_of(assets: Assets, numbers: Mapping[str, int]) -> list[Job]:
    """What is rendered: every split's items, class by class."""
    return [
        Job(split, label, index)
        for split, number in numbers.items()
        for label in range(len(assets.classes))
        for index in range(number)
    ]


def numbers_of(what: str, assets: Assets, counts: Mapping[str, int] | None, size: int) -> dict[str, int]:
    """How many of each class a split gets, checked; all the items if not given.

    Raises:
        ConfigError: A size or count that cannot be had.
        UnknownNameError: ``counts`` names a split that does not exist.
    """
    if size < _LEAST_SIZE:
        raise ConfigError(f"{what}: size is {size}, below {_LEAST_SIZE} pixels; give a larger one.")
    if counts is None:
        return dict(assets.counts)
    for split, number in counts.items():
        if split not in assets.counts:
            raise UnknownNameError("split", split, assets.counts)
        if not 0 <= number <= assets.counts[split]:
            raise ConfigError(
                f"{what}: {number} items a class were asked for in {split}; give 0 to {assets.counts[split]}."
            )
    return {split: counts[split] for split in assets.counts if split in counts}


def _draw(assets: Assets, seed: int, size: int, job: Job) -> Scene:
    return render(assets, *job, seed=seed, size=size)


def _is_there(folder: Path, name: str, card: Mapping[str, object]) -> bool:
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise RunError(f"{folder}: is a file; the sample needs a folder. Name another place.")
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == card:
        return True
    if any(folder.iterdir()):
        what = "another sample" if found is not None else "other files"
        raise RunError(f"{folder}: holds {what}, which are left as they are; name a folder that is new or empty.")
    return False


def _fill(
    folder: Path,
    assets: Assets,
    jobs: Sequence[Job],
    draw: Callable[[Job], Scene],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Render every job into ``folder``, and the boxes of those that have a truth."""
    for split, label in dict.fromkeys((job.split, job.label) for job in jobs):
        for base in (folder, folder / "masks") if split in WITH_TRUTH else (folder,):
            (base / split / assets.classes[label]).mkdir(parents=True)

    def write(job: Job) -> tuple[str, int, int, int, int] | None:
        scene = draw(job)
        stem = f"{job.split}/{assets.classes[job.label]}/{job.number:04d}"
        Image.fromarray(scene.image).save(folder / f"{stem}.jpg", quality=QUALITY)
        if job.split not in WITH_TRUTH:
            return None
        Image.fromarray(scene.mask).convert("L").save(folder / "masks" / f"{stem}.png")
        return (f"{stem}.jpg", *scene.box)

    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "x0", "y0", "x1", "y1"))
        workers = default_workers()
        for done, row in enumerate(ordered_map(write, jobs, workers=workers, ahead=4 * workers), start=1):
            if row is not None:
                table.writerow(row)
            if progress is not None:
                progress(done, len(jobs))
