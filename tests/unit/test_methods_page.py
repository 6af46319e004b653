"""docs/methods.md against what it was made from: the table of methods and the kept results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from boxless.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("accuracy")


def test_the_table_on_the_page_is_that_of_the_kept_results(accuracy: ModuleType) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text(encoding="utf-8"))["rows"]
    assert accuracy.table(rows) in PAGE


def test_the_table_of_transformers_is_that_of_the_kept_results(accuracy: ModuleType) -> None:
    transformers = importlib.import_module("small_transformers")
    rows = json.loads(accuracy.TRANSFORMERS.read_text(encoding="utf-8"))["rows"]
    made = accuracy.rows_table(rows, tuple(transformers.ROWS), transformers.COLUMNS)
    assert made in transformers.PAGE.read_text(encoding="utf-8")


def test_the_table_of_clips_is_that_of_the_kept_results(accuracy: ModuleType) -> None:
    clips = importlib.import_module("clips")
    rows = json.loads(accuracy.VIDEOS.read_text(encoding="utf-8"))["rows"]
    assert accuracy.rows_table(rows, tuple(clips.ROWS), clips.COLUMNS) in clips.PAGE.read_text(encoding="utf-8")


def test_tables_of_other_pages_are_those_of_the_kept_results(accuracy: ModuleType) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text(encoding="utf-8"))["rows"]
    taught = accuracy.rows_table(rows, accuracy.TAUGHT, accuracy.TAUGHT_COLUMNS)
    assert taught in accuracy.TAUGHT_PAGE.read_text(encoding="utf-8")
    named = accuracy.rows_table(rows, accuracy.NAMED, accuracy.NAMED_COLUMNS)
    assert named in accuracy.NAMED_PAGE.read_text(encoding="utf-8")


def test_the_page_says_of_each_method_what_it_changes() -> None:
    before, _, _ = PAGE.partition("## Which one?")
    assert [line.split("`")[1] for line in before.splitlines() if line.startswith("| `")] == list(METHODS)


def test_a_recipes_own_figures_are_those_of_the_kept_results(accuracy: ModuleType, tmp_path: Path) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text(encoding="utf-8"))["rows"]
    for name in METHODS:
        recipe = accuracy.recipe_of(name)
        needs = METHODS.load(name).needs
        if needs.text == "required" or needs.prefix_tokens or needs.steering:
            assert not recipe.exists()  # its weights are on the hub, or those of any transformer are
            continue
        written = recipe.read_text(encoding="utf-8")
        if name not in rows:
            assert written.endswith("\nours: not yet measured\n"), name
            continue
        copy = tmp_path / recipe.name
        copy.write_text(written, encoding="utf-8")
        accuracy.write_recipe(copy, rows[name])
        assert copy.read_text(encoding="utf-8") == written
