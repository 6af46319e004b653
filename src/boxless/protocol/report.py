"""What an evaluation found, and how two of them compare: figures with intervals, each with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import ConfigError, DataError
from boxless.metrics.bootstrap import Difference, Estimate, difference, paired
from boxless.metrics.drawn import estimate
from boxless.protocol.cells import cell, number, p_value, plain, plain_figures, threshold_cell
from boxless.protocol.figures import AT_THRESHOLD, CORLOC, CORLOC_OWN, OF_ALL, at_threshold, of_all
from boxless.protocol.per_class import ONE, OWN
from boxless.protocol.provenance import UNKNOWN
from boxless.protocol.scoring import FIELD_LEVEL, LEVELS, Scoring
from boxless.protocol.threshold import RUN, Threshold
from boxless.report.curves import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.absence import Absence
    from boxless.protocol.per_class import ClassTable, PerClass

    Floats = NDArray[np.float64]

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """The figures at one threshold."""

    threshold: Threshold
    figures: Mapping[str, Estimate]  # by the keys of `AT_THRESHOLD`; what was not measured is not there
    drawn: Mapping[str, Floats] = field(default_factory=dict)  # of those that are no mean of the tally: each draw


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The figures of one run, or of the maps of another program, on one split."""

    name: str
    columns: tuple[Column, ...]  # the oracle, if it was asked for, comes last
    figures: Mapping[str, Estimate]  # by the keys of `OF_ALL`
    images: int
    without_box: int
    split: str
    truth_source: str
    box_rule: str
    thresholds: NDArray[np.float64]  # (t,)
    accuracy: NDArray[np.float64]  # (levels, t) box accuracy in per cent
    mean_iou: NDArray[np.float64]  # (t,)
    refused: tuple[tuple[str, str], ...]  # (name, reason) of what could not be read
    scoring: Scoring
    selected_by: str = UNKNOWN  # what selected the weights, in words
    videos: int = 0  # of how many the images are frames, by which intervals are then drawn; 0 of plain images
    by_class: ClassTable | None = None  # if it was asked for, and for frames of videos
    absence: Mapping[str, Any] | None = None  # of what the figures of images without an object are
    drawn: Mapping[str, Floats] = field(default_factory=dict)  # as of `Column`

    def column(self, source: str) -> Column:
        """The figures of a threshold source, such as ``otsu`` or ``oracle-test``.

        Raises:
            ConfigError: It was not asked for.
        """
        for column in self.columns:
            rule = column.threshold
            if source in (rule.source, rule.name) or (source == RUN and rule.is_own):
                return column
        known = ", ".join(column.threshold.name for column in self.columns)
        raise ConfigError(f"{self.name}: no figures at the threshold {source!r}; this report has {known}.")

    def header(self) -> Row:
        """The columns' titles, for a table of `rows`."""
        return (self.name, *(column.threshold.name for column in self.columns))

    def rows(self) -> list[Row]:
        """Each figure with its interval at each threshold; what does not depend on one stands in the first column."""
        rules = [column.threshold for column in self.columns]
        rest = ("",) * (len(self.columns) - 1)
        rows: list[Row] = [
            ("threshold", *(threshold_cell(rule.at(FIELD_LEVEL)) for rule in rules)),
            ("threshold from", *(rule.comes_from for rule in rules)),
            ("selected by", self.selected_by, *rest),
        ]
        for key, (title, unit) in AT_THRESHOLD.items():
            if any(key in column.figures for column in self.columns):
                rows.append((title, *(cell(column.figures.get(key), unit) for column in self.columns)))
        for key, (title, unit) in OF_ALL.items():
            if key in self.figures:
                rows.append((title, cell(self.figures[key], unit), *rest))
        without = f", {self.without_box} of them without a true box" if self.without_box else ""
        if self.absence is not None:
            rows.append(("nothing to find", _nothing(self.absence), *rest))
        if self.videos:
            of = f"{self.images:,} of {self.videos:,} videos, by which intervals are drawn"
            rows.append(("frames", f"{of} ({self.split}{without})", *rest))
        else:
            rows.append(("images", f"{self.images:,} ({self.split}{without})", *rest))
        return rows

    def curve(self) -> Curve:
        """Box accuracy against threshold, for `boxless.report.curves.draw_curves`."""
        keys = {level: "box_accuracy" if level == FIELD_LEVEL else f"box_accuracy_{level}" for level in LEVELS}
        marks: dict[str, Any] = {}
        for column in self.columns:
            at = [column.threshold.at(level) for level in LEVELS]
            values = [column.figures[keys[level]].value for level in LEVELS]
            marks[column.threshold.name] = (None if None in at else at, values)
        return Curve(self.name, self.thresholds, self.accuracy, LEVELS, marks)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; a figure that no image gave is null."""
        replicates = self.scoring.tally.replicates
        drawn = "videos" if self.videos else "images"
        more: dict[str, Any] = {"videos": self.videos} if self.videos else {}
        more |= {"object_absent": dict(self.absence)} if self.absence is not None else {}
        more |= {"per_class": self.by_class.to_dict()} if self.by_class is not None else {}
        return {
            "name": self.name,
            "split": self.split,
            "images": self.images,
            "without_box": self.without_box,
            "truth": self.truth_source,
            "box_rule": self.box_rule,
            "selected_by": self.selected_by,
            "iou_levels": list(LEVELS),
            "interval": f"95 %, {replicates:,} Poisson bootstrap replicates over {drawn}" if replicates else None,
            "protocols": [
                {"threshold": each.threshold.to_dict(), "figures": plain_figures(each.figures)} for each in self.columns
            ],
            "figures": plain_figures(self.figures),
            "curves": {
                "thresholds": plain(self.thresholds),
                "box_accuracy": {str(level): plain(row) for level, row in zip(LEVELS, self.accuracy, strict=True)},
                "mean_iou": plain(self.mean_iou),
            },
            **more,
            "refused": [{"name": name, "reason": reason} for name, reason in self.refused],
        }


def make_report(
    name: str,
    scoring: Scoring,
    rules: Sequence[Threshold],
    *,
    split: str,
    truth_source: str,
    box_rule: str,
    without_box: int,
    refused: Sequence[tuple[str, str]],
    selected_by: str = UNKNOWN,
    videos: int = 0,
    per_class: PerClass | None = None,
    absence: Absence | None = None,
) -> Report:
    """The report on what a `Scoring`, and what stands beside it, have summed up, at thresholds that were found."""
    accuracy, mean_iou = scoring.curves()
    tally = scoring.tally
    by_class = per_class.table(rules) if per_class and tally.count else None
    figures = _measured(scoring, of_all())
    if not 0 < without_box < tally.count:
        figures.pop("class_accuracy_boxed", None)  # the same as of all, or of none
    drawn = absence.drawn(tally.replicates, tally.seed) if absence and tally.count else {}
    return Report(
        name,
        tuple(_column(rule, scoring, by_class) for rule in rules),
        figures | {key: estimate(each) for key, each in drawn.items()},
        tally.count,
        without_box,
        split,
        truth_source,
        box_rule,
        scoring.thresholds,
        accuracy,
        mean_iou,
        tuple(refused),
        scoring,
        selected_by,
        videos,
        by_class,
        absence.to_dict() if absence else None,
        drawn,
    )


def _column(rule: Threshold, scoring: Scoring, by_class: ClassTable | None) -> Column:
    """The figures at a threshold; CorLoc at the oracle's is at the threshold that is best for it."""
    wanted = {CORLOC: ONE, CORLOC_OWN: OWN} if rule.is_best_here else {CORLOC: rule.name}
    found = {key: by_class.column(name) for key, name in wanted.items()} if by_class else {}
    drawn = {key: each.mean() for key, each in found.items() if each is not None}
    figures = _measured(scoring, at_threshold(scoring, rule))
    return Column(rule, figures | {key: estimate(each) for key, each in drawn.items()}, drawn)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much a run is above another on the same images, figure by figure."""

    names: tuple[str, str]  # the second less the first
    differences: Mapping[tuple[str, str], Difference]  # (threshold source, "run" or "", key of a figure)

    def header(self) -> Row:
        """The columns' titles, for a table of `rows`."""
        return (f"{self.names[1]} less {self.names[0]}", "threshold", *self.names, "difference", "p")

    def rows(self) -> list[Row]:
        """Each figure of both, their difference with its interval, and how often chance alone gives as much."""
        rows: list[Row] = []
        for (source, key), each in self.differences.items():
            title, unit = (AT_THRESHOLD | OF_ALL)[key]
            shown = [number(value, unit) for value in (each.first, each.second)]
            change = cell(Estimate(each.value, each.low, each.high), unit, signed=True)
            rows.append((title, source, *shown, change, p_value(each.p_value)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        found = [
            {"threshold": source or None, "figure": key, **{k: plain(v) for k, v in asdict(each).items()}}
            for (source, key), each in self.differences.items()
        ]
        return {"first": self.names[0], "second": self.names[1], "second_less_first": found}


def compare(first: Report, second: Report) -> Comparison:
    """The paired differences of two reports on the same images, at each threshold source that both have.

    Raises:
        DataError: They are on different images.
        ConfigError: Their boxes follow different rules.
    """
    if first.box_rule != second.box_rule:
        raise ConfigError(f"compare: the boxes are {first.box_rule}, and {second.box_rule}; evaluate both by one rule.")
    tallies = first.scoring.tally, second.scoring.tally
    if (tallies[0].count, tallies[0].digest) != (tallies[1].count, tallies[1].digest):
        raise DataError(
            f"compare: {first.name} was measured on {first.images:,} images and {second.name} on {second.images:,}, "
            "which are not the same by their names; evaluate both on one split, and mend what one of them refused."
        )
    differences: dict[tuple[str, str], Difference] = {}
    for one in first.columns:
        other = _counterpart(one, second.columns)
        if other is None:
            continue
        name = one.threshold.name if one.threshold.name == other.threshold.name else RUN
        made, made_there = at_threshold(first.scoring, one.threshold), at_threshold(second.scoring, other.threshold)
        for key in AT_THRESHOLD:
            if key in made and key in one.figures and key in other.figures and key != "random_map":
                pair = paired(first.scoring.tally, second.scoring.tally, made[key], made_there[key])
                differences[name, key] = pair
        differences |= {(name, key): each for key, each in _of_drawn(one.drawn, other.drawn).items()}
    statistics = of_all()
    for key, statistic in statistics.items():
        own = not any(word in key for word in ("centred", "whole"))  # baselines are the same for all
        if own and key in first.figures and key in second.figures:
            differences["", key] = paired(first.scoring.tally, second.scoring.tally, statistic)
    differences |= {("", key): each for key, each in _of_drawn(first.drawn, second.drawn).items()}
    return Comparison((first.name, second.name), differences)


def _of_drawn(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Difference]:
    """The differences of figures that are given as draws."""
    both = [key for key in first if key in second]
    return {key: difference(_split(first[key]), _split(second[key])) for key in both}


def _split(drawn: Floats) -> tuple[float, Floats]:
    return float(drawn[0]), drawn[1:]


def _nothing(absence: Mapping[str, Any]) -> str:
    told = f"{absence['absent']:,} looked at, beside {absence['with_box']:,} with a true box"
    return told if absence["note"] is None else f"{told}; {absence['note']}"


def _counterpart(column: Column, others: Sequence[Column]) -> Column | None:
    """The column that answers the same question: of the same threshold source, or of each run's own rule."""
    alike = [each for each in others if each.threshold.name == column.threshold.name]
    own = [each for each in others if each.threshold.is_own and column.threshold.is_own]
    return next(iter(alike + own), None)


def _measured(scoring: Scoring, statistics: Mapping[str, Any]) -> dict[str, Estimate]:
    """The figures whose fields were measured."""
    if not scoring.tally.count:
        return {}
    found = {}
    for key, statistic in statistics.items():
        try:
            found[key] = scoring.tally.estimate(statistic)
        except KeyError:  # such as classes, of the maps of another program
            continue
    return found
