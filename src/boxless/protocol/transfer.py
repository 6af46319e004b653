"""Which run is taken and where its map is cut: the four combinations of thesis table 4.2, as figures with replicates.

BT, BV: of the configurations of a method the run that is best on test, or by the criterion on val. TT, VT: the
threshold that is best on test, or the one that the criterion's boxes gave on val. What test chose is chosen anew in
each bootstrap replicate, as optimistic in each; what val chose is held.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boxless.metrics.drawn import estimate
from boxless.ops.components import default_thresholds
from boxless.protocol.scoring import FIELD_LEVEL, LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.metrics.bootstrap import Estimate
    from boxless.protocol.evaluations import Evaluation

    Floats = NDArray[np.float64]  # here (1 + replicates,): a figure of all images, then in each replicate

MEASURES = ("box_accuracy", "mean_iou", "box_accuracy_v2", "box_accuracy_0.3", "box_accuracy_0.7")
"""The figures of a table, by the keys of `boxless.protocol.figures.AT_THRESHOLD`: tables 4.2, 4.6, 4.7 and 4.8."""

FIELDS: Mapping[str, float | None] = {
    "mean_iou": None,
    **{"box_accuracy" if level == FIELD_LEVEL else f"box_accuracy_{level}": level for level in LEVELS},
}
"""The measures that are means over images, each with its IoU level."""
KEPT = 1000  # replicates that an evaluation keeps the best figures of

TT, OTSU = "TT", "Otsu"
BV_VT, BV_OTSU, BV_TT, BT_VT, BT_TT = COMBINATIONS = ("BV-VT", f"BV-{OTSU}", "BV-TT", "BT-VT", "BT-TT")
Rule = float | str  # a threshold, or TT or OTSU


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A figure of a combination."""

    drawn: Floats
    run: str  # which run of the method it is, of all images
    threshold: str  # at which threshold it was cut, in words

    def estimate(self) -> Estimate:
        """With its interval."""
        return estimate(self.drawn)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A run of a method, with the weights that one criterion selected."""

    name: str
    value: float | None  # the criterion's figure on val
    threshold: float | None  # VT; None where the criterion looks at no box
    figures: Mapping[Rule, Mapping[str, Floats]]  # by rule and measure
    best_thresholds: Mapping[str, float]  # TT by measure, of all images; nan where each level has its own


def highest(overlaps: NDArray[np.float32], weights: NDArray[np.float32]) -> Floats:
    """Each of `FIELDS` at its best threshold, chosen in each replicate: (fields, 1 + replicates).

    Args:
        overlaps: (n, t), the IoU of images with a true box at each threshold.
        weights: Of these images, from `boxless.metrics.drawn.draw`.
    """
    return np.stack([_means(overlaps, level, weights).max(axis=1) for level in FIELDS.values()])


def figures(
    evaluation: Evaluation, weights: NDArray[np.float32], rules: Iterable[Rule]
) -> tuple[dict[Rule, dict[str, Floats]], dict[str, float]]:
    """Every measure at each rule, and the thresholds that are best of all images.

    Args:
        evaluation: Of the weights of a run.
        weights: Of its images with a true box, from `boxless.metrics.drawn.draw`.
        rules: Thresholds; the best one and Otsu's are always among the figures.
    """
    overlaps = evaluation.overlaps[evaluation.boxed].astype(np.float32)
    best = evaluation.highest[:, : weights.shape[1]]
    if best.shape[1] < weights.shape[1]:  # more than are kept
        best = highest(overlaps[:, 1:], weights)
    columns: dict[Rule, int] = {OTSU: 0}
    columns |= {rule: 1 + int(np.abs(default_thresholds() - float(rule)).argmin()) for rule in rules}
    found: dict[Rule, dict[str, Floats]] = {TT: dict(zip(FIELDS, best, strict=True))}
    for rule, column in columns.items():
        one = overlaps[:, column, None]
        found[rule] = {key: _means(one, level, weights)[:, 0] for key, level in FIELDS.items()}
    for each in found.values():
        each["box_accuracy_v2"] = np.mean([each[key] for key, level in FIELDS.items() if level], axis=0)
    everyone = weights[:, :1]
    at = {key: int(_means(overlaps[:, 1:], level, everyone)[0].argmax()) for key, level in FIELDS.items()}
    thresholds = {key: float(default_thresholds()[place]) for key, place in at.items()}
    return found, thresholds | {"box_accuracy_v2": math.nan}


def _means(overlaps: NDArray[np.float32], level: float | None, weights: NDArray[np.float32]) -> Floats:
    """Mean IoU, or box accuracy in per cent at a level, of each column: (1 + replicates, t)."""
    values, scale = (overlaps, 1.0) if level is None else ((overlaps >= level).astype(np.float32), 100.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum(axis=0, dtype=np.float64)[:, None]
        means: Floats = scale * (weights.T @ values).astype(np.float64) / total
    return means


def combine(candidates: Sequence[Candidate], measure: str) -> dict[str, Figure]:
    """The figure of each combination; those are absent for which val says nothing.

    BT is the run that is best on test at its best threshold, by the very measure. Of equally good runs it is the first.

    Args:
        candidates: The runs of a method, each with the weights that one criterion selected.
        measure: One of `MEASURES`.
    """
    found: dict[str, Figure] = {}
    best = np.stack([each.figures[TT][measure] for each in candidates])
    chosen = best.argmax(axis=0)  # in each replicate
    bt, bv = candidates[int(chosen[0])], best_on_val(candidates)
    if bv is not None:
        if bv.threshold is not None:
            found[BV_VT] = Figure(bv.figures[bv.threshold][measure], bv.name, f"{bv.threshold:.3f}")
        found[BV_OTSU] = Figure(bv.figures[OTSU][measure], bv.name, "each map's own")
        found[BV_TT] = Figure(bv.figures[TT][measure], bv.name, _best(bv, measure))
    thresholds = [each.threshold for each in candidates]
    if None not in thresholds:
        carried = np.stack([each.figures[each.threshold or 0.0][measure] for each in candidates])
        drawn = np.take_along_axis(carried, chosen[None], axis=0)[0]
        found[BT_VT] = Figure(drawn, bt.name, f"{bt.threshold:.3f}")
    found[BT_TT] = Figure(best.max(axis=0), bt.name, _best(bt, measure))
    return found


def best_on_val(candidates: Sequence[Candidate]) -> Candidate | None:
    """BV; None if the criterion gives no figure to choose between several runs by."""
    if len(candidates) == 1:
        return candidates[0]
    values = [each.value for each in candidates]
    known = [value for value in values if value is not None]
    return candidates[values.index(max(known))] if len(known) == len(values) else None


def _best(candidate: Candidate, measure: str) -> str:
    threshold = candidate.best_thresholds[measure]
    return "the best of each IoU level" if math.isnan(threshold) else f"{threshold:.3f}"
