"""Every result that a verb prints or writes says what selected the weights and where the threshold is from."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import TINY, Boxless, Done, call, make_shapes

PSEUDO, ORACLE = "pseudo-boxes of val, guess", "ORACLE"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes, and a file of pseudo-boxes of val: the true ones, three pixels too far to the left."""
    root = make_shapes(tmp_path_factory.mktemp("provenance") / "shapes", {"train": 4, "val": 2, "test": 2})
    rows = list(csv.DictReader((root / "boxes.csv").open()))
    guesses = [
        {**row, "x0": max(0, int(row["x0"]) - 3), "x1": int(row["x1"]) - 3}
        for row in rows
        if row["path"].startswith("val/")
    ]
    with (root.parent / "guess.csv").open("w", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(guesses)
    return root


@pytest.fixture(scope="module")
def chosen(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run selected by those pseudo-boxes, with true boxes of val looked at too."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    guesses = ("--pseudo-boxes", data.parent / "guess.csv", "--set", "protocol.oracle=true")
    done = call("train", data, "--out", folder, "--epochs", 2, *guesses, *TINY)
    assert done.code == 0, done.err
    assert_said(done.out)
    return folder


def assert_said(text: str) -> None:
    """Both, and of what they are."""
    lines = text.replace("_", " ").splitlines()
    selected = next(line for line in lines if "selected by" in line)
    threshold = next(line for line in lines if "threshold from" in line)
    assert PSEUDO in selected
    assert PSEUDO in threshold.partition("threshold from")[2]


def both(boxless: Boxless, *arguments: object) -> tuple[Done, Any]:
    shown, parsed = boxless(*arguments), boxless(*arguments, "--json")
    assert (shown.code, parsed.code) == (0, 0), shown.err + parsed.err
    return shown, parsed.json


def test_predictions_say_it_in_print_in_json_and_in_the_journal(
    boxless: Boxless, chosen: Path, data: Path, tmp_path: Path
) -> None:
    shown, parsed = both(boxless, "predict", chosen, data / "test", "--out", tmp_path, "--format", "csv")
    assert_said(shown.out)
    header = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
    for found in (parsed, header):
        assert PSEUDO in found["selected_by"]
        assert PSEUDO in found["threshold_from"]


def test_an_evaluation_says_it_of_every_column(boxless: Boxless, chosen: Path, data: Path, tmp_path: Path) -> None:
    shown, parsed = both(boxless, "evaluate", chosen, data, "--bootstrap", 0, "--out", tmp_path)
    assert_said(shown.out)
    assert "given" not in shown.out
    for found in (parsed, json.loads((tmp_path / "evaluation.json").read_text())):
        assert PSEUDO in found["selected_by"]
        own, best = (each["threshold"] for each in found["protocols"])
        assert (own["source"], own["oracle"], best["oracle"]) == ("run", False, True)
        assert PSEUDO in own["threshold_from"]
        assert best["threshold_from"].startswith(ORACLE)


def test_the_runs_own_pseudo_boxes_serve_where_no_file_is_given(boxless: Boxless, chosen: Path, data: Path) -> None:
    shown, parsed = both(boxless, "evaluate", chosen, data, "--bootstrap", 0, "--protocol", "validation-pseudo")
    (found,) = parsed["protocols"]
    assert "6 images with pseudo-boxes of split val" in found["threshold"]["found_on"]
    assert "guess.csv" in found["threshold"]["found_on"]
    assert "val's pseudo-boxes" in shown.out


def test_the_protocol_table_says_it_of_every_row_and_keeps_oracles_apart(
    boxless: Boxless, chosen: Path, data: Path, tmp_path: Path
) -> None:
    command = ("evaluate", chosen, data, "--bootstrap", 20, "--protocol")
    shown, parsed = both(boxless, *command, "both")
    assert "pseudo-boxes: guess, VT 0." in shown.out
    rows = {row["criterion"]: row for row in parsed["rows"]}
    assert set(rows) == {"last", "classification", "pseudo:guess", "oracle"}
    for criterion, row in rows.items():
        assert row["selected_by"]
        assert row["threshold_from"]
        assert (ORACLE in row["selected_by"]) == row["oracle"] == (criterion == "oracle")
        assert not set(row["realistic"]["box_accuracy"]) & {"BV-TT", "BT-VT", "BT-TT"}
    assert rows["oracle"]["realistic"]["box_accuracy"] == {}
    assert set(rows["pseudo:guess"]["realistic"]["box_accuracy"]) == {"BV-VT", "BV-Otsu"}
    assert set(rows["classification"]["realistic"]["box_accuracy"]) == {"BV-Otsu"}
    done = boxless(*command, "realistic", "--out", tmp_path)
    assert ORACLE not in (tmp_path / "protocol.md").read_text().partition("\n- BV")[0]
    assert ORACLE + ":" not in done.out.partition("\nBV:")[0]


def test_the_table_equals_the_evaluation_of_the_run(boxless: Boxless, chosen: Path, data: Path) -> None:
    """The run's own weights and threshold are BV-VT of its pseudo-boxes, and its best threshold is BT-TT."""
    table = boxless("evaluate", chosen, data, "--bootstrap", 0, "--protocol", "both", "--json").json
    report = boxless("evaluate", chosen, data, "--bootstrap", 0, "--protocol", "run,otsu,oracle-test", "--json").json
    otsu, own, best = ({key: each["value"] for key, each in found["figures"].items()} for found in report["protocols"])
    (row,) = (row for row in table["rows"] if row["criterion"] == "pseudo:guess")
    for measure in ("box_accuracy", "box_accuracy_0.3", "box_accuracy_0.7", "box_accuracy_v2"):
        assert row["realistic"][measure]["BV-VT"]["value"] == pytest.approx(own[measure])
        assert row["realistic"][measure]["BV-Otsu"]["value"] == pytest.approx(otsu[measure])
        assert row["ORACLE"][measure]["BT-TT"]["value"] == pytest.approx(best[measure])
    assert row["realistic"]["mean_iou"]["BV-VT"]["value"] == pytest.approx(own["mean_iou"], abs=2.5e-4)  # float16
    assert row["ORACLE"]["mean_iou"]["BV-TT"]["value"] == pytest.approx(best["highest_mean_iou"], abs=2.5e-4)


def test_each_weights_file_is_looked_at_once_and_a_broken_image_stays_named(
    boxless: Boxless, chosen: Path, data: Path, tmp_path: Path
) -> None:
    broken = make_shapes(tmp_path / "broken", {"train": 1, "val": 1, "test": 2})
    (broken / "test/red/0.png").write_bytes(b"no image")
    command = ("evaluate", chosen, broken, "--bootstrap", 0, "--protocol", "both", "--json")
    kept = set((chosen / "evaluations").glob("*.npz"))
    first = boxless(*command)
    made = set((chosen / "evaluations").glob("*.npz")) - kept
    weights = {each["weights"] for each in json.loads((chosen / "card.json").read_text())["criteria"].values()}
    assert len(made) == len(weights)
    stamps = {path: path.stat().st_mtime_ns for path in made}
    second = boxless(*command)
    assert (first.code, second.code) == (1, 1)
    assert first.json == second.json
    assert "red/0.png" in second.err
    assert second.json["images"] == 5
    assert "evaluating" not in second.err
    assert stamps == {path: path.stat().st_mtime_ns for path in made}


def test_a_run_that_is_shown_says_it(boxless: Boxless, chosen: Path) -> None:
    assert_said(boxless("show", "run", chosen).out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--split", "val"), "the runs were selected on it"),
        (("--pseudo-boxes", "x.csv"), "takes what the runs themselves selected"),
    ],
)
def test_what_the_table_cannot_take_is_refused(
    boxless: Boxless, chosen: Path, data: Path, more: tuple[str, ...], said: str
) -> None:
    done = boxless("evaluate", chosen, data, "--protocol", "both", *more)
    assert done.code == 2
    assert said in done.err
