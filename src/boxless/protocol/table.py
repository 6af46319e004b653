"""The protocol table: what each way of selecting weights and threshold gives on test (thesis, tables 4.2, 4.6 to 4.8).

For each method, whose runs are its configurations, and each criterion that weights were selected by. What a user can
have (*realistic*: no true box chose anything) and what only true boxes can choose (ORACLE) never share a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.catalog import read_catalog
from boxless.data.truth import read_truth
from boxless.errors import ConfigError, DataError, RunError
from boxless.listener import Listener
from boxless.metrics.boxes import Contours, check_rules
from boxless.protocol.evaluations import Evaluation, Evaluator
from boxless.protocol.inputs import own_data
from boxless.protocol.provenance import TRUE_BOXES, selected_by, threshold_from
from boxless.protocol.shown import Row, Shown
from boxless.protocol.transfer import MEASURES, Candidate, best_on_val, combine, figures
from boxless.trust import trusting

if TYPE_CHECKING:
    from boxless.recipe import Recipe


@dataclass(frozen=True, slots=True)
class _Entry:
    """The weights that one criterion of a run selected."""

    folder: Path
    group: str
    criterion: str
    card: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.card["criteria"][self.criterion]
        return found

    @property
    def weights(self) -> tuple[Path, str]:
        return self.folder, str(self.facts["weights"])


def protocol_table(
    runs: Sequence[str | Path],
    source: str | Path | None = None,
    *,
    groups: Sequence[str] | None = None,
    split: str = "test",
    contours: Contours = "largest",
    replicates: int = 1000,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    trust: bool = False,
    device: str = "auto",
    batch_size: int | None = None,
    listener: Listener | None = None,
) -> Shown:
    """Measure what each criterion of each run selected, and say what each combination of run and threshold gives.

    Each distinct weights file goes over the images once; what it finds is kept in the run's folder ``evaluations``.

    Args:
        runs: Folders of finished runs.
        source: Labelled data with boxes; by default what the first run learnt from.
        groups: For each run a name: runs of one name are configurations of one thing, of which one is chosen. By
            default the run's method.
        split: ``test``, or ``train``; val is what was selected on.
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        replicates: Of the bootstrap that intervals come from; 0 leaves them out.
        format: The format of ``source``.
        images: Where the pictures are, for formats that list them.
        trust: Whether runs may have the code loaded that their recipes name, see `boxless.trust`.
        device: Where to compute.
        batch_size: Images in one forward pass.
        listener: Hears of the progress.

    Raises:
        ConfigError: No run, groups that do not fit them, the split val, or runs of a group that were selected by
            measures that cannot be compared.
        RunError: A folder that is no finished run, or a run that does not say what its criteria selected.
        DataError: Data that cannot be read, and a run that cannot be measured on just the images of the others.
        MissingTruthError: Data without boxes.
    """
    check_rules(contours, None)
    if split == "val":
        raise ConfigError("split 'val': the runs were selected on it, so it says nothing of selection; take test.")
    listener = listener or Listener()
    entries = _entries(runs, groups)
    source, format, images = own_data(_recipe(entries[0].folder), source, format, images)  # noqa: A001
    catalog = read_catalog(source, format=format, images=images, listener=listener)
    evaluator = Evaluator(catalog, split, read_truth(catalog, split), contours, device, batch_size, listener)
    with trusting(trust):
        candidates, example = _measured(entries, evaluator, replicates)
    rows = _rows(entries, candidates)
    return Shown(
        tuple(rows),
        split=split,
        images=len(example.names),
        without_box=int((~example.boxed).sum()),
        truth=evaluator.truth.source,
        contours=contours,
        replicates=replicates,
        refused=example.refused,
        notes=tuple(_notes(entries)),
        videos=len(set(example.videos)),
    )


def _recipe(folder: Path) -> Recipe:
    from boxless.recipe import read_recipe
    from boxless.runs import RECIPE

    return read_recipe(folder / RECIPE)


def _entries(runs: Sequence[str | Path], groups: Sequence[str] | None) -> list[_Entry]:
    from boxless.runs import read_card

    folders = [Path(run).expanduser() for run in runs]
    if not folders or (groups is not None and len(groups) != len(folders)):
        raise ConfigError(
            f"protocol: got {len(folders)} runs and {len(groups or ())} groups; name a group of each run."
        )
    if len(set(folders)) < len(folders):
        raise ConfigError("protocol: a run is named twice; name each once.")
    cards = [read_card(folder) for folder in folders]
    for folder, card in zip(folders, cards, strict=True):
        if not card.get("criteria"):
            raise RunError(f"{folder}: its card does not say what each criterion selected; train it again.")
    names = groups if groups is not None else [str(card["method"]) for card in cards]
    found = [
        _Entry(folder, group, criterion, card)
        for folder, group, card in zip(folders, names, cards, strict=True)
        for criterion in card["criteria"]
    ]
    for group in dict.fromkeys(names):
        measures = {str(each.card.get("selection", {}).get("measure")) for each in found if each.group == group}
        if len(measures) > 1:
            raise ConfigError(
                f"protocol: runs of {group} were selected by {' and '.join(sorted(measures))}, which do not "
                "compare; give them groups of their own, or train them with one protocol.measure."
            )
    return found


def _measured(entries: Sequence[_Entry], evaluator: Evaluator, replicates: int) -> tuple[list[Candidate], Evaluation]:
    """What is known of each entry; weights that several criteria selected are looked at once."""
    found: dict[tuple[Path, str], Any] = {}
    first: Evaluation | None = None
    weights = np.zeros((0, 0), dtype=np.float32)
    for entry in entries:
        if entry.weights in found:
            continue
        evaluation = evaluator(entry.folder, entry.card["classes"], entry.criterion, entry.weights[1])
        if first is None:
            first, weights = evaluation, evaluation.draw(replicates)
        if evaluation.names != first.names:
            raise DataError(
                f"{entry.folder}: it was measured on {len(evaluation.names):,} images and {entries[0].folder} on "
                f"{len(first.names):,}, which are not the same; mend what could not be read, and try again."
            )
        alike = [each.facts.get("threshold") for each in entries if each.weights == entry.weights]
        found[entry.weights] = figures(evaluation, weights, {float(each) for each in alike if each is not None})
    if first is None or not first.boxed.any():
        raise DataError(f"{evaluator.catalog.root}: no image of {evaluator.split} that could be read has a true box.")
    candidates = [
        Candidate(
            str(entry.folder),
            entry.facts.get("value"),
            None if entry.facts.get("threshold") is None else float(entry.facts["threshold"]),
            *found[entry.weights],
        )
        for entry in entries
    ]
    return candidates, first


def _rows(entries: Sequence[_Entry], candidates: Sequence[Candidate]) -> list[Row]:
    """A row of each group and criterion: groups in the order of the runs, criteria in that of what they know."""
    rows = []
    for group in dict.fromkeys(entry.group for entry in entries):
        known = dict.fromkeys(entry.criterion for entry in entries if entry.group == group)
        for criterion in sorted(known, key=_knowledge):
            pairs = [
                (entry, candidate)
                for entry, candidate in zip(entries, candidates, strict=True)
                if (entry.group, entry.criterion) == (group, criterion)
            ]
            some = [candidate for _, candidate in pairs]
            chosen = best_on_val(some)
            card = pairs[some.index(chosen) if chosen else 0][0].card
            rows.append(
                Row(
                    group,
                    criterion,
                    selected_by(card, criterion),
                    threshold_from(card, criterion),
                    None if chosen is None else chosen.threshold,
                    tuple(each.name for each in some),
                    {measure: combine(some, measure) for measure in MEASURES},
                )
            )
    return rows


def _knowledge(criterion: str) -> tuple[int, str]:
    order = {"last": 0, "classification": 1, TRUE_BOXES: 3}
    return order.get(criterion, 2), criterion


def _notes(entries: Sequence[_Entry]) -> list[str]:
    """What makes a row less than it seems."""
    notes = []
    for group in dict.fromkeys(entry.group for entry in entries):
        mine = [entry for entry in entries if entry.group == group]
        runs = {entry.folder for entry in mine}
        for criterion in dict.fromkeys(entry.criterion for entry in mine):
            having = sum(entry.criterion == criterion for entry in mine)
            if having < len(runs):
                notes.append(
                    f"{group}: {having} of its {len(runs)} runs know {criterion}; the others are not in its row."
                )
        if len({str(entry.card.get("data", {}).get("source")) for entry in mine}) > 1:
            notes.append(f"{group}: its runs learnt from different data, whose figures on val do not compare.")
    return notes
