"""The rows of a benchmark's table: which configuration each method takes part with, and who finds most boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import isnan
from statistics import fmean
from typing import Any

from boxless.benchmark.figures import FRACTIONS, ORACLE, TITLES, Together
from boxless.benchmark.plan import Evaluation, Job
from boxless.protocol.provenance import selected_by, threshold_from
from boxless.report.tables import Table

MAIN = "box_accuracy"  # what decides who is best
CARDS = "cards.json"
Card = Mapping[str, Any]
HEADER = (
    "data set",
    "method",
    "configuration",
    "seeds",
    *TITLES.values(),
    "training minutes",
    "weights and configuration selected by",
    "threshold from",
    f"protocol card in {CARDS}",
    "ORACLE: box accuracy at the test-best threshold",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The configuration of a method that its own criterion on val says is best, and what was to choose from."""

    dataset: str
    method: str
    configuration: str
    jobs: tuple[Job, ...]  # of each seed
    cards: tuple[Card, ...]  # of their runs
    value: float | None  # of the criterion, the mean over seeds; None if nothing is selected
    considered: Mapping[str, float | None]  # the same of each configuration that has as many seeds

    @property
    def name(self) -> str:
        """The row's, and that of its protocol card."""
        return f"{self.dataset}/{self.method}/{self.configuration}"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A method on a data set, and its figures."""

    choice: Choice
    together: Together

    @property
    def minutes(self) -> float:
        """Of training, the mean over seeds."""
        return fmean(card["training_seconds"] for card in self.choice.cards) / 60

    def cells(self) -> tuple[str, ...]:
        """The row as it stands in the table."""
        choice, first = self.choice, self.choice.cards[0]
        figures = [self.together.figure(key).text(3 if key in FRACTIONS else 1) for key in TITLES]
        seeds = ", ".join(str(job.seed) for job in choice.jobs)
        by = (selected_by(first), threshold_from(first), choice.name)
        own = (choice.dataset, choice.method, choice.configuration, seeds)
        return (*own, *figures, f"{self.minutes:.1f}", *by, self.together.figure(ORACLE).text(1))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        choice, first = self.choice, self.choice.cards[0]
        return {
            "dataset": choice.dataset,
            "method": choice.method,
            "configuration": choice.configuration,
            "seeds": [job.seed for job in choice.jobs],
            "runs": [str(job.folder) for job in choice.jobs],
            "selected_by": selected_by(first),
            "selection_value": choice.value,
            "threshold_from": threshold_from(first),
            "thresholds": [card["threshold"]["rule"] for card in choice.cards],
            "configurations": choice.considered,
            "protocol_card": choice.name,
            "realistic": {key: self.together.figure(key).to_dict() for key in TITLES},
            "ORACLE": {"box_accuracy_at_test_best_threshold": self.together.figure(ORACLE).to_dict()},
            "training_minutes": round(self.minutes, 2),
        }

    def to_card(self, evaluation: Evaluation) -> dict[str, Any]:
        """What the row's figures rest on: how configurations were compared and measured, and the card of each run."""
        keys = ("selected_by", "selection_value", "configurations", "threshold_from", "thresholds", "runs")
        row = self.to_dict()
        return {
            **{key: row[key] for key in ("dataset", "method", "configuration", "seeds")},
            **{key: row[key] for key in keys},
            "measured_on": {"split": evaluation.split, "contours": evaluation.contours, "iou": 0.5},
            "cards": list(self.choice.cards),
        }


def choose(runs: Sequence[tuple[Job, Card]]) -> list[Choice]:
    """For each data set and method the configuration with the best figure on val, by what selected the weights too.

    Configurations of which fewer seeds are finished than of others take no part. Of equals the first is taken. Where
    no one figure tells of all configurations, none is chosen and each stands for itself.

    Args:
        runs: Finished jobs with their runs' cards, jobs of a method on a data set next to each other.
    """
    found = []
    for (dataset, method), group in groupby(runs, key=lambda run: (run[0].dataset, run[0].method)):
        by_name: dict[str, list[tuple[Job, Card]]] = {}
        for run in group:
            by_name.setdefault(run[0].configuration, []).append(run)
        most = max(map(len, by_name.values()))
        whole = {name: each for name, each in by_name.items() if len(each) == most}
        values = {name: _value(each) for name, each in whole.items()}
        alike = len({criterion(card) for each in whole.values() for _, card in each}) == 1
        best = _best(values) if alike else None
        for name in [best] if best else whole:
            jobs, cards = zip(*whole[name], strict=True)
            considered = values if best else {name: values[name]}
            found.append(Choice(dataset, method, name, jobs, cards, values[name], considered))
    return found


def criterion(card: Card) -> tuple[str, str]:
    """What selected the weights of a run, and by which measure."""
    return str(card["selection"]["by"]), str(card["selection"]["measure"])


def _value(runs: Sequence[tuple[Job, Card]]) -> float | None:
    values = [card["selection"]["value"] for _, card in runs]
    return None if None in values else fmean(values)


def _best(values: Mapping[str, float | None]) -> str | None:
    known = {name: value for name, value in values.items() if value is not None}
    return max(known, key=lambda name: known[name]) if len(known) == len(values) else None


def winners(rows: Sequence[Row]) -> dict[str, Any]:
    """For each data set the method with the best box accuracy, and how far it is above the next one, paired by image.

    Beside it stands the one that val's pseudo-boxes would choose, before any true box was seen, if all methods were
    selected by the same criterion.
    """
    found: dict[str, Any] = {}
    for dataset, group in groupby(rows, key=lambda row: row.choice.dataset):
        placed = sorted(
            (row for row in group if not isnan(row.together.figure(MAIN).value)),
            key=lambda row: -row.together.figure(MAIN).value,
        )
        if not placed:
            continue
        found[dataset] = {**_named(placed[0]), "runner_up": None, "chosen_on_val": _chosen_on_val(placed)}
        if len(placed) > 1:
            difference = placed[0].together.less(placed[1].together, MAIN)
            found[dataset]["runner_up"] = _named(placed[1])
            found[dataset]["above_runner_up"] = {
                **{key: round(value, 6) for key, value in asdict(difference).items() if key not in ("first", "second")},
                "interval": "95 %, paired Poisson bootstrap over images",
            }
    return found


def _named(row: Row) -> dict[str, Any]:
    choice = row.choice
    return {
        "method": choice.method,
        "configuration": choice.configuration,
        "box_accuracy": round(row.together.figure(MAIN).value, 4),
        "protocol_card": choice.name,
    }


def _chosen_on_val(rows: Sequence[Row]) -> dict[str, Any] | None:
    known = [row for row in rows if row.choice.value is not None]
    if len(known) < len(rows) or len({criterion(card) for row in rows for card in row.choice.cards}) > 1:
        return None
    best = max(known, key=lambda row: float(row.choice.value or 0))
    return {**_named(best), "by": criterion(best.choice.cards[0])[0], "value": best.choice.value}


def main_table(rows: Sequence[Row], evaluation: Evaluation, failed: Sequence[tuple[str, str]]) -> Table:
    """The table of all rows, with what a reader must know to read it."""
    several = any(len(row.choice.jobs) > 1 for row in rows)
    over = "mean ± standard deviation over seeds; of one seed " if several else ""
    notes = [
        f"Figures: {over}value [95 % bootstrap interval over images], of split {evaluation.split}, in per cent but for "
        f"mean IoU, at IoU 0.5, at each run's own threshold; candidates: {evaluation.contours}.",
        "Realistic columns: weights, configuration and threshold were chosen without a true box, by what the row says. "
        "The column ORACLE alone takes the threshold that is best on the very boxes it is measured with.",
    ]
    for dataset, won in winners(rows).items():
        notes.append(_sentence(dataset, won))
    notes += [f"Failed and left out: {name}: {reason}" for name, reason in failed]
    return Table(f"Realistic protocol, split {evaluation.split}", HEADER, [row.cells() for row in rows], notes)


def _sentence(dataset: str, won: Mapping[str, Any]) -> str:
    text = f"{dataset}: {won['method']} ({won['configuration']}) finds most boxes"
    if won["runner_up"] is None:
        return f"{text}; it is alone."
    above, second = won["above_runner_up"], won["runner_up"]
    doubt = "" if above["low"] > 0 else " The interval holds 0: these images do not tell which of the two is better."
    return (
        f"{text}, {above['value']:.1f} [{above['low']:.1f}, {above['high']:.1f}] points above {second['method']} "
        f"({second['configuration']}), p = {above['p_value']:.3f}, paired by image.{doubt}"
    )
