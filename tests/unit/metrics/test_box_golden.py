"""The figures of wsolevaluation, to the last digit; tests/golden/box_accuracy.json says how its numbers were made."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from boxless.metrics.box_metric import BoxAccuracy
from boxless.metrics.boxes import iou_curves

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((FOLDER / "box_accuracy.json").read_text(encoding="utf-8"))
LEVELS = (30, 50, 70)
MODES = ("largest", "all")
KINDS = tuple(GOLDEN["largest"]["kinds"])

specification = importlib.util.spec_from_file_location("golden_maps", FOLDER / "maps.py")
maps = importlib.util.module_from_spec(specification)
specification.loader.exec_module(maps)


@cache
def cases(kind):
    return list(maps.cases(kind))


def inputs(kind):
    """Maps, true boxes and sizes."""
    return (
        np.stack([case.values for case in cases(kind)]),
        [case.boxes for case in cases(kind)],
        [case.size for case in cases(kind)],
    )


@cache
def metric(kind, contours):
    scores = BoxAccuracy(contours=contours, compat="wsolevaluation")
    scores.update(*inputs(kind))
    return scores


def unrolled(runs):
    return np.repeat([count for count, _ in runs], [length for _, length in runs])


def test_the_maps_are_those_that_the_golden_numbers_are_of():
    every = [case for kind in KINDS for case in cases(kind)]
    assert maps.suite_digest(every) == GOLDEN["maps_sha256"]
    assert len(every) == GOLDEN["largest"]["all"]["count"] >= 300


@pytest.mark.parametrize("contours", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_map_reaches_the_same_overlap_at_each_threshold(kind, contours):
    curves = iou_curves(*inputs(kind), contours=contours, compat="wsolevaluation")
    expected = GOLDEN[contours]["digests"]
    found = {case.name: maps.curve_digest(curve) for case, curve in zip(cases(kind), curves, strict=True)}
    assert [name for name, digest in found.items() if digest != expected[name]] == []


@pytest.mark.parametrize("contours", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_as_many_maps_are_right_at_each_level_and_threshold(kind, contours):
    expected, found = GOLDEN[contours]["kinds"][kind], metric(kind, contours).compute()
    right = np.array([unrolled(runs) for runs in expected["num_correct"]])
    assert right.shape == (len(LEVELS), 1000)
    assert np.array_equal(found.accuracy, right * 100.0 / expected["count"])
    assert found.accuracy.max(axis=1).tolist() == expected["max_box_acc_at_level"]
    assert (found.max_box_acc, found.max_box_acc_v2) == (expected["max_box_acc"], expected["max_box_acc_v2"])


@pytest.mark.parametrize("contours", MODES)
def test_the_metrics_of_all_kinds_added_up_give_the_same_two_figures(contours):
    total = BoxAccuracy(contours=contours, compat="wsolevaluation")
    total.update(*inputs(KINDS[0]))
    for kind in KINDS[1:]:
        total.merge_state(metric(kind, contours))
    expected, found = GOLDEN[contours]["all"], total.compute()
    assert found.images == expected["count"]
    assert (found.max_box_acc, found.max_box_acc_v2) == (expected["max_box_acc"], expected["max_box_acc_v2"])


def test_the_digest_tells_curves_apart_but_not_by_the_last_bit():
    curve = np.array([1 / 8192, 0.3, 0.0, 1.0, 2 / 3])
    assert maps.curve_digest(curve) == maps.curve_digest(np.nextafter(curve, 0.5))
    assert maps.curve_digest(curve) != maps.curve_digest(curve + np.array([0, 0, 0, 0, 1e-9]))
