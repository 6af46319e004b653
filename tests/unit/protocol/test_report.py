"""What a report says to people, programs and pictures, and how two of them compare."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxless.errors import ConfigError, DataError
from boxless.metrics.bootstrap import poisson_weights
from boxless.protocol.evaluate import with_oracle
from boxless.protocol.report import Report, compare, make_report
from boxless.protocol.scoring import LEVELS, Named, Scoring
from boxless.protocol.threshold import Threshold, parse_sources
from boxless.report.curves import draw_curves

WHOLE, STRIPE, HALF = (0, 0, 10, 10), (0, 0, 2, 10), (0, 0, 5, 10)

Score = Callable[..., Scoring]


def report_on(scoring: Scoring, protocol: str = "otsu,fixed=0.3,oracle-test", **options: Any) -> Report:
    rules = [with_oracle(rule, scoring, "test") for rule in parse_sources(protocol, "otsu")]
    given = {"name": "runs/a", "rules": rules, "split": "split test", "truth_source": "boxes.csv", **options}
    given.setdefault("selected_by", "class accuracy on val")
    return make_report(
        given.pop("name"), scoring, given.pop("rules"), box_rule="largest", without_box=0, refused=[], **given
    )


@pytest.fixture
def report(score: Score) -> Report:
    return report_on(score(replicates=200))


def test_all_of_it_goes_to_json_and_back(report: Report) -> None:
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain == report.to_dict()
    assert (plain["name"], plain["images"], plain["truth"], plain["iou_levels"]) == (
        "runs/a",
        7,
        "boxes.csv",
        [0.3, 0.5, 0.7],
    )
    assert [each["threshold"]["source"] for each in plain["protocols"]] == ["otsu", "fixed", "oracle-test"]
    assert [each["threshold"]["oracle"] for each in plain["protocols"]] == [False, False, True]
    assert plain["protocols"][2]["threshold"]["values"] == [0.25, 0.0, 0.5]
    figure = plain["protocols"][1]["figures"]["box_accuracy"]
    assert figure["value"] == pytest.approx(400 / 7)
    assert figure["low"] < figure["value"] < figure["high"]


def test_curves_are_in_it_at_each_threshold(report: Report) -> None:
    curves = report.to_dict()["curves"]
    assert len(curves["thresholds"]) == len(curves["mean_iou"]) == 1000
    assert [curves["box_accuracy"]["0.3"][place] for place in (0, 250, 500)] == pytest.approx([400 / 7, 100, 500 / 7])
    assert set(curves["box_accuracy"]) == {"0.3", "0.5", "0.7"}


def test_every_interval_holds_its_figure_and_without_replicates_there_is_none(report: Report, score: Score) -> None:
    figures = {**report.column("fixed").figures, **report.column("otsu").figures, **report.figures}
    assert len(figures) > 10
    for key, each in figures.items():
        assert each.low <= each.value <= each.high, key
    without = report_on(score(replicates=0))
    for column in without.columns:
        assert np.isnan([[each.low, each.high] for each in column.figures.values()]).all()
    rows = {row[0]: row[1:] for row in without.rows()}
    assert rows["mean IoU"] == ("0.600", "0.600", "0.514")
    assert without.to_dict()["protocols"][0]["figures"]["mean_iou"] == {
        "value": pytest.approx(0.6),
        "low": None,
        "high": None,
    }


def test_a_table_names_each_threshold_and_what_chose_it(report: Report) -> None:
    rows = {row[0]: row[1:] for row in report.rows()}
    assert report.header() == ("runs/a", "otsu", "fixed 0.3", "oracle-test")
    assert rows["threshold"] == ("each map's own", "0.300", "0.000")
    assert rows["threshold from"] == ("Otsu: no box", "given: no box", "ORACLE: these boxes")
    assert rows["selected by"] == ("class accuracy on val", "", "")
    assert rows["box accuracy, IoU 0.5 (GT-known)"][0].startswith("42.9 [")
    assert rows["mean IoU, highest of all thresholds"][:2] == ("", "")  # an oracle, so in the oracle's column alone
    assert rows["images"] == ("7 (split test)", "", "")
    assert {len(row) for row in report.rows()} == {4}


def test_what_is_best_of_all_is_called_an_oracle_wherever_it_is_shown(report: Report) -> None:
    titles = [row[0] for row in report.rows()]
    assert "baseline: centred, ORACLE: best side" in titles
    assert report.columns[-1].threshold.is_oracle
    assert "highest_mean_iou" not in report.column("otsu").figures


def test_no_box_gives_dashes_and_null(score: Score) -> None:
    named = Named(np.array([True, False]), np.array([True, True]), np.zeros((2, 10, 10)))
    report = report_on(score([[], []], named=named, replicates=50))
    rows = {row[0]: row[1:] for row in report.rows()}
    assert rows["box accuracy, IoU 0.5 (GT-known)"] == ("–", "–", "–")
    assert rows["threshold"] == ("each map's own", "0.300", "–")
    assert rows["class accuracy"][0].startswith("50.0 [")
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["protocols"][2]["figures"]["box_accuracy"] == {"value": None, "low": None, "high": None}
    assert plain["protocols"][2]["threshold"]["values"] == [None] * 3
    assert set(plain["curves"]["mean_iou"]) == {None}


def test_no_image_at_all_is_a_report_too() -> None:
    report = report_on(Scoring(parse_sources("otsu,oracle-test", "otsu")), "otsu,oracle-test")
    assert [row[0] for row in report.rows()] == ["threshold", "threshold from", "selected by", "images"]
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["images"] == 0


def test_one_image_has_an_interval_of_its_one_figure(score: Score) -> None:
    figure = report_on(score([[HALF]], replicates=100)).column("fixed").figures["box_accuracy"]
    assert (figure.value, figure.low, figure.high) == (100, 100, 100)


def test_a_column_is_found_by_source_or_name_and_else_those_there_are_named(report: Report) -> None:
    assert report.column("fixed") is report.column("fixed 0.3") is report.columns[1]
    with pytest.raises(ConfigError, match=r"'validation'; this report has otsu, fixed 0.3, oracle-test"):
        report.column("validation")


def test_the_curve_is_marked_where_each_source_lies(report: Report, tmp_path: Path) -> None:
    curve = report.curve()
    threshold, figures = curve.marks["otsu"]
    assert threshold is None
    assert list(figures) == pytest.approx([500 / 7, 300 / 7, 300 / 7])
    assert list(curve.marks["fixed 0.3"][0]) == [0.3] * 3
    places, figures = curve.marks["oracle-test"]
    assert list(places) == [0.25, 0.0, 0.5]
    assert list(figures) == pytest.approx([curve.accuracy[i].max() for i in range(3)])
    assert draw_curves(tmp_path / "curves.png", [curve]).read_bytes().startswith(b"\x89PNG")


def test_a_run_differs_from_itself_by_exactly_nothing(report: Report, score: Score) -> None:
    for other in (report, report_on(score(replicates=200, batch=1))):
        differences = compare(report, other).differences
        assert len(differences) > 20
        for place, each in differences.items():
            assert (each.value, each.low, each.high, each.p_value) == (0, 0, 0, 1), place


def test_a_difference_is_the_second_less_the_first_on_the_same_draws(score: Score) -> None:
    better = report_on(score([[HALF]] * 7, replicates=300), name="runs/b")
    comparison = compare(report_on(score(replicates=300)), better)
    found = comparison.differences["fixed 0.3", "box_accuracy"]
    assert (found.first, found.second, found.value) == pytest.approx((400 / 7, 100, 300 / 7))
    weights = poisson_weights([str(i) for i in range(7)], 300).astype(float)
    drawn = np.array([100, 100, 100, 0, 0, 0, 0.0]) @ weights / weights.sum(0)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(drawn, [0.025, 0.975])), rel=1e-5)
    rows = {row[:2]: row[2:] for row in comparison.rows()}
    assert rows["box accuracy, IoU 0.5 (GT-known)", "fixed 0.3"][:2] == ("57.1", "100.0")
    assert rows["box accuracy, IoU 0.5 (GT-known)", "fixed 0.3"][2].startswith("+42.9 [")
    assert comparison.header() == ("runs/b less runs/a", "threshold", "runs/a", "runs/b", "difference", "p")
    plain = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert (plain["first"], plain["second"]) == ("runs/a", "runs/b")
    assert {each["figure"] for each in plain["second_less_first"]} >= {"box_accuracy", "mean_iou", "box_accuracy_v2"}


def test_baselines_are_not_compared(report: Report) -> None:
    keys = {key for _, key in compare(report, report).differences}
    assert not any(word in key for key in keys for word in ("centred", "whole", "random"))


def test_runs_are_compared_each_at_its_own_validation_threshold(score: Score) -> None:
    scoring = score(protocol="validation", replicates=100)
    low, high = (
        report_on(scoring, rules=[Threshold("validation", LEVELS, (value,) * 3, "val")]) for value in (0.3, 0.5)
    )
    found = compare(low, high).differences["validation", "box_accuracy_0.3"]
    assert (found.first, found.second) == pytest.approx((100, 500 / 7))
    assert found.value == pytest.approx(-200 / 7)


def test_each_runs_own_rule_is_compared_with_the_others(score: Score) -> None:
    reports = []
    for own in ("otsu", 0.3):
        rules = parse_sources("run,fixed=0.6", own)
        scoring = score(protocol="otsu,fixed=0.3,fixed=0.6", replicates=50)
        reports.append(report_on(scoring, rules=rules))
    differences = compare(*reports).differences
    assert {source for source, _ in differences} == {"run", "fixed 0.6"}
    found = differences["run", "box_accuracy_0.3"]
    assert (found.first, found.second) == pytest.approx((500 / 7, 100))


def test_a_source_that_one_alone_has_is_not_compared(score: Score) -> None:
    scoring = score(replicates=20)
    differences = compare(report_on(scoring, "otsu,fixed=0.3"), report_on(scoring, "otsu,oracle-test")).differences
    assert {source for source, _ in differences} == {"otsu"}


def test_reports_on_other_images_are_refused(score: Score) -> None:
    one, other = report_on(score(replicates=20)), report_on(score([[HALF]] * 6, replicates=20))
    with pytest.raises(DataError, match=r"on 7 images and .* on 6, which are not the same"):
        compare(one, other)


def test_without_replicates_differences_have_no_interval(score: Score) -> None:
    report = report_on(score())
    comparison = compare(report, report)
    assert {row[-2:] for row in comparison.rows()} == {("+0.0", "–"), ("+0.000", "–")}
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_reports_of_other_box_rules_are_not_compared(score: Score) -> None:
    one = report_on(score(replicates=20))
    other = dataclasses.replace(one, box_rule="the best of all")
    with pytest.raises(ConfigError, match="evaluate both by one rule"):
        compare(one, other)
