"""What a search leaves: the best recipe, a table, and a page that says what the trials were compared by."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import pytest

from boxless.methods.base import Space
from boxless.recipe import Recipe, read_recipe
from boxless.search.ledger import Ledger, Trial
from boxless.search.prepare import Prepared
from boxless.search.results import importance, provenance, rank, write_results
from boxless.search.session import Found

from .conftest import write_card

Enter = Callable[..., Trial]
NAME, CHOICE = "training.learning_rate", "method.hidden"
SPACE = {NAME: Space(1e-4, 1e-2, log=True), CHOICE: Space(choices=(0, 256))}


@pytest.fixture
def found(ledger: Ledger, enter: Enter) -> Found:
    enter({NAME: 1e-3, CHOICE: 0}, [0.3, 0.5], "finished")
    enter({NAME: 2e-3, CHOICE: 256}, [0.9], "stopped")
    enter({NAME: 3e-3, CHOICE: 0}, [0.6, 0.7], "finished")
    enter({NAME: 4e-3, CHOICE: 256}, state="failed", reason="the loss <is> not finite", kind="TrainingError")
    enter({NAME: 5e-3, CHOICE: 256}, [0.2], "stopped")
    enter({NAME: 6e-3, CHOICE: 0}, [0.4, 0.4], "finished")
    trials = tuple(ledger.trials())
    kept = {"learning_rate": 3e-3, "features": str(ledger.folder / "features")}
    Recipe().override(training=kept).save(trials[2].folder / "recipe.yaml")
    return Found(ledger.folder, trials, trials[2])


def test_finished_trials_are_ranked_before_those_stopped_and_failed(found: Found) -> None:
    assert [trial.number for trial in rank(found.trials)] == [3, 1, 6, 2, 5, 4]


def test_everything_is_written_and_says_what_selected(found: Found) -> None:
    value = write_results(found, Prepared(Recipe(), "training", 2), SPACE)
    assert value == json.loads((found.folder / "results.json").read_text())
    assert (value["best"]["number"], value["best"]["folder"]) == (3, "trials/0003")
    assert value["selected_by"] == "mean IoU with pseudo-boxes spectral of val; no true box was seen"
    best = read_recipe(found.folder / "best.yaml")
    assert best == Recipe().override(training={"learning_rate": 3e-3})  # without features that are deleted in the end
    rows = list(csv.DictReader((found.folder / "results.csv").open()))
    assert [row["number"] for row in rows] == ["3", "1", "6", "2", "5", "4"]
    assert float(rows[0][NAME]) == 3e-3
    page = (found.folder / "report.html").read_text()
    for said in ("mean IoU with pseudo-boxes spectral of val; no true box was seen", "found on val", "trials/0003"):
        assert said in page
    assert "the loss &lt;is&gt; not finite" in page
    assert page.count("data:image/png;base64,") == 2
    assert "ORACLE" not in page


def test_a_page_of_no_finished_trial_says_so(ledger: Ledger, enter: Enter) -> None:
    enter({NAME: 1e-3, CHOICE: 0}, state="failed", reason="x", kind="TrainingError")
    value = write_results(Found(ledger.folder, tuple(ledger.trials()), None), Prepared(Recipe(), "training", 2), SPACE)
    assert value["best"] is None
    assert "No trial is finished" in (ledger.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("by", "measure", "words"),
    [
        ("oracle", "mean IoU (ORACLE)", "ORACLE: mean IoU with the TRUE boxes of val; no user has them"),
        ("classification", "class accuracy (%)", "class accuracy on val, no box at all"),
        ("pseudo:clip", "mean IoU", "mean IoU with pseudo-boxes clip of val; no true box was seen"),
    ],
)
def test_the_provenance_is_what_the_run_was_selected_by(
    ledger: Ledger, enter: Enter, by: str, measure: str, words: str
) -> None:
    trial = enter({NAME: 1e-3, CHOICE: 0}, [0.5])
    write_card(trial.folder, 0.5, by)
    told = provenance(ledger.read(trial.folder), Recipe())
    assert told["measure"] == measure
    assert told["selected_by"].startswith(words)


def test_a_search_by_true_boxes_is_marked_at_the_top_of_its_page(ledger: Ledger, enter: Enter) -> None:
    trial = enter({NAME: 1e-3, CHOICE: 0}, [0.5])
    write_card(trial.folder, 0.5, "oracle")
    trials = tuple(ledger.trials())
    write_results(Found(ledger.folder, trials, trials[0]), Prepared(Recipe(), "training", 1), SPACE)
    assert "<h1>ORACLE: search of " in (ledger.folder / "report.html").read_text()


def test_the_setting_that_decides_is_told_from_the_one_that_does_not(ledger: Ledger, enter: Enter) -> None:
    pytest.importorskip("optuna")
    for number in range(12):
        rate = 1e-4 * 10 ** (2 * number / 11)
        enter({NAME: rate, CHOICE: (0, 256)[number % 2]}, [number / 12], "stopped")
    trials = ledger.trials()
    parts = importance(trials, SPACE, Recipe())
    assert parts[NAME] > 0.9
    assert importance(trials[:4], SPACE, Recipe()) == {}
