"""A search as a user types it: begun, gone on with, and its trials opened as the runs they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import HERE, Boxless

pytest.importorskip("ray.tune")
pytest.importorskip("optuna")

TINY = (
    "backbone.name=test_resnet",
    "backbone.weights=random",
    "data.image_size=64",
    "training.batch_size=8",
    "training.epochs=2",
)
SPACE = ("--space", "training.learning_rate=1e-4..1e-2:log", "--space", "training.weight_decay=null")


@pytest.fixture
def search(shapes: Path, toys: None, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # workers are processes of their own
    settings = [*TINY, f"protocol.boxes={shapes}/boxes.csv"]
    given = [part for setting in settings for part in ("--set", setting)]
    return ("search", shapes, "--method", "toys:Toy", *given, *SPACE, "--concurrent", 1)


# Ray leaves a socket and a log file of its own to the interpreter's end.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_search_is_begun_made_longer_and_used(
    boxless: Boxless, shapes: Path, tmp_path: Path, search: tuple[object, ...]
) -> None:
    out = tmp_path / "search"
    done = boxless(*search, "--out", out, "--trials", 2, "--all-epochs", "--json")
    assert done.code == 0, done.err
    first = done.json
    assert [trial["state"] for trial in first["trials"]] == ["finished", "finished"]
    assert first["selected_by"] == "mean IoU with pseudo-boxes boxes of val; from a file that the user gave"

    refused = boxless(*search, "--out", out, "--trials", 2)
    assert refused.code == 2
    assert f"boxless search --resume --out {out}" in refused.err

    cards = {path: path.read_bytes() for path in out.glob("trials/*/card.json")}
    done = boxless("search", "--resume", "--out", out, "--trials", 3, "--trust", "--json")
    assert done.code == 0, done.err
    assert len(done.json["trials"]) == 3
    assert all(path.read_bytes() == content for path, content in cards.items())
    figures = [trial["value"] for trial in done.json["trials"] if trial["state"] == "finished"]
    assert done.json["best"]["value"] == max(figures)
    assert len({json.dumps(trial["settings"]) for trial in done.json["trials"]}) == 3

    best = out / done.json["best"]["folder"]
    used = boxless("predict", best, shapes / "test", "--out", tmp_path / "boxes", "--trust", "--json")
    assert used.code == 0, used.err
    assert not (out / ".ray").exists()
