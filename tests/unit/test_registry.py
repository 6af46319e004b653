from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from boxless import registry
from boxless.errors import BoxlessError, ConfigError, UnknownNameError
from boxless.registry import Registry


def table(**entries: str) -> Registry:
    return Registry("toy", entries)


def test_nothing_is_imported_before_a_name_is_asked_for() -> None:
    sys.modules.pop("this", None)
    made = table(zen="this:s")
    assert list(made) == ["zen"]
    assert "zen" in made
    assert "this" not in sys.modules


def test_a_name_gives_what_it_stands_for() -> None:
    assert table(path="pathlib:Path").load("path") is __import__("pathlib").Path


def test_a_target_can_be_named_directly() -> None:
    assert table().load("pathlib:Path") is __import__("pathlib").Path


def test_an_unknown_name_is_met_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown toy 'pth'; did you mean 'path'"):
        table(path="pathlib:Path").load("pth")


def plugin(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(name, value, "boxless.toys")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == entry.group else [])


def test_other_packages_add_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin("theirs", "math:pi", monkeypatch)
    made = table(ours="math:e")
    assert list(made) == ["ours", "theirs"]
    assert round(made.load("theirs"), 2) == 3.14


def test_a_name_listed_twice_is_refused_with_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin("ours", "math:pi", monkeypatch)
    with pytest.raises(ConfigError, match="'ours' is listed twice: math:e and math:pi"):
        table(ours="math:e")


@pytest.mark.parametrize("target", ["no_such_module_at_all:Thing", "pathlib:NoSuchThing"])
def test_a_target_that_cannot_be_imported_is_the_users_to_mend(target: str) -> None:
    with pytest.raises(BoxlessError, match=target.partition(":")[2]):
        table().load(target)
