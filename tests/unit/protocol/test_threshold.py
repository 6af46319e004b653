"""Threshold sources: which there are, what they are called, and what an unknown one is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from boxless.errors import ConfigError, UnknownNameError
from boxless.protocol.threshold import (
    FIXED,
    ORACLE,
    OTSU,
    PSEUDO,
    SOURCES,
    VALIDATION,
    Threshold,
    best_thresholds,
    found,
    parse_sources,
)

NAN = float("nan")


def names(text: str | list[str], own: str | float = "otsu", *, pseudo: bool = False) -> list[str]:
    return [each.name for each in parse_sources(text, own, pseudo=pseudo)]


def test_sources_come_from_the_one_that_knows_least_to_the_oracle() -> None:
    assert names("oracle-test, validation,fixed=0.5,validation-pseudo,otsu,fixed=0.2") == [
        "otsu", "fixed 0.2", "fixed 0.5", "validation-pseudo", "validation", "oracle-test",
    ]  # fmt: skip
    assert list(SOURCES)[-1] == ORACLE


def test_a_list_is_read_as_a_text_is_and_names_each_source_once() -> None:
    assert parse_sources(["otsu", " oracle-test "], "otsu") == parse_sources("otsu,oracle-test,,otsu", "otsu")


def test_run_is_what_the_run_itself_does() -> None:
    assert names("run", "otsu") == ["otsu"]
    assert names("run", 0.35) == ["fixed 0.35"]
    assert parse_sources("run", 0.35)[0].found_on == "the run's own rule"
    assert parse_sources("fixed=0.35", "otsu")[0].found_on == "given by the user"


@pytest.mark.parametrize(("text", "own", "name"), [("otsu,run", "otsu", "otsu"), ("fixed=.35,run", 0.35, "fixed 0.35")])
def test_the_runs_own_rule_by_its_name_too_is_one_column(text: str, own: str | float, name: str) -> None:
    assert names(text, own) == [name]


def test_all_means_all_that_need_no_number() -> None:
    assert names("all") == ["otsu", "validation", "oracle-test"]
    assert names("all", 0.35) == ["otsu", "fixed 0.35", "validation", "oracle-test"]
    assert names("all,fixed=0.1", pseudo=True) == ["otsu", "fixed 0.1", PSEUDO, "validation", "oracle-test"]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("otsuu", "'otsu'"),
        ("oracle", "'oracle-test'"),
        ("validaton", "'validation'"),
        ("otsu=0.3", "'otsu'"),
        ("al", "'all'"),
        ("TT", "known: otsu, fixed"),
    ],
)
def test_an_unknown_source_is_refused_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown threshold source {text!r}.*{near}"):
        parse_sources(text, "otsu")


@pytest.mark.parametrize("text", ["", " , ", [], [""]])
def test_no_source_is_refused(text: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="names no threshold source; give some of otsu, fixed"):
        parse_sources(text, "otsu")


@pytest.mark.parametrize("number", ["1.2", "1", "-0.1", "nan", "inf"])
def test_a_fixed_threshold_that_is_no_fraction_is_told_so(number: str) -> None:
    with pytest.raises(ConfigError, match=rf"got fixed={float(number):g}; a threshold is a fraction .* in \[0, 1\)"):
        parse_sources(f"fixed={number}", "otsu")


@pytest.mark.parametrize("text", ["fixed", "fixed=", "fixed=half", "fixed=0.3=0.4"])
def test_a_fixed_threshold_without_its_number_is_told_how_to_give_it(text: str) -> None:
    with pytest.raises(ConfigError, match=f"got {text!r}; a fixed threshold is given as fixed=0.35"):
        parse_sources(text, "otsu")


def test_the_lowest_of_the_best_thresholds_counts_at_each_level() -> None:
    right = np.array([[10.0, 50, 50, 40], [70, 60, 60, 60], [np.nan] * 4])
    best = best_thresholds(right, np.array([0.0, 0.25, 0.5, 0.75]))
    assert best[:2] == (0.25, 0.0)
    assert np.isnan(best[2])


def test_each_level_has_its_own_threshold() -> None:
    rule = parse_sources("validation", "otsu")[0]
    assert rule.at(0.5) is None  # none was found so far
    rule = found(rule, np.array([[0.0, 1], [1, 0]]), np.array([0.2, 0.4]), (0.3, 0.5), "2 images")
    assert (rule.at(0.3), rule.at(0.5), rule.found_on) == (0.4, 0.2, "2 images")
    fixed = parse_sources("fixed=0.1", "otsu")[0]
    assert (fixed.at(0.3), fixed.at(0.5)) == (0.1, 0.1)
    assert parse_sources("otsu", 0.1)[0].at(0.5) is None


def test_what_true_boxes_chose_is_named_an_oracle_wherever_it_is_shown() -> None:
    rules = parse_sources("all,fixed=0.1", "otsu", pseudo=True)
    assert [rule.source for rule in rules if rule.is_oracle] == [VALIDATION, ORACLE]
    assert [rule.source for rule in rules if rule.is_best_here] == [ORACLE]
    assert [rule.source for rule in rules if rule.comes_from.startswith("ORACLE")] == [VALIDATION, ORACLE]
    assert [rule.source for rule in rules if rule.to_dict()["oracle"]] == [VALIDATION, ORACLE]
    said = {rule.source: rule.comes_from for rule in rules}
    assert (said[OTSU], said[FIXED], said[PSEUDO]) == ("Otsu: no box", "given: no box", "val's pseudo-boxes")


def test_a_threshold_that_the_run_found_is_not_called_a_users() -> None:
    (rule,) = parse_sources("run", 0.31, own_found_on="the best by mean IoU on 9 pseudo-boxes of val, spectral")
    assert (rule.name, rule.source, rule.at(0.7), rule.is_own, rule.is_oracle) == ("run 0.31", "run", 0.31, True, False)
    assert rule.to_dict()["threshold_from"] == "the best by mean IoU on 9 pseudo-boxes of val, spectral"
    by_true_boxes = parse_sources("run", 0.31, own_found_on="the best by mean IoU on val's true boxes (ORACLE)")[0]
    assert (by_true_boxes.is_oracle, by_true_boxes.is_best_here) == (True, False)
    assert parse_sources("run", "otsu", own_found_on="")[0].source == OTSU


def test_all_of_it_goes_to_json_with_null_for_what_was_not_found() -> None:
    plain = Threshold(VALIDATION, (0.3, 0.5), (0.25, NAN), "no image").to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == {
        "source": "validation",
        "threshold_from": "ORACLE: val's true boxes",
        "oracle": True,
        "own": False,
        "iou_levels": [0.3, 0.5],
        "values": [0.25, None],
        "found_on": "no image",
    }
