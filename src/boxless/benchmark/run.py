"""A benchmark from its file to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from boxless import __version__
from boxless.benchmark.figures import put_together
from boxless.benchmark.jobs import Outcome, do_all, state_of
from boxless.benchmark.measure import evaluator, measure, protocol_of
from boxless.benchmark.plan import Plan, read_plan
from boxless.benchmark.results import CARDS, Row, choose, main_table, winners
from boxless.errors import BoxlessError, RunError
from boxless.files import write_json
from boxless.listener import Listener
from boxless.protocol.evaluations import Evaluator
from boxless.protocol.shown import Shown
from boxless.report.tables import Table
from boxless.trust import trusting

RESULTS = "results"


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkResult:
    """What a benchmark found."""

    folder: Path
    rows: tuple[Row, ...]  # of the main table
    protocols: Mapping[str, Shown]  # by data set, the protocol table
    tables: tuple[Table, ...]  # the main table, then those of the protocol
    winners: Mapping[str, Any]  # by data set: who finds most boxes, and how far it is above the next
    failed: tuple[tuple[str, str], ...]  # (training, reason)
    refused: tuple[tuple[str, str], ...]  # (image, reason) of what could not be read in some training
    written: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values: what ``results.json`` holds."""
        return {
            "winners": dict(self.winners),
            "rows": [row.to_dict() for row in self.rows],
            "failed": [{"name": name, "reason": reason} for name, reason in self.failed],
            "refused": [{"name": name, "reason": reason} for name, reason in self.refused],
            "protocol": {dataset: shown.to_dict() for dataset, shown in self.protocols.items()},
            "boxless": __version__,
        }


def list_jobs(path: str | Path, out: str | Path | None = None, *, trust: bool = False) -> list[dict[str, str]]:
    """The trainings of a benchmark: the name and folder of each, whether it is new, unfinished, finished or refused.

    Raises:
        ConfigError: The file cannot be read, or holds what does not fit.
    """
    with trusting(trust):
        return [_listed(job) for job in read_plan(*_paths(path, out)).jobs]


def _listed(job: Any) -> dict[str, str]:
    found = {"name": job.name, "folder": str(job.folder)}
    try:
        return {**found, "state": state_of(job), "reason": ""}
    except BoxlessError as error:
        return {**found, "state": "refused", "reason": str(error)}


def run_benchmark(
    path: str | Path,
    out: str | Path | None = None,
    *,
    trust: bool = False,
    device: str = "auto",
    listener: Listener | None = None,
) -> BenchmarkResult:
    """Train methods on data sets as a file says, measure the runs under one protocol, and write the tables.

    Called again, it goes on where it was stopped; what is finished is not done again. docs/benchmark.md says what the
    file holds and what is written.

    Args:
        path: The YAML file.
        out: Folder of runs and tables; None takes the file's.
        trust: Whether code that the file and its recipes name may be loaded, see `boxless.trust`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        listener: Hears of the progress.

    Raises:
        ConfigError: The file cannot be read, or holds what does not fit.
        RunError: No training could be finished.
        InterruptedRunError: The user stopped it.
    """
    listener = listener or Listener()
    with trusting(trust):
        plan = read_plan(*_paths(path, out))
        outcome = do_all(plan, device=device, listener=listener)
        if not outcome.finished:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in outcome.failed)
            raise RunError(
                f"{plan.path}: no training could be finished, so there is nothing to put into a table. {reasons}"
            )
        return _write(plan, outcome, device, listener)


def _write(plan: Plan, outcome: Outcome, device: str, listener: Listener) -> BenchmarkResult:
    """Measure what is finished, and write what came of it."""
    from boxless.runs import read_card

    failed, rows = list(outcome.failed), []
    evaluators: dict[str, Evaluator] = {}
    finished = [(job, read_card(job.folder)) for job in outcome.finished]
    refused = {name: reason for _, card in finished for name, reason in card["refused"].items()}
    for choice in choose(finished):
        try:
            if choice.dataset not in evaluators:
                evaluators[choice.dataset] = evaluator(choice.jobs[0], plan.evaluation, device, listener)
            evaluate = evaluators[choice.dataset]
            measured = [
                measure(job.folder, card, evaluate) for job, card in zip(choice.jobs, choice.cards, strict=True)
            ]
            rows.append(Row(choice, put_together(measured)))
        except BoxlessError as error:
            failed.append((choice.name, str(error)))
    protocols: dict[str, Shown] = {}
    for dataset, jobs in groupby(outcome.finished, key=lambda job: job.dataset):
        try:
            protocols[dataset] = protocol_of(list(jobs), plan.evaluation, device, listener)
        except BoxlessError as error:
            failed.append((f"{dataset}: protocol table", str(error)))
    tables = {RESULTS: main_table(rows, plan.evaluation, failed)}
    for dataset, shown in protocols.items():
        tables |= _protocol_tables(dataset, shown)
    written = [path for stem, table in tables.items() for path in table.write(plan.folder, stem)]
    write_json(plan.folder / CARDS, {row.choice.name: row.to_card(plan.evaluation) for row in rows})
    paths = (plan.folder / f"{RESULTS}.json", plan.folder / CARDS, *written)
    result = BenchmarkResult(
        plan.folder,
        tuple(rows),
        protocols,
        tuple(tables.values()),
        winners(rows),
        tuple(failed),
        tuple(refused.items()),
        paths,
    )
    write_json(paths[0], result.to_dict())
    return result


def _protocol_tables(dataset: str, shown: Shown) -> dict[str, Table]:
    """The protocol tables of a data set, by the stems of their files."""
    made = {"": shown.table(), "-mean-iou": shown.table("mean_iou"), "-differences": shown.differences()}
    return {
        f"protocol-{dataset}{end}": replace(table, title=f"{dataset}: {table.title}")
        for end, table in made.items()
        if table.rows
    }


def _paths(path: str | Path, out: str | Path | None) -> tuple[Path, Path | None]:
    return Path(path).expanduser(), None if out is None else Path(out).expanduser()
