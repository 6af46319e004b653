"""What came of a search, for people, spreadsheets and programs: a page, a table, and the best recipe."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxless.files import atomic_write, write_json
from boxless.methods.base import Space
from boxless.pseudo.table import ANNOTATORS
from boxless.recipe import Recipe, read_recipe
from boxless.runs import CARD, RECIPE
from boxless.search.ledger import Trial
from boxless.search.space import check_space, distributions, text_of
from boxless.training.caching import FEATURES

if TYPE_CHECKING:
    from boxless.search.prepare import Prepared
    from boxless.search.session import Found

BEST, JSON, CSV, PAGE = "best.yaml", "results.json", "results.csv", "report.html"
ORACLE = "ORACLE"
FEWEST = 5  # trials with a figure from which on it is told which settings matter
_MEASURES = {"iou": "mean IoU", "box_accuracy": "MaxBoxAcc (%)"}


def write_results(found: Found, prepared: Prepared, space: Mapping[str, Space]) -> dict[str, Any]:
    """Write ``best.yaml``, ``results.json``, ``results.csv`` and ``report.html``, and give what the JSON says."""
    from boxless.search.page import write_page

    ranked = rank(found.trials)
    value = {
        "best": None if found.best is None else _entry(found.best, found.folder),
        **provenance(found.best, prepared.recipe),
        "method": prepared.recipe.method.name,
        "space": {name: text_of(each) for name, each in space.items()},
        "importance": importance(ranked, space, prepared.recipe),
        "trials": [_entry(trial, found.folder) for trial in ranked],
    }
    if found.best is not None:
        best = read_recipe(found.best.folder / RECIPE)
        if best.training.features == str(found.folder / FEATURES):  # deleted once the search is at its end
            best = best.override(training={"features": None})
        best.save(found.folder / BEST)
    write_json(found.folder / JSON, value)
    _write_table(found.folder / CSV, value["trials"], list(space))
    write_page(found.folder / PAGE, value, found.trials, space)
    return value


def rank(trials: Sequence[Trial]) -> list[Trial]:
    """Trials from best to worst: the finished ones, those stopped early by their best so far, and those that failed."""
    order = {"finished": 0, "stopped": 1, "waiting": 2, "failed": 3}
    return sorted(
        trials, key=lambda trial: (order[trial.state], trial.value is None, -(trial.value or 0.0), trial.number)
    )


def provenance(best: Trial | None, recipe: Recipe) -> dict[str, Any]:
    """What trials were compared by, and which boxes had a say in it."""
    protocol = recipe.protocol
    card = {} if best is None else json.loads((best.folder / CARD).read_text(encoding="utf-8"))
    selection = card.get("selection", {})
    by = selection.get("by", "none")
    if by == "none":  # nothing was trained, or nothing is finished
        sources = [Path(each).stem for each in protocol.boxes] if protocol.boxes != "auto" else []
        by = f"pseudo:{sources[0]}" if protocol.select == "pseudo" and sources else protocol.select
    measure = _MEASURES[protocol.measure]
    if by.startswith("pseudo:"):
        source = by.removeprefix("pseudo:")
        given = source not in ANNOTATORS
        made = "from a file that the user gave" if given else "no true box was seen"
        text = f"{measure} with pseudo-boxes {source} of val; {made}"
    elif by == "oracle":
        text, measure = f"{ORACLE}: {measure} with the TRUE boxes of val; no user has them", f"{measure} ({ORACLE})"
    else:
        text, measure = (
            "class accuracy on val, no box at all; it says little of where objects are",
            "class accuracy (%)",
        )
    threshold = card.get("threshold", {}).get("source", "")
    return {"selected_by": text, "criterion": by, "measure": measure, "threshold_source": threshold}


def importance(trials: Sequence[Trial], space: Mapping[str, Space], recipe: Recipe) -> dict[str, float]:
    """How much of the differences between good and other trials each setting explains, as parts of 1.

    Optuna's PED-ANOVA, from the trials with a figure, early-stopped ones too; empty for fewer than five, or if all are
    alike.
    """
    import optuna

    from boxless.methods import METHODS

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    judged = [trial for trial in trials if trial.value is not None and trial.state != "failed"]
    if len(judged) < FEWEST or len({trial.value for trial in judged}) == 1 or len(space) < 2:
        return {}
    drawn = distributions(space, check_space(space, recipe, METHODS.load(recipe.method.name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="maximize")
        for trial in judged:
            made = optuna.trial.create_trial(params=dict(trial.settings), distributions=drawn, value=trial.value)
            study.add_trial(made)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: round(float(part), 3) for name, part in found.items()}


def shown(value: float | None, measure: str) -> str:
    """A figure of the criterion as a table has it."""
    if value is None:
        return ""
    return f"{value:.1f}" if "%" in measure else f"{value:.3f}"


def setting(value: object) -> str:
    """A setting's value as a table has it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _entry(trial: Trial, folder: Path) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "epochs_judged": len(trial.curve),
        "seconds": trial.seconds,
        "folder": str(trial.folder.relative_to(folder)),
        "settings": dict(trial.settings),
        "reason": trial.reason,
    }


def _write_table(path: Path, trials: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    fixed = ("number", "state", "value", "epochs_judged", "seconds", "folder", "reason")
    with atomic_write(path) as file:
        lines: Any = csv.writer(file, lineterminator="\n")
        lines.writerow((*fixed, *names))
        for trial in trials:
            settings = trial["settings"]
            lines.writerow((*(trial[name] for name in fixed), *(settings.get(name) for name in names)))
