"""Results on stdout, all else on stderr; one JSON document where it is asked for."""

from __future__ import annotations

import json
import sys

import pytest
import typer

from boxless.cli import output as module
from boxless.cli.options import parse_formats, parse_settings
from boxless.cli.output import Output, aligned, duration
from boxless.cli.progress import PlainProgress
from boxless.errors import ConfigError, UnknownNameError
from boxless.formats import FORMATS
from boxless.listener import counter


def test_columns_are_aligned_and_nothing_is_cut_on_a_pipe() -> None:
    path = "x" * 300
    assert aligned([("a", path), ("long", "[b]")], ("n", "value")).splitlines() == [
        "n     value",
        f"a     {path}",
        "long  [b]",
    ]


def test_json_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=True) as output:
        output.say("for people")
        output.table([("a", "b")])
        output.listener.note("a note")
        output.listener.begin("work", 2)
        output.listener.advance(2)
        output.finish({"done": 2})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"done": 2, "refused": []}
    assert "a note" in err
    assert "work: 2 of 2" in err


def test_what_was_refused_ends_the_verb_with_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    refused = [(f"{number}.png", f"/data/{number}.png: damaged") for number in range(30)]
    with pytest.raises(typer.Exit) as stopped, Output(as_json=False) as output:
        output.finish({}, refused)
    assert stopped.value.exit_code == 1
    err = capsys.readouterr().err
    assert "30 images were refused" in err
    assert "/data/0.png: damaged" in err
    assert "and 10 more" in err


def test_a_terminal_is_wrapped_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    text = aligned([("name", "word " * 20)])
    assert max(map(len, text.splitlines())) <= 40
    assert text.split().count("word") == 20


def test_progress_that_is_over_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress()
    progress.begin("training", 4, done=1)
    progress.advance(1, loss=0.5)
    progress.advance(2, loss=0.25)
    progress.end()
    progress.end()
    assert capsys.readouterr().err.splitlines() == ["training: 1 of 4", "training: 4 of 4  loss 0.25"]


def test_a_counter_of_totals_becomes_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=False) as output:
        count = counter(output.listener, "images")
        for done in (2, 4, 5):
            count(done, 5)
    assert capsys.readouterr().err.splitlines() == ["images: 0 of 5", "images: 5 of 5"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.4, "59.4 s"), (61, "1 min 1 s"), (3660, "1 h 1 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_formats_are_a_list_without_repeats() -> None:
    assert parse_formats("coco, csv,coco") == ["coco", "csv"]
    assert parse_formats("all") == list(FORMATS)


def test_formats_that_are_none_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="'yolo'"):
        parse_formats("yollo")
    with pytest.raises(ConfigError, match="--format"):
        parse_formats(" , ")


def test_settings_are_read_as_yaml() -> None:
    given = ["a.b=3", "a.c=x=y", "a.d=[1, two]", "a.e=", "a.f=: ["]
    assert parse_settings(given) == {"a.b": 3, "a.c": "x=y", "a.d": [1, "two"], "a.e": None, "a.f": ": ["}


@pytest.mark.parametrize("text", ["epochs=3", "training.epochs", ".=3", "a.=3", "=3"])
def test_a_text_that_sets_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.setting=value"):
        parse_settings([text])


def test_refusals_that_are_listed_are_not_endless() -> None:
    assert module.LISTED_REFUSALS == 20
