"""A benchmark as a user runs it: tiny methods, stopped in the middle and gone on with, and its tables by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from boxless import InterruptedRunError, Listener, evaluate
from boxless.benchmark import list_jobs, run_benchmark
from boxless.benchmark.figures import TITLES

from .conftest import HERE, Boxless, call, make_shapes

SETTINGS = {
    "data.image_size": 32,
    "data.augment": False,
    "backbone.name": "test_resnet",
    "backbone.weights": "random",
    "training.epochs": 2,
    "training.batch_size": 8,
}
METHODS = {
    "bright": {"method": "toys:Bright"},
    "shifted": {"method": "toys:Bright", "set": {"method.shift": 2}},
    "transformer": {"method": "toys:NeedsClassToken"},  # it does not fit the backbone
}
RATES = ("0.01", "0.0001")
FAILING = [f"shapes/transformer/training.learning_rate={rate}/seed-0" for rate in RATES]


class Hears(Listener):
    """Counts epochs, and ends the work after some, as Ctrl-C does."""

    def __init__(self, end: int = 0) -> None:
        self.epochs, self.end_at, self.stretches = 0, end, []

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.stretches.append(task)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.epochs += 1
        if self.epochs == self.end_at:
            raise KeyboardInterrupt


def write(folder: Path, **changes: Any) -> Path:
    """The file of a benchmark beside its data; pseudo-boxes of val are its true ones."""
    wanted = {
        "out": "runs",
        "datasets": {"shapes": {"source": "shapes", "set": SETTINGS}},
        "methods": METHODS,
        "configurations": {"training.learning_rate": [float(rate) for rate in RATES]},
        "protocol": {"boxes": str(folder / "shapes" / "boxes.csv"), "oracle": True},
        **changes,
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(wanted, sort_keys=False))
    return folder / "bench.yaml"


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """A benchmark that was stopped and gone on with: its folder, and how far its jobs were each time."""
    folder = tmp_path_factory.mktemp("bench")
    make_shapes(folder / "shapes", {"train": 8, "val": 2, "test": 3})
    path, found = write(folder), {"folder": [str(folder)]}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        with pytest.raises(InterruptedRunError, match="Give the same command again"):
            run_benchmark(path, trust=True, listener=Hears(end=3))
        found["stopped"] = [job["state"] for job in list_jobs(path, trust=True)]
        first = folder / "runs/shapes/bright/training.learning_rate=0.01/seed-0/model.safetensors"
        found["first"] = [str(first.stat().st_mtime_ns)]
        done = call("benchmark", path, "--trust", "--json")
        found |= {"code": [str(done.code)], "out": [done.out], "err": [done.err]}
        found["first"].append(str(first.stat().st_mtime_ns))
        found["done"] = [job["state"] for job in list_jobs(path, trust=True)]
    return found


@pytest.fixture
def folder(states: dict[str, list[str]]) -> Path:
    return Path(states["folder"][0])


@pytest.fixture
def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs" / "results.json").read_text())


def test_what_was_stopped_goes_on_and_what_was_finished_is_left(states: dict[str, list[str]]) -> None:
    assert states["stopped"] == ["finished", "unfinished", "new", "new", "new", "new"]
    assert states["done"] == ["finished"] * 4 + ["new"] * 2
    assert states["first"][0] == states["first"][1]


def test_a_combination_that_fails_is_named_and_the_rest_is_done(
    states: dict[str, list[str]], results: dict[str, Any]
) -> None:
    assert states["code"] == ["1"]
    assert "2 trainings failed:" in states["err"][0]
    assert [each["name"] for each in results["failed"]] == FAILING
    assert all("needs a class token" in each["reason"] for each in results["failed"])
    assert [row["method"] for row in results["rows"]] == ["bright", "shifted"]
    assert json.loads(states["out"][0]) == results


def test_the_table_is_what_evaluate_says_of_the_chosen_runs(folder: Path, results: dict[str, Any], toys: None) -> None:
    lines = list(csv.DictReader((folder / "runs" / "results.csv").read_text().splitlines()))
    for row, line in zip(results["rows"], lines, strict=True):
        (run,) = row["runs"]
        report = evaluate(run, protocol="run,oracle-test", trust=True)
        own, oracle = report.columns
        for key, digits in (("box_accuracy", 1), ("mean_iou", 3), ("top1_localization", 1)):
            assert row["realistic"][key]["value"] == pytest.approx(own.figures[key].value, abs=1e-3)
            assert line[TITLES[key]].startswith(f"{row['realistic'][key]['value']:.{digits}f} [")
        assert row["realistic"]["class_accuracy"]["value"] == pytest.approx(report.figures["class_accuracy"].value)
        best = row["ORACLE"]["box_accuracy_at_test_best_threshold"]
        assert best["value"] == pytest.approx(oracle.figures["box_accuracy"].value)
        assert line["ORACLE: box accuracy at the test-best threshold"].startswith(f"{best['value']:.1f} [")


def test_val_chooses_the_configuration_and_the_row_says_by_what(folder: Path, results: dict[str, Any]) -> None:
    cards = json.loads((folder / "runs" / "cards.json").read_text())
    for row in results["rows"]:
        values = {
            name: json.loads((folder / f"runs/shapes/{row['method']}/{name}/seed-0/card.json").read_text())["selection"]
            for name in row["configurations"]
        }
        assert row["configurations"] == {name: each["value"] for name, each in values.items()}
        assert row["selection_value"] == max(row["configurations"].values())
        assert row["selected_by"] == "mean IoU with pseudo-boxes of val, boxes"
        assert "pseudo-boxes of val" in row["threshold_from"]
        card = cards[row["protocol_card"]]
        assert card["cards"][0]["selection"] == values[row["configuration"]]
        assert card["measured_on"] == {"split": "test", "contours": "largest", "iou": 0.5}


def test_the_winner_is_said_with_its_paired_distance_to_the_next(results: dict[str, Any]) -> None:
    bright, shifted = (row["realistic"]["box_accuracy"]["value"] for row in results["rows"])
    won = results["winners"]["shapes"]
    assert next(iter(results)) == "winners"
    assert (won["method"], won["runner_up"]["method"]) == ("bright", "shifted")
    assert bright > shifted
    above = won["above_runner_up"]
    assert above["value"] == pytest.approx(bright - shifted, abs=1e-4)
    assert above["low"] <= above["value"] <= above["high"]
    assert won["chosen_on_val"]["method"] == "bright"


def test_each_column_is_realistic_or_an_oracle(folder: Path, results: dict[str, Any]) -> None:
    header = (folder / "runs" / "protocol-shapes.csv").read_text().splitlines()[0].split(",")
    assert {"realistic: BV-VT", "ORACLE: BT-TT"} <= set(header)
    rows = {(row["group"], row["criterion"]): row for row in results["protocol"]["shapes"]["rows"]}
    realistic = rows["bright", "pseudo:boxes"]["realistic"]["box_accuracy"]["BV-VT"]
    assert realistic["value"] == pytest.approx(results["rows"][0]["realistic"]["box_accuracy"]["value"])
    for kind in ("md", "csv", "tex"):
        assert "ORACLE" in (folder / "runs" / f"results.{kind}").read_text()


def test_a_second_call_trains_and_measures_nothing(folder: Path, toys: None) -> None:
    before = {path: path.read_bytes() for path in (folder / "runs").glob("*.*")}
    assert len(before) == 14
    hears = Hears()
    run_benchmark(folder / "bench.yaml", trust=True, listener=hears)
    assert (hears.epochs, hears.stretches) == (0, [])
    assert {path: path.read_bytes() for path in (folder / "runs").glob("*.*")} == before


def test_a_run_by_other_settings_is_refused_and_not_overwritten(folder: Path, toys: None) -> None:
    weights = folder / "runs/shapes/bright/training.learning_rate=0.01/seed-0/model.safetensors"
    before = weights.read_bytes()
    methods = {
        "bright": {"method": "toys:Bright", "set": {"training.weight_decay": 0.5}},
        "shifted": METHODS["shifted"],
    }
    path = write(folder, methods=methods)
    listed = list_jobs(path, trust=True)
    assert [job["state"] for job in listed] == ["refused", "refused", "finished", "finished"]
    assert "training.weight_decay is 0.5, the run has 0.0001" in listed[0]["reason"]
    result = run_benchmark(path, folder / "runs", trust=True)
    assert [name for name, _ in result.failed] == [job["name"] for job in listed[:2]]
    assert [row.choice.method for row in result.rows] == ["shifted"]
    assert result.winners["shapes"]["runner_up"] is None
    assert weights.read_bytes() == before


def test_a_dry_run_lists_jobs_and_trains_nothing(shapes: Path, tmp_path: Path, boxless: Boxless, toys: None) -> None:
    data = {"shapes": {"source": str(shapes), "set": SETTINGS}}
    path = write(tmp_path, datasets=data, seeds=[0, 1])
    done = boxless("benchmark", path, "--dry-run", "--trust", "--out", tmp_path / "there")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 1 + 3 * 2 * 2
    assert lines[1].split() == ["shapes/bright/training.learning_rate=0.01/seed-0", "new"]
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "runs").exists()


def test_where_nothing_could_be_trained_there_is_no_table(
    shapes: Path, tmp_path: Path, boxless: Boxless, toys: None
) -> None:
    data = {"shapes": {"source": str(shapes), "set": SETTINGS}}
    path = write(tmp_path, datasets=data, methods={"transformer": METHODS["transformer"]})
    done = boxless("benchmark", path, "--trust")
    assert done.code == 2
    assert "no training could be finished" in done.err
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
