"""Ray, Optuna and ASHA go by the ledger: what it knows is told to them again, and no trial is lost or done twice."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from boxless.listener import Listener
from boxless.methods.base import Space
from boxless.search.ledger import Ledger, Trial, close
from boxless.search.space import distributions
from boxless.search.worker import EPOCHS, FIGURE

from .conftest import write_card

tuning = pytest.importorskip("boxless.search.tuning", exc_type=ImportError)

Enter = Callable[..., Trial]
NAME = "training.learning_rate"
SPACE = distributions({NAME: Space(1e-4, 1e-2, log=True)}, {NAME: False})


def suggestions(ledger: Ledger, seed: int = 0) -> Any:
    known = ledger.trials()
    sampler = tuning.make_sampler(SPACE, known, seed)
    return tuning.Suggestions(ledger, 9, sampler, tuning.make_scheduler(10, known, stop_early=True), Listener())


def test_trials_that_wait_come_first_then_new_ones_which_are_entered_before_ray_hears_of_them(
    ledger: Ledger, enter: Enter
) -> None:
    enter({NAME: 1e-3}, [0.5], "finished")
    enter({NAME: 2e-3}, [0.4])
    enter({NAME: 3e-3})
    asked = suggestions(ledger)
    given = [asked.suggest(f"ray{number}") for number in range(3)]
    assert [config["folder"][-4:] for config in given] == ["0002", "0003", "0004"]
    assert [trial.settings[NAME] for trial in ledger.trials()[:3]] == [1e-3, 2e-3, 3e-3]
    assert 1e-4 <= ledger.trials()[3].settings[NAME] <= 1e-2


def test_a_search_that_goes_on_draws_other_settings_than_it_began_with(ledger: Ledger) -> None:
    asked = suggestions(ledger)
    for number in range(2):
        asked.suggest(f"ray{number}")
    for trial in ledger.trials():
        close(trial.folder, "stopped")
    suggestions(ledger).suggest("ray2")
    first, _, third = (trial.settings[NAME] for trial in ledger.trials())
    assert third != first


def test_the_same_seed_draws_the_same(tmp_path: Any) -> None:
    drawn = []
    for seed in (3, 3, 4):
        ledger = Ledger(tmp_path / f"{len(drawn)}", "training")
        suggestions(ledger, seed).suggest("ray")
        drawn.append(ledger.trials()[0].settings[NAME])
    assert drawn[0] == drawn[1] != drawn[2]


def test_optuna_knows_the_figures_of_all_that_ended(ledger: Ledger, enter: Enter) -> None:
    enter({NAME: 1e-3}, [0.5, 0.7], "finished")
    enter({NAME: 2e-3}, [0.2], "stopped")
    enter({NAME: 9e-3}, [0.9], "failed", reason="x", kind="TrainingError")
    told = [(trial.value, trial.state.name) for trial in suggestions(ledger).optuna._ot_study.trials]
    assert told == [(0.7, "COMPLETE"), (0.2, "COMPLETE"), (None, "FAIL")]


def test_the_end_of_a_trial_is_entered_as_it_was(ledger: Ledger) -> None:
    asked = suggestions(ledger)
    for number in range(3):
        asked.suggest(f"ray{number}")
    folders = [trial.folder for trial in ledger.trials()]
    write_card(folders[0], 0.6)
    asked.on_trial_complete("ray0", {FIGURE: 0.6})
    asked.on_trial_complete("ray1", {FIGURE: 0.1})
    asked.on_trial_complete("ray2", error=True)
    for number in range(3):  # it is given again, and not a new one drawn
        assert asked.suggest(f"again{number}") == {"folder": str(folders[2])}
        asked.on_trial_complete(f"again{number}", error=True)
    states = [(trial.state, trial.reason) for trial in ledger.trials()]
    assert states[:2] == [("finished", ""), ("stopped", "")]
    assert states[2] == ("failed", "its worker died 4 times; out of memory, perhaps.")
    assert asked.best == 0.6


def test_there_are_as_many_trials_as_asked_for_and_the_end_waits_for_workers_that_may_die(ledger: Ledger) -> None:
    from ray.tune.search import Searcher

    asked = suggestions(ledger)
    for number in range(9):
        asked.suggest(f"ray{number}")
    assert asked.suggest("ray9") is None
    folders = [trial.folder for trial in ledger.trials()]
    for number in range(8):
        asked.on_trial_complete(f"ray{number}", {FIGURE: 0.1})
    asked.on_trial_complete("ray8", error=True)
    assert asked.suggest("ray10") == {"folder": str(folders[8])}
    asked.on_trial_complete("ray10", {FIGURE: 0.1})
    assert asked.suggest("ray11") == Searcher.FINISHED
    assert len(ledger.trials()) == 9
    told = [trial.state.name for trial in asked.optuna._ot_study.trials]
    assert len(told) == 9


def test_once_nothing_can_work_no_more_is_tried(ledger: Ledger) -> None:
    from ray.tune.search import Searcher

    asked = suggestions(ledger)
    asked.suggest("ray0")
    close(ledger.trials()[0].folder, "failed", "no image", "DataError")
    asked.on_trial_complete("ray0", {})
    assert asked.fatal.reason == "no image"
    assert asked.suggest("ray1") == Searcher.FINISHED
    assert len(ledger.trials()) == 1


def test_asha_stops_what_falls_behind_trials_of_an_earlier_session(ledger: Ledger, enter: Enter) -> None:
    from ray.tune.schedulers import TrialScheduler

    for figure in (0.6, 0.7, 0.8):
        enter({NAME: 1e-3}, [figure] * 10, "finished")
    scheduler = tuning.make_scheduler(10, ledger.trials(), stop_early=True)
    trial = SimpleNamespace(trial_id="new")
    scheduler.on_trial_add(None, trial)
    heard = [scheduler.on_trial_result(None, trial, {FIGURE: 0.5, EPOCHS: epoch}) for epoch in (1, 2)]
    assert heard == [TrialScheduler.CONTINUE, TrialScheduler.STOP]  # the first rung is at a fifth of 10 epochs


def test_a_trial_at_its_end_is_not_stopped(ledger: Ledger) -> None:
    from ray.tune.schedulers import TrialScheduler

    scheduler = tuning.make_scheduler(10, [], stop_early=True)
    trial = SimpleNamespace(trial_id="new")
    scheduler.on_trial_add(None, trial)
    for epoch in range(1, 11):
        assert scheduler.on_trial_result(None, trial, {FIGURE: 0.5, EPOCHS: epoch}) == TrialScheduler.CONTINUE
