"""What an evaluation found, and how two of them compare: figures with intervals, each with what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import ConfigError, DataError
from boxless.metrics.bootstrap import Difference, Estimate, paired
from boxless.protocol.figures import AT_THRESHOLD, FRACTION, OF_ALL, PER_CENT, at_threshold, of_all
from boxless.protocol.provenance import UNKNOWN
from boxless.protocol.scoring import FIELD_LEVEL, LEVELS, Scoring
from boxless.protocol.threshold import RUN, Threshold
from boxless.report.curves import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

Row = tuple[str, ...]
DASH = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """The figures at one threshold."""

    threshold: Threshold
    figures: Mapping[str, Estimate]  # by the keys of `AT_THRESHOLD`; what was not measured is not there


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
            ("threshold", *(_threshold(rule.at(FIELD_LEVEL)) for rule in rules)),
            ("threshold from", *(rule.comes_from for rule in rules)),
            ("selected by", self.selected_by, *rest),
        ]
        for key, (title, unit) in AT_THRESHOLD.items():
            if any(key in column.figures for column in self.columns):
                rows.append((title, *(_cell(column.figures.get(key), unit) for column in self.columns)))
        for key, (title, unit) in OF_ALL.items():
            if key in self.figures:
                rows.append((title, _cell(self.figures[key], unit), *rest))
        without = f", {self.without_box} of them without a true box" if self.without_box else ""
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
        return {
            "name": self.name,
            "split": self.split,
            "images": self.images,
            "without_box": self.without_box,
            "truth": self.truth_source,
            "box_rule": self.box_rule,
            "selected_by": self.selected_by,
            "iou_levels": list(LEVELS),
            "interval": f"95 %, {replicates:,} Poisson bootstrap replicates over images" if replicates else None,
            "protocols": [
                {"threshold": each.threshold.to_dict(), "figures": _plain_figures(each.figures)}
                for each in self.columns
            ],
            "figures": _plain_figures(self.figures),
            "curves": {
                "thresholds": _plain(self.thresholds),
                "box_accuracy": {str(level): _plain(row) for level, row in zip(LEVELS, self.accuracy, strict=True)},
                "mean_iou": _plain(self.mean_iou),
            },
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
) -> Report:
    """The report on what a `Scoring` has summed up, at thresholds that were found."""
    accuracy, mean_iou = scoring.curves()
    columns = tuple(Column(rule, _measured(scoring, at_threshold(scoring, rule))) for rule in rules)
    return Report(
        name,
        columns,
        _measured(scoring, of_all()),
        scoring.tally.count,
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
    )


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
        for (source, key), difference in self.differences.items():
            title, unit = (AT_THRESHOLD | OF_ALL)[key]
            shown = [_number(value, unit) for value in (difference.first, difference.second)]
            change = _cell(Estimate(difference.value, difference.low, difference.high), unit, signed=True)
            rows.append((title, source, *shown, change, _p_value(difference.p_value)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        found = [
            {"threshold": source or None, "figure": key, **{k: _plain(v) for k, v in asdict(each).items()}}
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
            if key in one.figures and key in other.figures and key != "random_map":
                pair = paired(first.scoring.tally, second.scoring.tally, made[key], made_there[key])
                differences[name, key] = pair
    statistics = of_all()
    for key, statistic in statistics.items():
        own = not any(word in key for word in ("centred", "whole"))  # baselines are the same for all
        if own and key in first.figures and key in second.figures:
            differences["", key] = paired(first.scoring.tally, second.scoring.tally, statistic)
    return Comparison((first.name, second.name), differences)


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


def _cell(estimate: Estimate | None, unit: str, *, signed: bool = False) -> str:
    if estimate is None:
        return ""
    value = _number(estimate.value, unit, signed=signed)
    if math.isnan(estimate.low):
        return value
    return f"{value} [{_number(estimate.low, unit, signed=signed)}, {_number(estimate.high, unit, signed=signed)}]"


def _number(value: float, unit: str, *, signed: bool = False) -> str:
    if math.isnan(value):
        return DASH
    return f"{value:{'+' if signed else ''}.{1 if unit == PER_CENT else 3}f}"


def _threshold(value: float | None) -> str:
    return "each map's own" if value is None else _number(value, FRACTION)


def _p_value(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.3f}"


def _plain_figures(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {key: {name: _plain(value) for name, value in asdict(each).items()} for key, each in figures.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    return None if isinstance(value, float) and math.isnan(value) else value
