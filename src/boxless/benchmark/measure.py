"""A finished run on the images of a split, with its own weights and threshold; measured once, and kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.benchmark.figures import Scores
from boxless.data.catalog import read_catalog
from boxless.ops.components import default_thresholds
from boxless.protocol.evaluations import Evaluator
from boxless.protocol.inputs import true_boxes
from boxless.protocol.scoring import FIELD_LEVEL
from boxless.protocol.table import protocol_table
from boxless.protocol.threshold import OTSU
from boxless.runs import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boxless.benchmark.plan import Evaluation, Job
    from boxless.listener import Listener
    from boxless.protocol.evaluations import Evaluation as Evaluated
    from boxless.protocol.shown import Shown

ANY = "last"  # of the criteria of a run that chose nothing: all have the same weights


def evaluator(job: Job, evaluation: Evaluation, device: str, listener: Listener) -> Evaluator:
    """What measures all runs on the data set of a job.

    Raises:
        DataError, ConfigError: The data cannot be used.
    """
    data = job.recipe.data
    catalog = read_catalog(data.source, format=data.format, images=data.images, listener=listener)
    truth = true_boxes(catalog, evaluation.split, listener)
    return Evaluator(catalog, evaluation.split, truth, evaluation.contours, device, listener=listener)


def measure(folder: Path, card: Mapping[str, Any], evaluate: Evaluator) -> Scores:
    """What a run finds on each image, with its own weights and at its own threshold.

    Raises:
        RunError, DataError, ConfigError: The run or the data cannot be used.
    """
    by = card["selection"]["by"]
    found = evaluate(folder, card["classes"], by if by in card["criteria"] else ANY, WEIGHTS)
    for name, reason in found.refused:
        evaluate.listener.note(f"{name}: not measured: {reason}")
    return scores(found, card["threshold"]["rule"])


def protocol_of(jobs: Sequence[Job], evaluation: Evaluation, device: str, listener: Listener) -> Shown:
    """What each way of selecting weights, configuration and threshold gives, of the finished jobs on one data set.

    With several seeds a configuration is chosen for each: the best seed of a method is none of its configurations.

    Raises:
        MissingTruthError: The data have no boxes.
        RunError, DataError, ConfigError: As `boxless.protocol.table.protocol_table`.
    """
    data = jobs[0].recipe.data
    several = len({job.seed for job in jobs}) > 1
    return protocol_table(
        [job.folder for job in jobs],
        data.source,
        groups=[f"{job.method}, seed {job.seed}" if several else job.method for job in jobs],
        split=evaluation.split,
        contours=evaluation.contours,
        format=data.format,
        images=data.images,
        device=device,
        listener=listener,
    )


def scores(found: Evaluated, rule: str | float) -> Scores:
    """Figures of each image at a threshold: Otsu's, or the nearest to a number of the sweep's."""
    overlaps = found.overlaps.astype(np.float64)
    column = 0 if rule == OTSU else 1 + int(np.abs(default_thresholds() - float(rule)).argmin())
    right = np.where(np.isnan(overlaps), np.nan, 100.0 * (overlaps >= FIELD_LEVEL))
    figures = {
        "box_accuracy": right[:, column],
        "mean_iou": overlaps[:, column],
        "class_accuracy": 100.0 * found.right_class,
        "top1_localization": right[:, column] * found.right_class,
    }
    return Scores(found.names, figures, right[:, 1:], found.videos)
