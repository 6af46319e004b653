"""A trial tells of each judged epoch once, also after a kill, and its own failure is entered and ends nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from boxless.errors import DataError, TrainingError
from boxless.listener import Listener
from boxless.search import worker
from boxless.search.ledger import Ledger, Trial

from .conftest import STAGE, write_card

Enter = Callable[..., Trial]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    tune = pytest.importorskip("ray.tune")
    heard: list[dict[str, float]] = []
    monkeypatch.setattr(tune, "report", heard.append)
    return heard


def run(monkeypatch: pytest.MonkeyPatch, trial: Trial, train: Callable[[Listener], None]) -> None:
    monkeypatch.setattr(worker, "_train", lambda config, folder, reporter: train(reporter))
    worker.run_trial({"folder": str(trial.folder), "stage": STAGE})


def test_epochs_that_a_killed_worker_did_are_told_with_the_next_one(enter: Enter) -> None:
    heard: list[Any] = []
    trial = enter({}, [0.2, 0.5, 0.4])
    reporter = worker.Reporter(trial.folder, STAGE, heard.append)
    for _ in range(2):
        reporter.epoch({})
    assert heard == [{"figure": 0.5, "epochs": 3}]


def test_a_trial_that_was_finished_and_not_told_of_trains_no_more(
    monkeypatch: pytest.MonkeyPatch, enter: Enter, sent: list[Any]
) -> None:
    def never(reporter: Listener) -> None:
        pytest.fail("it trained again")

    run(monkeypatch, enter({}, [0.2, 0.5], "finished"), never)
    assert sent == [{"figure": 0.5, "epochs": 2}]


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite", "TrainingError"),
        (DataError("no image"), "no image", "DataError"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", ""),
    ],
)
def test_its_own_failure_is_entered(
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
    enter: Enter,
    sent: list[Any],
    error: Exception,
    reason: str,
    kind: str,
) -> None:
    def fail(reporter: Listener) -> None:
        raise error

    trial = enter({})
    run(monkeypatch, trial, fail)
    found = ledger.read(trial.folder)
    assert (found.state, found.reason, found.kind) == ("failed", reason, kind)


def test_a_trial_that_ends_well_is_told_to_its_last_epoch(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, enter: Enter, sent: list[Any]
) -> None:
    trial = enter({}, [0.2, 0.7])

    def finish(reporter: Listener) -> None:
        reporter.epoch({})
        write_card(trial.folder, 0.7)

    run(monkeypatch, trial, finish)
    assert sent == [{"figure": 0.7, "epochs": 2}]
    assert ledger.read(trial.folder).state == "finished"
