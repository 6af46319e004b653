import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics import box_accuracy, image_ious, mean_iou, top_k_class, top_k_localization

NOTHING = (0, 0, 0, 0)
WHOLE = (0, 0, 10, 10)
HALF = (0, 0, 5, 10)  # IoU 0.5 with WHOLE
FIFTH = (0, 0, 2, 10)  # IoU 0.2 with WHOLE, 0.4 with HALF

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


def test_the_true_box_that_fits_best_counts():
    assert image_ious([FIFTH], [[WHOLE, HALF]])[0] == pytest.approx(0.4)
    assert box_accuracy([FIFTH], [[WHOLE, HALF]], iou=0.4) == 100


def test_an_empty_box_has_iou_0_and_counts_in_the_mean():
    assert mean_iou([NOTHING, WHOLE], [[WHOLE], [WHOLE]]) == 0.5


def test_images_without_a_true_box_are_left_out_of_box_figures():
    assert np.isnan(image_ious([WHOLE], [[]])).all()
    assert mean_iou([WHOLE, HALF], [[], [WHOLE]]) == 0.5
    assert box_accuracy([NOTHING, HALF], [[], [WHOLE]]) == 100


def test_figures_of_no_image_are_nan():
    assert np.isnan(mean_iou([WHOLE], [[]]))
    assert np.isnan(box_accuracy(np.zeros((0, 4)), []))


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


def test_correct_needs_one_entry_for_each_image():
    with pytest.raises(DataError, match=r"correct: got shape \(1,\) for 4"):
        top_k_localization(LOGITS, LABELS, [True], 1)


def test_where_classes_have_boxes_the_box_of_the_right_class_decides():
    right = np.zeros((4, 7), dtype=bool)
    right[0, 0] = True  # the label, ranked first
    right[1, 0] = True  # another class's box, though it is ranked first
    right[2, 5] = True  # the label, ranked sixth
    right[3] = True
    assert top_k_localization(LOGITS, LABELS, right, 1) == 50
    assert top_k_localization(LOGITS, LABELS, right, 5) == 50
    assert top_k_localization(LOGITS, LABELS, right, 6) == 75
    right[1, 1] = True  # the label, ranked second
    assert top_k_localization(LOGITS, LABELS, right, 1) == 50
    assert top_k_localization(LOGITS, LABELS, right, 5) == 75


@pytest.mark.parametrize(
    ("boxes", "truth", "named"),
    [
        ([WHOLE], [[WHOLE], [WHOLE]], r"boxes: got shape \(1, 4\)"),
        ([(0, 0, np.nan, 1)], [[WHOLE]], r"boxes: got nan at \(0, 2\)"),
        ([WHOLE], [[(5, 5, 1, 9)]], r"truth\[0\].*\[5.0, 5.0, 1.0, 9.0\]"),
        ([WHOLE], [[(1, 2, 3)]], r"truth\[0\].*\(1, 3\)"),
    ],
)
def test_boxes_that_make_no_figure_are_refused(boxes, truth, named):
    with pytest.raises(DataError, match=named):
        image_ious(boxes, truth)


@pytest.mark.parametrize(
    ("logits", "labels", "named"),
    [
        (LOGITS, [0, 1, 5, 7], r"labels\[3\]: got \[7\]; the 7 classes are 0 to 6"),
        (LOGITS, [0, 1, 5, -1], r"labels\[3\]"),
        (LOGITS, [(0,), (1,), (), (6,)], r"labels\[2\]: got none"),
        (LOGITS, [0], "got 1 for 4"),
        (np.full((4, 7), np.inf), LABELS, "row 0 is not finite"),
        (LOGITS[0], LABELS, r"\(7,\)"),
    ],
)
def test_classes_that_make_no_figure_are_refused(logits, labels, named):
    with pytest.raises(DataError, match=named):
        top_k_class(logits, labels, 1)


@pytest.mark.parametrize("iou", [0, 1.01, float("nan")])
def test_an_iou_at_which_all_or_nothing_is_right_is_refused(iou):
    with pytest.raises(DataError, match="iou: got"):
        box_accuracy([WHOLE], [[WHOLE]], iou)
