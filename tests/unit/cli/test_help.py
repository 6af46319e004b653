"""The command line as it is read: help that fits a screen, tables, listings."""

from __future__ import annotations

import json

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from boxless import __version__
from boxless.cli.app import app
from boxless.methods import METHODS

VERBS = list(get_command(app).commands)


def shown(*arguments: str, columns: int = 100) -> str:
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(
        app, list(arguments), catch_exceptions=False, terminal_width=columns
    )
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS)], ids=["", *VERBS])
def test_help_fits_a_screen(verb: tuple[str, ...]) -> None:
    lines = shown(*verb, "--help").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "verb",
    [
        "train",
        "predict",
        "evaluate",
        "report",
        "app",
        "export",
        "push",
        "explain",
        "annotate",
        "search",
        "benchmark",
        "show",
    ],
)
def test_examples_stand_on_lines_of_their_own(verb: str) -> None:
    lines = shown(verb, "--help").splitlines()
    assert sum(line.startswith(f"    boxless {verb} ") for line in lines) >= 2
    assert not any(r"\b" in line for line in lines)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_speaks_json(verb: str) -> None:
    assert "--json" in shown(verb, "--help")


def test_verbs_are_listed_in_the_order_of_the_work_with_whole_sentences() -> None:
    text = shown("--help", columns=78)
    assert VERBS == [
        "demo", "inspect", "train", "predict", "evaluate", "report", "app", "export", "push", "explain", "annotate",
        "search", "benchmark", "list", "show", "doctor",
    ]  # fmt: skip
    places = [text.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places)
    assert "..." not in text.partition("Commands:")[2]


def test_the_version_is_said() -> None:
    assert shown("--version") == f"boxless {__version__}\n"


@pytest.mark.parametrize("table", ["methods", "backbones", "datasets", "formats", "maps", "annotators"])
def test_a_listing_says_the_same_to_people_and_programs(table: str) -> None:
    text, rows = shown("list", table), json.loads(shown("list", table, "--json"))
    assert rows
    for row in rows:
        for value in row.values():
            assert value
            assert value in text


def test_without_a_table_the_tables_are_listed() -> None:
    assert [row["table"] for row in json.loads(shown("list", "--json"))] == [
        "methods", "backbones", "datasets", "formats", "maps", "annotators",
    ]  # fmt: skip


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_is_shown_with_its_paper_and_what_each_setting_means(name: str) -> None:
    found = json.loads(shown("show", "method", name, "--json"))
    text = shown("show", "method", name)
    assert found["paper"]["url"] in text
    for setting in found["settings"]:
        assert setting["meaning"], setting
        assert setting["meaning"] in text


def test_every_setting_of_a_recipe_is_shown_with_value_and_meaning() -> None:
    found = json.loads(shown("show", "recipe", "--json"))
    listed = {each["name"]: each for each in found["settings"]}
    sections = {
        f"{section}.{name}" for section, values in found["recipe"].items() if section != "version" for name in values
    }
    assert set(listed) == sections
    assert listed["training.batch_size"]["value"] == 32
    assert listed["training.batch_size"]["meaning"] == "images a step, over all devices"


def test_a_backbone_is_shown_with_its_stages() -> None:
    found = json.loads(shown("show", "backbone", "test_resnet", "--json"))
    assert [stage["stride"] for stage in found["stages"]] == [2, 4, 8, 16, 32]
