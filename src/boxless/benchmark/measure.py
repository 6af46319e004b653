"""A finished run on the images of a split: measured once, and kept beside it."""

from __future__ import annotations

import zipfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.benchmark.figures import Scores
from boxless.benchmark.plan import Evaluation
from boxless.data.catalog import read_catalog
from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.predict.localizer import Localizer
from boxless.protocol.inputs import items_of, true_boxes, with_boxes
from boxless.protocol.passes import Pass
from boxless.protocol.scoring import FIELD_LEVEL, Scoring
from boxless.protocol.threshold import RUN, parse_sources
from boxless.runs import CARD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EVALUATIONS = "evaluations"
FORMAT = "boxless benchmark 1"


def measure(folder: Path, evaluation: Evaluation, device: str, listener: Listener) -> Scores:
    """What a run finds on each image, with its own weights and threshold; read back if it was measured before.

    Raises:
        RunError, DataError, ConfigError: The run or the data cannot be used.
    """
    path = folder / EVALUATIONS / f"benchmark-{evaluation.split}-{evaluation.contours}.npz"
    key = blake2b(FORMAT.encode() + (folder / CARD).read_bytes()).hexdigest()
    found = _read(path, key)
    if found is None:
        found = _measured(folder, evaluation, device, listener)
        with atomic_write(path, "wb") as file:
            arrays: dict[str, Any] = {**found.figures, "right": found.right.astype(np.float32)}
            np.savez_compressed(file, key=np.array(key), names=np.array(found.names), **arrays)
    return found


def _read(path: Path, key: str) -> Scores | None:
    """What was kept of this very run; None if there is nothing, or of another training in the same folder."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            figures = {name: kept[name] for name in kept.files if name not in ("key", "names", "right")}
            return Scores(tuple(kept["names"].tolist()), figures, kept["right"].astype(np.float64))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _measured(folder: Path, evaluation: Evaluation, device: str, listener: Listener) -> Scores:
    localizer = Localizer.load(folder, device=device)
    run = localizer.run
    data = run.recipe.data
    catalog = read_catalog(data.source, format=data.format, images=data.images, listener=listener)
    items = items_of(catalog, run.classes, evaluation.split)
    truth = true_boxes(catalog, evaluation.split, listener)
    scoring = Scoring(parse_sources(RUN, run.threshold), contours=evaluation.contours, replicates=0)
    work = Pass(run, localizer.default_batch_size(), named=False)
    names: list[str] = []
    overlaps, recognised = [], []
    listener.begin(f"{folder}: evaluating {evaluation.split}", len(items))
    for done, mapped in work.over(items):
        if mapped is not None:
            mapped, boxes = with_boxes(mapped, truth, work.refused)
            if mapped.items:
                names += [item.name for item in mapped.items]
                overlaps.append(scoring.overlaps(mapped.maps, boxes, mapped.sizes))
                recognised.append(mapped.named.first)
        listener.advance(done)
    listener.end()
    for name, reason in work.refused:
        listener.note(f"{name}: not measured: {reason}")
    if not names:
        raise DataError(f"{catalog.root}: no image of split {evaluation.split} could be read; nothing was measured.")
    return _scores(names, np.concatenate(overlaps), np.concatenate(recognised))


def _scores(names: list[str], overlaps: Floats, recognised: NDArray[np.bool_]) -> Scores:
    """Figures of each image.

    Args:
        names: Of the images.
        overlaps: (n, 1 + t) the box's IoU at the run's threshold, then at each of the sweep; nan without a true box.
        recognised: (n,) whether the first class is right.
    """
    right = np.where(np.isnan(overlaps), np.nan, 100.0 * (overlaps >= FIELD_LEVEL))
    figures = {
        "box_accuracy": right[:, 0],
        "mean_iou": overlaps[:, 0],
        "class_accuracy": 100.0 * recognised,
        "top1_localization": right[:, 0] * recognised,
    }
    return Scores(tuple(names), figures, right[:, 1:])
