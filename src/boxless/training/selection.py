"""What a finished run says of its selection: which weights each criterion chose, and the threshold found for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxless.protocol.guard import Guard, no_better_than_centred
from boxless.recipe import Protocol
from boxless.training.checkpoints import Progress
from boxless.training.kept import name_of
from boxless.training.tracking import CLASSIFICATION, LAST, ORACLE, PSEUDO, BoxSet, Tracker, primary_of

MEASURES = {"iou": "mean IoU", "box_accuracy": "MaxBoxAcc", "pxap": "PxAP"}
OTSU = "otsu"


def title(criterion: str, measure: str) -> str:
    """A criterion in words."""
    if criterion == CLASSIFICATION:
        return "class accuracy on val"
    if criterion == LAST:
        return "last epoch"
    what = "masks" if measure == "pxap" else "boxes"
    if criterion == ORACLE:
        return f"{MEASURES[measure]} with the TRUE {what} of val (ORACLE)"
    return f"{MEASURES[measure]} with pseudo-{what} of val, {criterion.removeprefix(f'{PSEUDO}:')}"


@dataclass(frozen=True, slots=True)
class Settled:
    """How a run's weights and its threshold were chosen.

    Args:
        protocol: Of the recipe.
        sets: The boxes that were measured with.
        past: Of each stage what chose its weights, as `Progress` has it.
        trained: Whether anything was trained.
    """

    protocol: Protocol
    sets: Sequence[BoxSet]
    past: Sequence[Mapping[str, Any]]
    trained: bool

    @property
    def _last(self) -> Mapping[str, Any]:
        return self.past[-1]

    @property
    def _pseudo(self) -> BoxSet | None:
        return primary_of(self.sets)

    def threshold(self) -> dict[str, Any]:
        """The rule that the run predicts with, and where it is from."""
        rule, primary = self.protocol.threshold, self._pseudo
        if rule == OTSU:
            return {"rule": OTSU, "source": "each map's own histogram"}
        if rule != PSEUDO:
            return {"rule": rule, "source": "fixed by the user"}
        found = self._last["thresholds"].get(primary.criterion) if primary else None
        if primary is None or found is None:
            return {"rule": OTSU, "source": "each map's own histogram, as there are no pseudo-boxes of val"}
        measure = "pixel IoU" if primary.what == "masks" else MEASURES[self.protocol.measure]
        source = f"the best by {measure} on {primary.count:,} pseudo-{primary.what} of val, {primary.name}"
        return {"rule": found, "source": source}

    def selection(self) -> dict[str, Any]:
        """What chose the weights of the run."""
        last = self._last
        words = [f"{title(each['by'], self.protocol.measure)} ({each['stage']})" for each in self.past]
        criterion = title(last["by"], self.protocol.measure) if len(words) == 1 else ", then ".join(words)
        return {
            "criterion": criterion if self.trained else "none: the method does not train",
            "by": last["by"] if self.trained else "none",
            "measure": self.protocol.measure,
            "value": last["value"],
            "epoch": last["epoch"] if self.trained else None,
        }

    def criteria(self, weights: str) -> dict[str, Any]:
        """Of each criterion the epoch that it chose in the last stage, and where its weights are.

        A stage that leaves class scores as they are has no best epoch by class accuracy: its last one stands for it.

        Args:
            weights: The file of the run's own weights.
        """
        last = self._last
        best = dict(last["best"])
        if CLASSIFICATION not in best:
            known = [each["best"][CLASSIFICATION] for each in self.past if CLASSIFICATION in each["best"]]
            if known:
                best[CLASSIFICATION] = {**best[LAST], "value": known[-1]["value"]}
        return {
            criterion: {
                "title": title(criterion, self.protocol.measure),
                "oracle": criterion == ORACLE,
                "value": each["value"],
                "epoch": each["epoch"] if self.trained else None,
                "threshold": each["thresholds"].get(criterion),
                "thresholds": dict(each["thresholds"]),
                "weights": weights if each["epoch"] == last["epoch"] else name_of(int(each["epoch"])),
            }
            for criterion, each in sorted(best.items())
        }

    def supervision(self, zero_shot: bool) -> str:
        """What the run has seen, in words.

        Args:
            zero_shot: Whether the method knows classes by their names.
        """
        learnt = "image labels" if self.trained else "names of classes" if zero_shot else "nothing was trained here"
        words = [learnt]
        if not self.trained and self._pseudo is not None:
            words.append("image labels of val for its pseudo-boxes")
        words += [f"pseudo-{each.what} {each.name}: {each.supervision}" for each in self.sets if each.supervision]
        for each in self.sets:
            if each.is_oracle:
                chose = "to select weights by (ORACLE)"
                by_them = self._last["by"] == ORACLE
                words.append(
                    f"true {each.what} of val {chose if by_them else 'were looked at and chose nothing (ORACLE)'}"
                )
        return "; ".join(words)

    def kept(self) -> set[int]:
        """The epochs whose weights stay in the run beside its own."""
        last = self._last
        epochs = {int(each["epoch"]) for each in last["best"].values()} if self.trained else set()
        return epochs - {last["epoch"]}


def untrained(tracker: Tracker) -> dict[str, Any]:
    """What stands for the one stage of a method that does not train."""
    stage = tracker.method.stages[0]
    look = tracker.look(stage)
    best = tracker.better({}, look, stage, 0)
    return {"stage": stage.name, "by": LAST, **best[LAST], "best": best}


def past_of(progress: Progress, tracker: Tracker, *, trained: bool) -> Sequence[Mapping[str, Any]]:
    """Of each stage what chose its weights."""
    return progress.past if trained else (untrained(tracker),)


def guard(settled: Settled, tracker: Tracker) -> Guard | None:
    """Whether the maps agree with the pseudo-boxes that select any better than one centred box does, at their best.

    None where there are no pseudo-boxes, or the protocol does not measure mean IoU.
    """
    primary = primary_of(tracker.sets)
    best = None if primary is None else settled.past[-1]["best"].get(primary.criterion)
    if primary is None or best is None or settled.protocol.measure != "iou":
        return None
    sizes = tracker.sizes(primary)
    boxes = np.stack([primary.boxes[name][0] for name in sizes])
    return no_better_than_centred(best["value"], boxes, np.array([*sizes.values()], dtype=np.float64))
