"""Sums over images to figures, each worked out by hand: see `steps` in conftest.py for the boxes of its maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from boxless.errors import ConfigError, DataError
from boxless.metrics import iou_curves
from boxless.metrics.baselines import random_maps
from boxless.metrics.bootstrap import poisson_weights
from boxless.protocol.figures import at_threshold, of_all
from boxless.protocol.scoring import LEVELS, Named, Scoring
from boxless.protocol.threshold import ORACLE, Threshold, parse_sources

SIZE = (10, 10)
WHOLE, STRIPE, HALF, FAR = (0, 0, 10, 10), (0, 0, 2, 10), (0, 0, 5, 10), (8, 0, 10, 10)

Score = Callable[..., Scoring]


def figures(scoring: Scoring, protocol: str) -> dict[str, float]:
    """What was measured at a source; the oracle's threshold is put in as an evaluation does."""
    rule = parse_sources(protocol, "otsu")[0]
    if rule.source == ORACLE:
        rule = Threshold(ORACLE, LEVELS, scoring.best())
    found = {}
    for key, statistic in at_threshold(scoring, rule).items():
        try:
            found[key] = scoring.tally.estimate(statistic).value
        except KeyError:
            continue
    return found


def test_each_iou_level_has_its_own_best_threshold(score: Score) -> None:
    scoring = score()
    # Right at the three boxes (whole, half, fifth), of 7: IoU 0.3: 4, 7, 5. IoU 0.5: 4, 4, 3. IoU 0.7: 2, 2, 3.
    assert scoring.best() == (0.25, 0.0, 0.5)
    oracle = figures(scoring, "oracle-test")
    assert [oracle[key] for key in ("box_accuracy_0.3", "box_accuracy", "box_accuracy_0.7")] == pytest.approx(
        [100, 400 / 7, 300 / 7]
    )
    assert oracle["box_accuracy_v2"] == pytest.approx((100 + 400 / 7 + 300 / 7) / 3)
    assert oracle["mean_iou"] == pytest.approx((3 * 0.2 + 2 * 0.5 + 2 * 1) / 7)  # at the threshold of IoU 0.5
    assert oracle["highest_mean_iou"] == pytest.approx((3 * 1 + 2 * 0.4 + 2 * 0.2) / 7)  # not the same one
    assert oracle["threshold_width"] == pytest.approx(0.5)  # of IoU 0.5: 400 / 7 below a threshold of 0.5, else 300 / 7


def test_thresholds_found_elsewhere_are_applied_level_by_level(score: Score) -> None:
    scoring = score(protocol="validation,oracle-test")
    carried = Threshold("validation", LEVELS, (0.5, 0.499, 0.0))  # the first and last of their boxes
    found = {key: scoring.tally.estimate(each).value for key, each in at_threshold(scoring, carried).items()
             if key.startswith("box_accuracy")}  # fmt: skip
    assert found["box_accuracy_0.3"] == pytest.approx(500 / 7)
    assert found["box_accuracy"] == pytest.approx(400 / 7)
    assert found["box_accuracy_0.7"] == pytest.approx(200 / 7)
    assert found["box_accuracy_v2"] == pytest.approx(1100 / 21)


@pytest.mark.parametrize(
    ("source", "right", "overlap"),
    [("otsu", (5, 3, 3), 3 * 1 + 2 * 0.4 + 2 * 0.2), ("fixed=0.3", (7, 4, 2), 3 * 0.4 + 2 * 1 + 2 * 0.5)],
)
def test_otsu_and_fixed_thresholds_have_their_own_figures(
    score: Score, source: str, right: tuple[int, ...], overlap: float
) -> None:
    found = figures(score(), source)
    assert found["box_accuracy_0.3"] == pytest.approx(100 * right[0] / 7)
    assert found["box_accuracy"] == pytest.approx(100 * right[1] / 7)
    assert found["box_accuracy_0.7"] == pytest.approx(100 * right[2] / 7)
    assert found["mean_iou"] == pytest.approx(overlap / 7)
    assert not {"highest_mean_iou", "threshold_width"} & set(found)  # they are an oracle's


def test_the_oracle_is_the_best_one_threshold_though_each_maps_own_may_be_better(score: Score) -> None:
    rows = [np.repeat([1.0, 0.7], [2, 8]), np.repeat([1.0, 0.5, 0.0], [2, 3, 5])]  # right from 0.7 on, and below 0.5
    scoring = score([[STRIPE], [HALF]], maps=[np.tile(row, (10, 1)) for row in rows])
    assert figures(scoring, "otsu")["box_accuracy"] == 100
    assert figures(scoring, "otsu")["mean_iou"] == 1
    assert figures(scoring, "oracle-test")["box_accuracy"] == 50
    assert figures(scoring, "oracle-test")["highest_mean_iou"] == pytest.approx(0.7)  # from 0.7 on: 1 and 0.4


def test_a_fixed_threshold_need_not_be_in_the_sweep(steps: np.ndarray) -> None:
    scoring = Scoring(parse_sources("fixed=0.5000001", "otsu"), replicates=0)
    values = steps.copy()
    values[:, 2:5] = 0.50000005
    scoring.update(["a"], values[None], [np.array([STRIPE])], [SIZE])
    assert figures(scoring, "fixed=0.5000001")["mean_iou"] == 1
    assert scoring.curves()[1][500] == pytest.approx(0.4)  # the nearest of the sweep would give another box


def test_curves_are_those_of_every_threshold(score: Score, steps: np.ndarray) -> None:
    accuracy, mean_iou = score().curves()
    assert accuracy.shape == (3, 1000)
    for first, last, right, overlap in [
        (0, 250, (4, 4, 2), 3.6),
        (250, 500, (7, 4, 2), 4.2),
        (500, 1000, (5, 3, 3), 4.2),
    ]:
        np.testing.assert_allclose(accuracy[:, first:last], 100 * np.array(right)[:, None] / 7 + np.zeros(last - first))
        np.testing.assert_allclose(mean_iou[first:last], overlap / 7)


def test_images_without_a_true_box_take_no_part(score: Score) -> None:
    with_them, without = score([[STRIPE], [], [HALF], [], [WHOLE]]), score([[STRIPE], [HALF], [WHOLE]])
    for source in ("otsu", "fixed=0.3", "oracle-test"):
        one, other = figures(with_them, source), figures(without, source)
        assert {key: one[key] for key in one if key != "random_map"} == pytest.approx(
            {key: other[key] for key in other if key != "random_map"}
        )
    assert with_them.tally.count == 5


def test_without_any_true_box_figures_are_nan_and_none_fails(score: Score) -> None:
    scoring = score([[], []], named=named_of([True, False], np.zeros((2, 10, 10))))
    assert np.isnan(scoring.best()).all()
    for source in ("otsu", "fixed=0.3", "oracle-test"):
        assert np.isnan(list(figures(scoring, source).values())).all()
    assert scoring.tally.estimate(of_all()["class_accuracy"]).value == 50


def test_before_the_first_image_curves_are_nan() -> None:
    scoring = Scoring(parse_sources("otsu,oracle-test", "otsu"))
    assert np.isnan(scoring.curves()[0]).all()
    assert np.isnan(scoring.best()).all()


def named_of(first: list[bool], maps: Any, five: list[bool] | None = None) -> Named:
    return Named(np.array(first), np.array(first if five is None else five), np.asarray(maps))


def test_the_two_conventions_of_top_1_and_top_5_where_they_differ(score: Score, steps: np.ndarray) -> None:
    mirrored = steps[:, ::-1]
    # Maps of the first class: of the image's own class in the first and last image, and with another box in the others.
    shown = np.stack([steps, mirrored, mirrored, mirrored, steps])
    named = named_of([True, False, False, False, True], shown, five=[True, True, True, False, True])
    found = figures(score([[HALF], [HALF], [(5, 0, 10, 10)], [HALF], [FAR]], named=named), "fixed=0.3")
    # The true class's box is HALF: right in images 0, 1 and 3. That of the first class is the right half in 1, 2, 3.
    assert found["box_accuracy"] == 60
    assert found["top1_localization"] == 20  # image 0
    assert found["top5_localization"] == 40  # images 0 and 1
    assert found["top5_localization_agnostic"] == 40  # images 0 and 2: another one than above
    assert found["named_box_accuracy"] == 40  # images 0 and 2


def test_top_5_of_the_named_class_may_be_lower_than_of_the_true_class(score: Score, steps: np.ndarray) -> None:
    named = named_of([True, False], np.stack([steps, steps[:, ::-1]]), five=[True, True])
    found = figures(score([[HALF], [HALF]], named=named), "fixed=0.3")
    assert (found["top5_localization"], found["top5_localization_agnostic"]) == (100, 50)


def test_errors_are_told_apart_and_add_up_to_100_with_top_1(score: Score, steps: np.ndarray) -> None:
    truth = [[HALF], [WHOLE], [STRIPE], [FAR], [STRIPE, (2, 0, 3, 10)], [HALF], []]
    named = named_of([True] * 5 + [False, True], np.stack([steps] * 7))
    scoring = score(truth, named=named, protocol="otsu,fixed=0.3,fixed=0.6,oracle-test")
    # The box is HALF: right, right (IoU just 0.5), all of the true box and much else, beside it, both true boxes.
    at_half = figures(scoring, "fixed=0.3")
    assert [at_half[f"error_{kind}"] for kind in ("class", "multi_instance", "part", "more", "other")] == pytest.approx(
        [100 / 6] * 2 + [0] + [100 / 6] * 2
    )
    assert at_half["top1_localization"] == pytest.approx(200 / 6)
    # The box is STRIPE: a part of HALF and of WHOLE, right, beside, right, wrong class.
    at_fifth = figures(scoring, "fixed=0.6")
    assert at_fifth["error_part"] == pytest.approx(200 / 6)
    for source in ("otsu", "fixed=0.3", "fixed=0.6", "oracle-test"):
        found = figures(scoring, source)
        kinds = [value for key, value in found.items() if key.startswith("error_")]
        assert len(kinds) == 5
        assert sum(kinds) + found["top1_localization"] == pytest.approx(100)


def test_without_classes_errors_are_of_boxes_alone(score: Score) -> None:
    found = figures(score(), "fixed=0.3")
    assert "error_class" not in found
    assert "top1_localization" not in found
    kinds = [value for key, value in found.items() if key.startswith("error_")]
    assert sum(kinds) + found["box_accuracy"] == pytest.approx(100)


def test_all_contours_leave_errors_out_and_find_what_the_largest_does_not(score: Score, steps: np.ndarray) -> None:
    apart = steps.copy()
    apart[:, 2] = 0
    one, every = (
        figures(score([[STRIPE]], maps=apart[None], protocol="otsu,fixed=0.1", contours=contours), "fixed=0.1")
        for contours in ("largest", "all")
    )
    assert (one["box_accuracy"], every["box_accuracy"]) == (0, 100)
    assert any(key.startswith("error_") for key in one)
    assert not any(key.startswith("error_") for key in every)


def test_otsus_threshold_is_each_maps_own_with_all_contours_too(score: Score) -> None:
    largest, every = (figures(score(contours=contours), "otsu") for contours in ("largest", "all"))
    assert every["mean_iou"] == pytest.approx(largest["mean_iou"])  # one component each
    assert every["box_accuracy_0.7"] == pytest.approx(300 / 7)


@pytest.mark.parametrize("contours", ["largest", "all"])
def test_compat_gives_the_figures_of_its_curves_and_nothing_that_it_does_not_know(score: Score, contours: str) -> None:
    random = np.random.default_rng(0)
    maps, truth = random.random((5, 24, 24)), [[HALF], [STRIPE], [], [WHOLE, FAR], [HALF]]
    scoring = score(
        truth, maps=maps, protocol="fixed=0.3,oracle-test", compat="wsolevaluation", contours=contours, batch=2
    )
    curves = iou_curves(maps, truth, [SIZE] * 5, compat="wsolevaluation", contours=contours)[[0, 1, 3, 4]]
    accuracy, mean_iou = scoring.curves()
    assert accuracy.tolist() == [(100.0 * (curves >= level)).mean(0).tolist() for level in LEVELS]
    np.testing.assert_allclose(mean_iou, curves.mean(0), rtol=1e-12)
    found = figures(scoring, "fixed=0.3")
    assert found["mean_iou"] == pytest.approx(curves[:, 300].mean())
    assert not any(key.startswith(("error", "random")) for key in found)


def test_otsu_and_compat_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="wsolevaluation has no threshold of each map's own; leave otsu out"):
        Scoring(parse_sources("otsu", "otsu"), compat="wsolevaluation")


def test_baselines_are_those_of_boxes_that_saw_nothing(score: Score) -> None:
    centre = (2, 2, 8, 8)
    # The centred box of side 0.7 is 7 x 7: IoU 36/49 with the centre, 49/100 with the whole, 24.5/74.5 with the half.
    scoring = score([[centre], [WHOLE], [HALF], [centre, WHOLE]])
    baselines = ("centred_box", "centred_box_mean_iou", "centred_box_best", "whole_image")
    found = {key: scoring.tally.estimate(of_all()[key]).value for key in baselines}
    assert found["centred_box"] == 50
    assert found["centred_box_mean_iou"] == pytest.approx((36 / 49 + 0.49 + 24.5 / 74.5 + 36 / 49) / 4)
    assert found["centred_box_best"] == 100 * 3 / 4  # side 0.75 to 0.8: the whole too; the whole image: not the centre
    assert found["whole_image"] == 75  # the whole, the half at just 0.5, and the last image's second true box


def test_the_random_baseline_is_cut_at_the_same_thresholds(score: Score) -> None:
    truth = [[HALF], [WHOLE], [STRIPE], [(3, 3, 9, 9)]] * 4
    scoring = score(truth)
    maps = random_maps([str(i) for i in range(16)], (10, 10))
    right = iou_curves(maps, truth, [SIZE] * 16) >= 0.5
    assert figures(scoring, "oracle-test")["random_map"] == pytest.approx(100 * right.mean(0).max())
    assert figures(scoring, "fixed=0.3")["random_map"] == pytest.approx(100 * right[:, 300].mean())


def test_an_interval_is_that_of_the_weighted_means(score: Score) -> None:
    scoring = score(replicates=400)
    rule = parse_sources("fixed=0.3", "otsu")[0]
    estimate = scoring.tally.estimate(at_threshold(scoring, rule)["box_accuracy"])
    weights = poisson_weights([str(i) for i in range(7)], 400).astype(np.float64)
    right = np.array([0, 0, 0, 100, 100, 100, 100.0])
    drawn = (right @ weights) / weights.sum(0)
    assert estimate.value == pytest.approx(400 / 7)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.nanquantile(drawn, [0.025, 0.975])), rel=1e-5)
    assert estimate.low < estimate.value < estimate.high


def test_the_oracles_interval_chooses_its_threshold_anew_each_time(score: Score) -> None:
    scoring = score(replicates=400)
    rule = Threshold(ORACLE, LEVELS, scoring.best())
    _, drawn = scoring.tally.replicate(at_threshold(scoring, rule)["box_accuracy"])
    weights = poisson_weights([str(i) for i in range(7)], 400).astype(np.float64)
    columns = np.array([[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]]) * 100.0  # whole or half; fifth
    np.testing.assert_allclose(drawn, (columns @ weights / weights.sum(0)).max(0), rtol=1e-5)


def test_batches_make_no_difference(score: Score) -> None:
    one, other = score(batch=1), score(batch=7)
    for source in ("otsu", "fixed=0.3", "oracle-test"):
        assert figures(one, source) == pytest.approx(figures(other, source))


def test_a_batch_that_is_refused_leaves_nothing_behind(score: Score, steps: np.ndarray) -> None:
    scoring = score()
    before = figures(scoring, "fixed=0.3")
    broken = np.stack([steps, steps])
    broken[1, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"maps\[1\]: got nan"):
        scoring.update(["a", "b"], broken, [np.array([HALF])] * 2, [SIZE] * 2)
    with pytest.raises(DataError, match=r"boxes\[1\]: got the box"):
        scoring.update(["a", "b"], np.stack([steps] * 2), [np.array([HALF]), np.array([(11, 0, 12, 5.0)])], [SIZE] * 2)
    assert scoring.tally.count == 7
    assert figures(scoring, "fixed=0.3") == before


def test_rules_that_there_are_not_are_refused() -> None:
    with pytest.raises(ConfigError, match="largest, all"):
        Scoring(parse_sources("otsu", "otsu"), contours="biggest")  # type: ignore[arg-type]
