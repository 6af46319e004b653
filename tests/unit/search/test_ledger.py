"""The files of a search: a kill at any moment leaves them sound, and they tell what each trial came to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boxless.errors import RunError
from boxless.search.ledger import Ledger, Trial, begin, locked, read_curve, read_plan

Enter = Callable[..., Trial]


def test_trials_are_numbered_and_keep_their_settings_exactly(ledger: Ledger) -> None:
    drawn = {"training.learning_rate": 0.1 + 0.2, "method.hidden": 256, "method.kind": "a"}
    assert [ledger.add(drawn).number for _ in range(3)] == [1, 2, 3]
    trial = ledger.trials()[1]
    assert trial.settings == drawn
    assert (trial.state, trial.value, trial.folder) == ("waiting", None, ledger.folder / "trials" / "0002")


def test_the_state_follows_from_the_files(ledger: Ledger, enter: Enter) -> None:
    enter({}, [0.2, 0.5, 0.4], "finished")
    enter({}, [0.3, 0.1], "stopped")
    enter({}, [0.6], "failed", reason="the loss is not finite", kind="TrainingError")
    enter({}, [0.1, 0.2])
    found = [(trial.state, trial.value, trial.curve) for trial in ledger.trials()]
    assert found == [
        ("finished", 0.5, (0.2, 0.5, 0.4)),
        ("stopped", 0.3, (0.3, 0.1)),
        ("failed", 0.6, (0.6,)),
        ("waiting", 0.2, (0.1, 0.2)),
    ]
    assert ledger.trials()[0].seconds == 12.5


@pytest.mark.parametrize(("kind", "hopeless"), [("TrainingError", False), ("", False), ("DataError", True)])
def test_what_others_would_fail_by_too_is_told_from_what_the_draw_did(enter: Enter, kind: str, hopeless: bool) -> None:
    assert enter({}, state="failed", reason="x", kind=kind).hopeless is hopeless


def test_a_curve_is_of_one_stage_and_ends_where_a_kill_cut_the_journal(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"epoch": 0, "stage": "classifier", "select": 51.2}\n'
        '{"epoch": 1, "stage": "decoder", "select": 0.4}\n'
        '{"epoch": 2, "stage": "decoder"}\n'
        '{"epoch": 3, "stage": "decoder", "select": 0.6}\n'
        '{"epoch": 4, "stage": "deco'
    )
    assert read_curve(tmp_path, "decoder") == (0.4, 0.6)
    assert read_curve(tmp_path / "nowhere", "decoder") == ()


def test_a_second_search_in_a_folder_is_refused_with_the_way_on(tmp_path: Path) -> None:
    begin(tmp_path, {"plan": {}})
    assert read_plan(tmp_path)["plan"] == {}
    with pytest.raises(RunError, match=r"boxless search --resume --out"):
        begin(tmp_path, {"plan": {}})


def test_a_folder_with_a_run_or_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no search to resume"):
        read_plan(tmp_path)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RunError, match="a run is already there"):
        begin(tmp_path, {})


def test_two_at_work_in_one_folder_are_refused_and_the_lock_is_given_back(tmp_path: Path) -> None:
    with (
        locked(tmp_path, wait=0, busy="busy."),
        pytest.raises(RunError, match="busy"),
        locked(tmp_path, wait=0, busy="busy."),
    ):
        pass
    with locked(tmp_path, wait=0, busy="busy."):
        pass


def test_a_damaged_file_is_named(ledger: Ledger) -> None:
    trial = ledger.add({})
    (trial.folder / "trial.json").write_text("{")
    with pytest.raises(RunError, match=r"0001/trial\.json"):
        ledger.trials()
