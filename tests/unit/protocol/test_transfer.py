"""Which run and which threshold: three runs whose IoU at each threshold is known, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from boxless.metrics.bootstrap import poisson_weights
from boxless.metrics.drawn import draw
from boxless.protocol.evaluations import Evaluation, make_evaluation
from boxless.protocol.transfer import Candidate, best_on_val, combine, figures

NAMES = [str(number) for number in range(4)]
LOW, HIGH = slice(0, 500), slice(500, 1000)  # thresholds below 0.5, and from there on


def evaluation(low: list[float], high: list[float], otsu: list[float], names: list[str] = NAMES) -> Evaluation:
    """Images whose IoU is one below the threshold 0.5 and another from there on."""
    swept = np.zeros((len(low), 1000))
    swept[:, LOW], swept[:, HIGH] = np.array(low)[:, None], np.array(high)[:, None]
    overlaps = np.concatenate([np.array(otsu)[:, None], swept], axis=1).astype(np.float16)
    return make_evaluation(names, overlaps, np.ones(len(low), dtype=bool))


def candidate(
    name: str, found: Evaluation, value: float | None, threshold: float | None, replicates: int = 0
) -> Candidate:
    rules = [] if threshold is None else [threshold]
    return Candidate(name, value, threshold, *figures(found, found.draw(replicates), rules))


# Box accuracy at IoU 0.5 below and above the threshold 0.5, and at Otsu's:
#   a: 50 and 75, 25.  b: 100 and 0, 50.  c: 25 and 50, 75.
A = evaluation([0.75, 0.75, 0.25, 0.25], [0.75, 0.75, 0.75, 0.25], [1, 0, 0, 0])
B = evaluation([0.75] * 4, [0.25] * 4, [1, 1, 0, 0])
C = evaluation([1, 0, 0, 0], [1, 1, 0.375, 0.375], [1, 1, 1, 0])


def runs(
    values: tuple[float | None, ...], thresholds: tuple[float | None, ...], replicates: int = 0
) -> list[Candidate]:
    return [
        candidate(name, found, value, threshold, replicates)
        for name, found, value, threshold in zip("abc", (A, B, C), values, thresholds, strict=True)
    ]


def shown(found: list[Candidate], measure: str) -> dict[str, tuple[float, str, str]]:
    return {key: (float(each.drawn[0]), each.run, each.threshold) for key, each in combine(found, measure).items()}


def test_bt_bv_tt_and_vt_are_those_worked_out_by_hand() -> None:
    """Val prefers a, test prefers b; val finds 0.2 for a and the bad threshold 0.9 for b."""
    assert shown(runs((0.8, 0.7, 0.6), (0.2, 0.9, 0.9)), "box_accuracy") == {
        "BV-VT": (50, "a", "0.200"),
        "BV-Otsu": (25, "a", "each map's own"),
        "BV-TT": (75, "a", "0.500"),
        "BT-VT": (0, "b", "0.900"),
        "BT-TT": (100, "b", "0.000"),
    }


def test_each_measure_has_its_own_best_run_and_threshold() -> None:
    found = shown(runs((0.6, 0.7, 0.8), (0.2, 0.2, 0.9)), "mean_iou")
    assert found["BT-TT"] == (0.75, "b", "0.000")
    assert found["BV-VT"] == (0.6875, "c", "0.900")
    assert found["BV-TT"] == (0.6875, "c", "0.500")
    assert found["BT-VT"] == (0.75, "b", "0.200")


def test_v2_takes_the_best_threshold_of_each_level_or_the_one_found() -> None:
    """Of c at 0.3, 0.5, 0.7: 25, 25, 25 below the threshold 0.5 and 100, 50, 50 above it."""
    found = shown([candidate("c", C, None, 0.1)], "box_accuracy_v2")
    assert found["BV-VT"] == (25, "c", "0.100")
    assert found["BV-TT"] == (pytest.approx(200 / 3), "c", "the best of each IoU level")
    assert shown([candidate("c", C, None, 0.1)], "box_accuracy_0.3")["BV-TT"][0] == 100


def test_a_criterion_without_boxes_has_no_vt() -> None:
    found = combine(runs((60.0, 50.0, 40.0), (None, None, None)), "box_accuracy")
    assert set(found) == {"BV-Otsu", "BV-TT", "BT-TT"}


def test_without_a_figure_on_val_nothing_chooses_between_runs() -> None:
    unknown = runs((None, 0.5, 0.4), (0.2, 0.2, 0.2))
    assert best_on_val(unknown) is None
    assert set(combine(unknown, "box_accuracy")) == {"BT-VT", "BT-TT"}
    assert best_on_val(unknown[:1]) is unknown[0]  # of one run there is nothing to choose
    tied = runs((0.5, 0.5, 0.4), (0.2, 0.2, 0.2))
    assert best_on_val(tied) is tied[0]


def test_what_test_chose_is_chosen_anew_in_each_replicate_and_what_val_chose_is_held() -> None:
    """Against a loop over replicates that looks at every run and threshold."""
    found = runs((0.8, 0.7, 0.6), (0.2, 0.9, 0.9), replicates=40)
    combined = combine(found, "box_accuracy")
    weights = poisson_weights(NAMES, 40)
    for replicate in range(40):
        counts = weights[:, replicate].astype(float)
        if not counts.sum():
            continue
        curves = [100 * (counts @ (each.overlaps[:, 1:] >= 0.5)) / counts.sum() for each in (A, B, C)]
        best = int(np.argmax([curve.max() for curve in curves]))
        expected = {
            "BT-TT": max(curve.max() for curve in curves),
            "BT-VT": curves[best][(200, 900, 900)[best]],
            "BV-TT": curves[0].max(),
            "BV-VT": curves[0][200],
        }
        got = {key: combined[key].drawn[1 + replicate] for key in expected}
        assert got == pytest.approx(expected)


def test_more_replicates_than_are_kept_begin_with_those_that_are() -> None:
    few, many = (figures(A, draw(NAMES, count), [])[0]["TT"]["mean_iou"] for count in (1000, 1200))
    assert many.shape == (1201,)
    np.testing.assert_allclose(many[:1001], few, equal_nan=True)


def test_images_without_a_true_box_take_no_part() -> None:
    nan = math.nan
    found = evaluation([0.75, nan], [0.25, nan], [1, nan], ["boxed", "not"])
    assert (found.draw(20) == draw(["boxed"], 20)).all()
    assert shown([candidate("r", found, None, 0.1)], "box_accuracy")["BV-VT"][0] == 100
