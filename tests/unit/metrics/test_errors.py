import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics import box_accuracy
from boxless.metrics.errors import ERROR_KINDS, dissect, error_shares

TRUE = (0, 0, 10, 10)
NOTHING = (0, 0, 0, 0)


def kinds(boxes, truth, right=True, iou=0.5):
    codes = dissect(np.asarray(boxes, float)[None], [truth], np.array([right]), iou)
    return [ERROR_KINDS[code] for code in codes[0]]


def test_the_kinds_keep_their_codes():
    assert ERROR_KINDS == ("right", "class", "multi_instance", "part", "more", "other")


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (TRUE, "right"),
        ((0, 0, 5, 10), "right"),  # IoU exactly .5
        ((0, 0, 4.999, 10), "part"),  # just below, and all of the box is object
        ((6, 0, 14, 10), "other"),  # IoP exactly .5, IoG .4
        ((6, 0, 13.9, 10), "part"),  # IoP just above .5
        ((0, 0, 10, 20), "right"),  # IoU exactly .5
        ((0, 0, 10, 20.1), "more"),  # just below, and shows all of the object
        ((3, 0, 23, 10), "other"),  # IoG exactly .7; IoU 7 / 23
        ((2.9, 0, 23, 10), "more"),  # IoG just above .7
        ((20, 20, 30, 30), "other"),  # beside the object
        (NOTHING, "other"),
        ((5, 5, 5, 9), "other"),  # no width, inside of the object
        ((8, 8, 2, 2), "other"),  # ends swapped, inside of the object
        ((8, 2, 2, 8), "other"),  # one side swapped
    ],
)
def test_each_kind_against_one_true_box(box, kind):
    assert kinds([box], [TRUE]) == [kind]


def test_ends_swapped_do_not_make_an_area_below_0():
    assert kinds([(8, 2, 2, 8)], [(2, 2, 8, 8)]) == ["other"]  # -36 and 36: the union would be nothing


def test_of_a_wrong_class_nothing_else_is_said():
    assert kinds([TRUE, (0, 0, 4, 10), NOTHING], [TRUE], right=False) == ["class"] * 3


# Two objects side by side, 10 x 10 each.
PAIR = [(0, 0, 10, 10), (10, 0, 20, 10)]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((0, 0, 20, 10.1), "multi_instance"),  # IoU just below .5 with each, shows both: not more
        ((0, 0, 20, 10), "right"),  # IoU exactly .5 with each: right goes first
        ((6, 0, 14, 10), "multi_instance"),  # .4 of each
        ((7, 0, 13, 10), "other"),  # exactly .3 of each, and IoP exactly .5
        ((6, 0, 13, 10), "part"),  # .4 and .3: one object alone; IoP 4 / 7
        ((5, 0, 13.1, 10), "multi_instance"),  # IoP 5 / 8.1: it would be part
        ((8, 0, 12, 40), "other"),
    ],
)
def test_a_box_across_two_objects(box, kind):
    assert kinds([box], PAIR) == [kind]
    assert kinds([box], PAIR[::-1]) == [kind]


def test_part_goes_before_more():
    # 100 in common; IoP 100 / 190 and IoG 100 / 130, but IoU 100 / 220.
    assert kinds([(3, 0, 22, 10)], [(0, 0, 13, 10)]) == ["part"]


def test_part_and_more_look_at_the_true_box_of_the_best_iou_alone():
    # The small box lies wholly in P (IoG 1) with IoU 4 / 400; the other has IoU 80 / 720 and IoG .2, IoP .2.
    assert kinds([(0, 0, 20, 20)], [(16, 0, 36, 20), (8, 8, 10, 10)]) == ["other"]
    assert kinds([(0, 0, 20, 20)], [(8, 8, 10, 10)]) == ["more"]


def test_of_equal_ious_the_first_true_box_counts():
    inside, around = (0, 0, 1, 10), (0, 0, 16, 10)  # IoU 10 / 40 and 40 / 160 with the box
    assert kinds([(0, 0, 4, 10)], [inside, around]) == ["more"]
    assert kinds([(0, 0, 4, 10)], [around, inside]) == ["part"]


def test_several_boxes_of_several_images_at_once():
    boxes = np.array([[TRUE, NOTHING], [TRUE, (0, 0, 4, 10)], [TRUE, TRUE], [PAIR[0], (4, 0, 14, 10.0)]], dtype=float)
    codes = dissect(boxes, [[TRUE], [TRUE], [], PAIR], np.array([False, True, True, True]))
    assert codes.tolist() == [[1, 1], [0, 3], [-1, -1], [0, 2]]
    assert codes.dtype == np.int8


def test_right_is_what_box_accuracy_calls_right():
    rng = np.random.default_rng(0)
    # Whole coordinates make many IoUs that lie exactly on a level.
    corner = rng.integers(0, 6, (600, 4, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 6, (600, 4, 2))], axis=2).astype(float)
    truth = [each[1 : 2 + i % 3] for i, each in enumerate(boxes)]
    for iou in (0.3, 0.5, 0.7):
        codes = dissect(boxes[:, :1], truth, np.ones(600, dtype=bool), iou)[:, 0]
        assert error_shares(codes)["right"] == pytest.approx(box_accuracy(boxes[:, 0], truth, iou), rel=1e-12)


def test_kinds_are_those_of_the_definition_word_by_word():
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 12, (3000, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 14, (3000, 2))], axis=1).astype(float)
    truth = np.array([(2, 2, 8, 9), (7, 3, 15, 8), (11, 11, 13, 14)], dtype=float)
    found = kinds(boxes, truth)
    assert found == [by_pixels(box, truth) for box in boxes]
    assert set(found) == set(ERROR_KINDS) - {"class"}


def by_pixels(box, truth):
    """The definition on a grid of pixels, which whole coordinates fill exactly."""

    def fill(x0, y0, x1, y1):
        canvas = np.zeros((30, 30), dtype=bool)
        canvas[int(y0) : int(y1), int(x0) : int(x1)] = True
        return canvas

    predicted, objects = fill(*box), [fill(*each) for each in truth]
    ious = [(predicted & each).sum() / (predicted | each).sum() for each in objects]
    best = objects[int(np.argmax(ious))]
    common = (predicted & best).sum()
    if max(ious) >= 0.5:
        return "right"
    if sum((predicted & each).sum() / each.sum() > 0.3 for each in objects) >= 2:
        return "multi_instance"
    if predicted.any() and common / predicted.sum() > 0.5:
        return "part"
    return "more" if common / best.sum() > 0.7 else "other"


def test_shares_are_of_the_images_with_a_true_box_and_add_to_100():
    shares = error_shares(np.array([0, 0, 0, 1, 2, 3, 4, 5, -1, -1], dtype=np.int8))
    assert list(shares) == list(ERROR_KINDS)
    assert shares["right"] == 37.5
    assert [shares[kind] for kind in ERROR_KINDS[1:]] == [12.5] * 5
    assert sum(error_shares([0, 0, 1, 3, 3, 5, 5]).values()) == pytest.approx(100, abs=1e-9)


def test_shares_of_no_image_are_nan():
    assert np.isnan(list(error_shares([]).values())).all()
    assert np.isnan(list(error_shares([-1]).values())).all()


@pytest.mark.parametrize("codes", [[[0, 1]], [0.0], [6], [-2]])
def test_what_is_no_row_of_codes_is_refused(codes):
    with pytest.raises(DataError, match="codes: got"):
        error_shares(codes)


BOXES = np.zeros((2, 3, 4))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"boxes": BOXES[0]}, r"boxes: got shape \(3, 4\); for 2 images they are \(2, boxes, 4\)"),
        ({"boxes": BOXES[:1]}, r"boxes: got shape \(1, 3, 4\)"),
        ({"boxes": BOXES[..., :3]}, r"boxes: got shape \(2, 3, 3\)"),
        ({"boxes": BOXES + np.nan}, r"boxes: got nan at \(0, 0, 0\)"),
        ({"truth": [[TRUE], [(0, 0, 0, 5)]]}, r"truth\[1\]: got the box \[0.0, 0.0, 0.0, 5.0\]"),
        ({"class_right": [True]}, r"class_right: got shape \(1,\)"),
        ({"class_right": [3, 0]}, "class_right: got .* of type int"),  # the class in place of whether it is right
        ({"iou": 0}, "iou: got 0"),
    ],
)
def test_input_that_makes_no_kind_is_refused(change, named):
    given = {"boxes": BOXES, "truth": [[TRUE], [TRUE]], "class_right": [True, True]} | change
    with pytest.raises(DataError, match=named):
        dissect(**given)


def test_no_image_and_no_box_give_no_code():
    assert dissect(np.zeros((0, 3, 4)), [], []).shape == (0, 3)
    assert dissect(np.zeros((1, 0, 4)), [[TRUE]], [True]).shape == (1, 0)
