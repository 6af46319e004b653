import dataclasses

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics import (
    LocalizationAccumulator,
    box_accuracy,
    evaluate_localization,
    image_ious,
    max_box_acc,
    mean_iou,
    top_k_class,
    top_k_localization,
)

NOTHING = (0, 0, 0, 0)
WHOLE = (0, 0, 10, 10)
HALF = (0, 0, 5, 10)  # IoU 0.5 with WHOLE
FIFTH = (0, 0, 2, 10)  # IoU 0.2 with WHOLE, 0.4 with HALF

# Four images at three thresholds. Their true boxes are: the whole; the whole; two boxes; none.
THRESHOLDS = [0.1, 0.2, 0.3]
SWEPT = np.array(
    [
        [WHOLE, HALF, NOTHING],  # IoU 1, .5, 0
        [FIFTH, WHOLE, HALF],  # .2, 1, .5
        [NOTHING, HALF, FIFTH],  # the best of two true boxes: 0, 1, 1
        [WHOLE, WHOLE, WHOLE],
    ],
    dtype=float,
)
OWN = np.array([HALF, FIFTH, FIFTH, WHOLE], dtype=float)  # IoU .5, .2, 1
TRUTH = [[WHOLE], [WHOLE], [HALF, FIFTH], []]
LOGITS = np.array(
    [
        [9, 1, 0, 0, 0, 0, 0.0],  # label 0: top-1
        [9, 1, 0, 0, 0, 0, 0.0],  # label 1: top-5
        [6, 5, 4, 3, 2, 1, 0.0],  # label 5 is ranked sixth: never
        [0, 0, 0, 0, 0, 0, 9.0],  # label 6: top-1
    ]
)
LABELS = [0, 1, 5, 6]


def test_a_box_is_right_from_exactly_half_on():
    assert box_accuracy([HALF], [[WHOLE]]) == 100
    assert box_accuracy([(0, 0, 4.999, 10)], [[WHOLE]]) == 0
    assert box_accuracy([FIFTH], [[WHOLE]], iou=0.2) == 100


def test_max_box_acc_is_the_best_of_the_curve_over_images_with_a_box():
    found = max_box_acc(SWEPT, TRUTH, THRESHOLDS)
    assert found.curve.tolist() == pytest.approx([100 / 3, 100, 200 / 3])
    assert (found.best, found.best_threshold) == (100, 0.2)


def test_of_equally_good_thresholds_the_lowest_is_named():
    assert max_box_acc(np.array([[WHOLE, WHOLE]]), [[WHOLE]], [0.4, 0.6]).best_threshold == 0.4


def test_the_true_box_that_fits_best_counts():
    assert image_ious([FIFTH], [[WHOLE, HALF]])[0] == pytest.approx(0.4)
    assert max_box_acc(np.array([[FIFTH]], dtype=float), [[WHOLE, HALF]], [0.5], iou=0.4).best == 100


def test_an_empty_box_has_iou_0_and_counts_in_the_mean():
    assert mean_iou([NOTHING, WHOLE], [[WHOLE], [WHOLE]]) == 0.5


def test_images_without_a_true_box_are_left_out_of_box_figures():
    assert np.isnan(image_ious([WHOLE], [[]])).all()
    assert mean_iou([WHOLE, HALF], [[], [WHOLE]]) == 0.5
    assert box_accuracy([NOTHING, HALF], [[], [WHOLE]]) == 100


def test_figures_of_no_image_are_nan():
    assert np.isnan(mean_iou([WHOLE], [[]]))
    assert np.isnan(box_accuracy(np.zeros((0, 4)), []))
    found = max_box_acc(np.zeros((1, 2, 4)), [[]], [0.1, 0.2])
    assert np.isnan([*found.curve, found.best, found.best_threshold]).all()
    scores = LocalizationAccumulator(THRESHOLDS).compute()
    assert scores.count == 0
    assert np.isnan([scores.max_box_accuracy, scores.oracle_threshold, scores.top1_class, scores.mean_iou]).all()


def test_class_is_right_if_it_is_among_the_k_highest():
    assert top_k_class(LOGITS, LABELS, 1).tolist() == [True, False, False, True]
    assert top_k_class(LOGITS, LABELS, 5).tolist() == [True, True, False, True]
    assert top_k_class(LOGITS, LABELS, 6).tolist() == [True, True, True, True]


def test_of_equal_logits_the_lower_class_ranks_first():
    assert top_k_class([[1.0, 1.0]], [0], 1).tolist() == [True]
    assert top_k_class([[1.0, 1.0]], [1], 1).tolist() == [False]


def test_one_of_several_labels_is_enough():
    assert top_k_class([[0, 9, 0.0], [9, 0, 0.0]], [(1, 2), (1, 2)], 1).tolist() == [True, False]


def test_top_k_localization_needs_class_and_box():
    correct = [True, True, True, False]
    assert top_k_localization(LOGITS, LABELS, correct, 1) == 25
    assert top_k_localization(LOGITS, LABELS, correct, 5) == 50


def test_all_figures_by_hand():
    scores = evaluate_localization(SWEPT, OWN, LOGITS, LABELS, TRUTH, THRESHOLDS)
    assert (scores.count, scores.without_box, scores.iou) == (4, 1, 0.5)
    assert (scores.top1_class, scores.top5_class) == (50, 75)
    assert scores.box_accuracy == pytest.approx(200 / 3)  # images 0 and 2
    assert scores.mean_iou == pytest.approx((0.5 + 0.2 + 1) / 3)
    assert scores.top1_localization == pytest.approx(100 / 3)  # image 0; image 3 has no true box
    assert scores.top5_localization == pytest.approx(100 / 3)  # image 1 has its class in the five, but its box is wrong
    assert (scores.max_box_accuracy, scores.oracle_threshold) == (100, 0.2)
    assert scores.oracle_mean_iou == pytest.approx((0.5 + 1 + 1) / 3)
    assert scores.oracle_top1_localization == pytest.approx(100 / 3)
    assert scores.oracle_top5_localization == pytest.approx(200 / 3)
    assert scores.thresholds.tolist() == THRESHOLDS
    assert scores.curve.tolist() == pytest.approx([100 / 3, 100, 200 / 3])


def test_batches_and_merged_parts_give_what_the_whole_gives():
    whole = evaluate_localization(SWEPT, OWN, LOGITS, LABELS, TRUTH, THRESHOLDS)
    parts = [LocalizationAccumulator(THRESHOLDS) for _ in range(2)]
    for i in range(4):
        one = slice(i, i + 1)
        parts[i % 2].update(SWEPT[one], OWN[one], LOGITS[one], LABELS[one], TRUTH[one])
    parts[0].merge(parts[1])
    for name, value in dataclasses.asdict(parts[0].compute()).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-12, err_msg=name)


def test_a_result_stays_as_it_was_when_more_is_added():
    accumulator = LocalizationAccumulator(THRESHOLDS)
    accumulator.update(SWEPT, OWN, LOGITS, LABELS, TRUTH)
    before = accumulator.compute()
    curve = before.curve.copy()
    accumulator.update(SWEPT[:1], OWN[:1], LOGITS[:1], LABELS[:1], TRUTH[:1])
    assert (before.curve == curve).all()


def test_accumulators_of_other_thresholds_are_not_merged():
    with pytest.raises(DataError, match="other thresholds"):
        LocalizationAccumulator([0.1]).merge(LocalizationAccumulator([0.2]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"swept": SWEPT[:, :2]}, r"swept: got shape \(4, 2, 4\).*\(4, 3, 4\)"),
        ({"own": OWN[:3]}, r"own: got shape \(3, 4\)"),
        ({"own": np.where(OWN == 2, np.nan, OWN)}, r"own: got nan at \(1, 2\)"),
        ({"labels": [0, 1, 5, 7]}, r"labels\[3\]: got \[7\]; the 7 classes are 0 to 6"),
        ({"labels": [0, 1, 5, -1]}, r"labels\[3\]"),
        ({"labels": [(0,), (1,), (), (6,)]}, r"labels\[2\]: got none"),
        ({"labels": [0]}, "got 1 for 4"),
        ({"logits": np.full((4, 7), np.inf)}, "row 0 is not finite"),
        ({"logits": LOGITS[0]}, r"\(7,\)"),
        ({"logits": LOGITS[:3], "labels": LABELS[:3]}, "3 rows for 4 images"),
        ({"truth": [[WHOLE], [WHOLE], [(5, 5, 1, 9)], []]}, r"truth\[2\].*\[5.0, 5.0, 1.0, 9.0\]"),
        ({"truth": [[WHOLE], [WHOLE], [(1, 2, 3)], []]}, r"truth\[2\].*\(1, 3\)"),
    ],
)
def test_input_that_makes_no_figure_is_refused_and_leaves_no_trace(change, named):
    given = {"swept": SWEPT, "own": OWN, "logits": LOGITS, "labels": LABELS, "truth": TRUTH} | change
    accumulator = LocalizationAccumulator(THRESHOLDS)
    with pytest.raises(DataError, match=named):
        accumulator.update(**given)
    assert accumulator.count == 0
    assert np.isnan(accumulator.compute().top1_class)


@pytest.mark.parametrize("iou", [0, 1.01, float("nan")])
def test_an_iou_at_which_all_or_nothing_is_right_is_refused(iou):
    with pytest.raises(DataError, match="iou: got"):
        LocalizationAccumulator(THRESHOLDS, iou)
    with pytest.raises(DataError, match="iou: got"):
        max_box_acc(SWEPT, TRUTH, THRESHOLDS, iou)


def test_thresholds_must_ascend():
    with pytest.raises(DataError, match="ascending"):
        LocalizationAccumulator([0.2, 0.1])


def test_correct_needs_one_entry_for_each_image():
    with pytest.raises(DataError, match=r"correct: got shape \(1,\) for 4"):
        top_k_localization(LOGITS, LABELS, [True], 1)
