"""CorLoc by class: how often the boxes of each class are right, at one threshold for all and at one of each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.metrics.by_class import ClassTally, over_classes
from boxless.metrics.drawn import estimate
from boxless.protocol.cells import cell, number, plain_figures
from boxless.protocol.figures import FRACTION, PER_CENT
from boxless.protocol.inputs import drawn_by
from boxless.protocol.scoring import FIELD_LEVEL, Scoring
from boxless.report.tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.threshold import Threshold
    from boxless.types import Item

    Floats = NDArray[np.float64]

CLASS_ACCURACY = "class_accuracy"
ONE, OWN = "oracle_one_threshold", "oracle_own_thresholds"
MEAN = "mean over classes"


@dataclass(frozen=True, slots=True, eq=False)
class ClassColumn:
    """One figure of every class."""

    key: str  # a threshold's name, `ONE`, `OWN` or `CLASS_ACCURACY`
    title: str
    drawn: Floats  # (classes, 1 + replicates) per cent
    thresholds: tuple[float | None, ...] | None = None  # of each class; None where there is no threshold in it

    def mean(self) -> Floats:
        """The mean over classes, (1 + replicates,); in a replicate over those of which something was drawn."""
        return over_classes(self.drawn)


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """The figures of each class, over its images with a true box."""

    classes: tuple[str, ...]
    images: tuple[int, ...]
    videos: tuple[int, ...] | None  # which they are frames of; None of plain images
    columns: tuple[ClassColumn, ...]
    replicates: int
    several: bool  # whether some images are of several classes, and count for each

    @property
    def unit(self) -> str:
        """What is counted."""
        return "images" if self.videos is None else "frames"

    def column(self, key: str) -> ClassColumn | None:
        """A column by its key, if it was asked for."""
        return next((each for each in self.columns if each.key == key), None)

    def table(self, name: str) -> Table:
        """As text, of the run of this name: a row of each class, and last the mean over classes."""
        own = self.column(OWN)
        header = ["class", self.unit, *(["videos"] if self.videos else []), *(each.title for each in self.columns)]
        rows = [self._row(place) for place in range(len(self.classes))]
        totals = [f"{sum(self.images):,}", *([f"{sum(self.videos):,}"] if self.videos else [])]
        means = [cell(estimate(each.mean()), PER_CENT) for each in self.columns]
        rows.append([MEAN, *totals, *means])
        if own is not None:
            header.append("that threshold")
            for row, value in zip(rows, [*(own.thresholds or ()), float("nan")], strict=True):
                row.append(number(float("nan") if value is None else value, FRACTION))
        return Table(f"CorLoc by class, {name}", header, rows, self.notes())

    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        found = [
            f"CorLoc (Deselaers et al., 2012): per cent of a class's {self.unit} with a true box whose one box has an "
            f"IoU of {FIELD_LEVEL} or more with one of them. Last is the mean over classes, not over {self.unit}."
        ]
        if (one := self.column(ONE)) is not None:
            value = next((each for each in one.thresholds or () if each is not None), float("nan"))
            found.append(
                "ORACLE: these very boxes chose the threshold. One threshold for all classes, the best for their mean: "
                f"{number(value, FRACTION)}. Each class's own, as in the published tables of videos: an image's class, "
                "too, must then be known before its box."
            )
        if self.several:
            found.append(
                "An image of several classes counts for each; boxes say no class, so any true box of it may be hit."
            )
        if self.replicates:
            drawn = "images" if self.videos is None else "videos, since frames of one are alike"
            found.append(f"In brackets: 95 % bootstrap intervals over {drawn}.")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        rows = []
        for place, name in enumerate(self.classes):
            row: dict[str, Any] = {"class": name, self.unit: self.images[place]}
            if self.videos is not None:
                row["videos"] = self.videos[place]
            row |= plain_figures({each.key: estimate(each.drawn[place]) for each in self.columns})
            for each in self.columns:
                if each.thresholds is not None:
                    row[each.key]["threshold"] = each.thresholds[place]
            rows.append(row)
        mean = plain_figures({each.key: estimate(each.mean()) for each in self.columns})
        return {"iou": FIELD_LEVEL, "classes": rows, "mean": mean, "notes": list(self.notes())}

    def _row(self, place: int) -> list[str]:
        counts = [f"{self.images[place]:,}", *([f"{self.videos[place]:,}"] if self.videos else [])]
        return [self.classes[place], *counts, *(cell(estimate(each.drawn[place]), PER_CENT) for each in self.columns)]


class PerClass:
    """Sums up what is right of each class, beside a `Scoring` that sums up what is right of all.

    Args:
        classes: The run's.
        scoring: Whose thresholds, replicates and seed are taken.
        frames: Whether images are frames of videos.
    """

    def __init__(self, classes: Sequence[str], scoring: Scoring, *, frames: bool) -> None:
        self.classes, self.scoring, self.frames = tuple(classes), scoring, frames
        self.tally = ClassTally(len(self.classes), scoring.tally.replicates, scoring.tally.seed)
        self._several: list[Item] = []
        self._first: dict[str, bool] = {}  # of these, whether the first class is right

    def update(self, items: Sequence[Item], ious: Floats, first: Iterable[bool] | None = None) -> None:
        """Add a batch.

        Args:
            items: The images; those of several classes are put by, for `pairs`.
            ious: (b, c) from `Scoring.update` or `Scoring.overlaps`; rows of nan take no part.
            first: Whether the first class is right; None for those of `pairs`, of which it is known.
        """
        right = [self._first[item.name] for item in items] if first is None else [bool(each) for each in first]
        known = ~np.isnan(ious[:, 0])
        rows = [i for i in np.flatnonzero(known).tolist() if len(items[i].labels) == 1]
        columns = np.concatenate([np.array(right, np.bool_)[:, None], ious >= FIELD_LEVEL], axis=1)
        labels = [items[i].labels[0] for i in rows]
        self.tally.update(drawn_by([items[i] for i in rows]), labels, columns[rows])
        for item, is_known, is_right in zip(items, known, right, strict=True):
            if is_known and len(item.labels) > 1:
                self._several.append(item)
                self._first[item.name] = is_right

    def pairs(self) -> list[Item]:
        """Each image of several classes once for each of them, as if of that alone: still to be measured and added."""
        return [replace(item, labels=(label,)) for item in self._several for label in dict.fromkeys(item.labels)]

    def table(self, rules: Sequence[Threshold]) -> ClassTable:
        """The figures at these thresholds; those of oracles only where one is among them."""
        begin = 1 + len(self.scoring.own)  # after whether the class is right
        columns = []
        for rule in rules:
            if not rule.is_best_here:
                value, oracle = rule.at(FIELD_LEVEL), "ORACLE: " if rule.is_oracle else ""
                drawn = self.tally.at(1 + self.scoring.column(rule))
                columns.append(ClassColumn(rule.name, f"CorLoc, {oracle}{rule.name}", drawn, self._same(value)))
        if any(rule.is_best_here for rule in rules):
            sweep = self.scoring.thresholds
            drawn, place = self.tally.best(begin)
            same = self._same(float(sweep[place - begin]))
            columns.append(ClassColumn(ONE, "CorLoc, ORACLE: one threshold", drawn, same))
            drawn, places = self.tally.best_of_each(begin)
            own = tuple(float(sweep[each - begin]) if each >= 0 else None for each in places.tolist())
            columns.append(ClassColumn(OWN, "CorLoc, ORACLE: each class's own", drawn, own))
        columns.append(ClassColumn(CLASS_ACCURACY, "class accuracy", self.tally.at(0)))
        videos = tuple(self.tally.clusters().tolist()) if self.frames else None
        return ClassTable(
            self.classes,
            tuple(self.tally.count().tolist()),
            videos,
            tuple(columns),
            self.tally.replicates,
            bool(self._several),
        )

    def _same(self, value: float | None) -> tuple[float | None, ...]:
        return (value,) * len(self.classes)
