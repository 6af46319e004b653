"""CorLoc: shares by class worked out by hand, and loops that are naive beside sums that are not."""

from __future__ import annotations

import numpy as np
import pytest

from boxless.errors import DataError
from boxless.metrics.bootstrap import poisson_weights
from boxless.metrics.by_class import ClassTally, corloc, over_classes

NAN = float("nan")
# Two thresholds, four images of class 0, two of class 1, and one of class 1 without a true box.
OVERLAPS = [[0.5, 0.49], [0.9, 0.1], [0.2, 0.6], [0.7, 0.0], [0.0, 0.8], [0.3, 0.5], [NAN, NAN]]
LABELS = [0, 0, 0, 0, 1, 1, 1]


def filled(replicates: int = 0, clusters: list[str] | None = None) -> ClassTally:
    tally = ClassTally(3, replicates)
    right = np.array(OVERLAPS[:6]) >= 0.5
    names = clusters or [str(i) for i in range(6)]
    tally.update(names[:4], LABELS[:4], right[:4])
    tally.update(names[4:], LABELS[4:6], right[4:])
    return tally


def test_each_class_has_its_share_and_frames_without_a_box_take_no_part() -> None:
    assert corloc(OVERLAPS, LABELS, 3) == pytest.approx(np.array([[75, 25], [0, 100], [NAN, NAN]]), nan_ok=True)


def test_one_threshold_gives_one_number_a_class() -> None:
    found = corloc([row[0] for row in OVERLAPS], LABELS, 3)
    assert found == pytest.approx(np.array([75, 0, NAN]), nan_ok=True)


def test_the_mean_is_over_classes_and_not_over_images() -> None:
    found = over_classes(corloc(OVERLAPS, LABELS, 3))
    assert found == pytest.approx([37.5, 62.5])  # of all six images 50 and 50
    assert np.isnan(over_classes(np.full((2, 1), NAN))).all()


def test_an_overlap_of_just_the_level_is_right_and_the_level_may_be_another() -> None:
    assert corloc([0.5], [0], 1) == 100
    assert corloc([0.5], [0], 1, iou=0.51) == 0


def test_one_threshold_for_all_is_the_best_for_the_mean_and_each_class_has_its_own() -> None:
    tally = filled()
    one, column = tally.best()
    assert column == 1
    assert one[:, 0] == pytest.approx([25, 100, NAN], nan_ok=True)
    own, columns = tally.best_of_each()
    assert columns.tolist() == [0, 1, -1]
    assert own[:, 0] == pytest.approx([75, 100, NAN], nan_ok=True)
    assert over_classes(own)[0] == 87.5
    assert over_classes(own)[0] >= over_classes(one)[0]
    assert tally.best(begin=1)[1] == 1
    assert tally.count().tolist() == [4, 2, 0]


def test_of_equally_good_thresholds_the_first_is_taken() -> None:
    tally = ClassTally(1, 0)
    tally.update(["a"], [0], [[False, True, True, False]])
    assert (tally.best()[1], tally.best_of_each()[1].tolist(), tally.best(2)[1]) == (1, [1], 2)


def test_nothing_at_all_is_nan() -> None:
    tally = ClassTally(2, 10)
    assert tally.count().tolist() == tally.clusters().tolist() == [0, 0]
    for found in (tally.at(0), tally.best()[0], tally.best_of_each()[0]):
        assert found.shape == (2, 11)
        assert np.isnan(found).all()


@pytest.mark.parametrize("videos", [False, True])
def test_each_replicate_is_what_naive_loops_give(videos: bool) -> None:
    generator = np.random.default_rng(0)
    labels, right = generator.integers(0, 4, 60), generator.random((60, 37)) < generator.random(37)
    names = [f"video {i // 5}" if videos else str(i) for i in range(60)]
    labels[labels == 2] = 1  # a class without images
    tally = ClassTally(4, 40, seed=3)
    for start in range(0, 60, 7):
        part = slice(start, start + 7)
        tally.update(names[part], labels[part], right[part])
    drawn = np.concatenate([np.ones((60, 1)), poisson_weights(names, 40, 3)], axis=1)
    shares = np.full((4, 41, 37), NAN)
    for label in range(4):
        for draw in range(41):
            weights = drawn[labels == label, draw]
            if weights.sum():
                shares[label, draw] = 100 * weights @ right[labels == label] / weights.sum()
    assert tally.at(5) == pytest.approx(shares[:, :, 5], nan_ok=True)
    one, _ = tally.best(begin=2)
    own, _ = tally.best_of_each(begin=2)
    mean = np.array([[np.mean([s for s in shares[:, d, t] if s == s]) for t in range(2, 37)] for d in range(41)])
    assert over_classes(one) == pytest.approx(mean.max(axis=1))
    assert own == pytest.approx(shares[:, :, 2:].max(axis=2), nan_ok=True)
    assert tally.clusters().tolist() == [len({names[i] for i in range(60) if labels[i] == c}) for c in range(4)]


def test_frames_of_a_video_are_drawn_together() -> None:
    apart, together = filled(400), filled(400, ["a"] * 4 + ["b"] * 2)
    assert (together.at(0)[:, 0] == apart.at(0)[:, 0])[:2].all()
    assert np.nanstd(apart.at(0)[0]) > 10
    assert set(together.at(0)[0][np.isfinite(together.at(0)[0])]) == {75.0}  # of one video there is nothing to draw
    assert together.clusters().tolist() == [1, 1, 0]


def test_the_bits_of_an_image_are_few() -> None:
    tally = ClassTally(1, 0)
    tally.update([str(i) for i in range(100)], [0] * 100, np.ones((100, 1000), bool))
    assert sum(each.nbytes for each in tally._bits) == 100 * 125


@pytest.mark.parametrize(
    ("overlaps", "labels", "message"),
    [
        ([[0.5, NAN]], [0], "partly nan"),
        ([0.5], [1], "labels: got 1 to 1; the 1 classes are 0 to 0"),
        ([0.5], [-1], "labels: got -1"),
        ([0.5, 0.5], [0], "the class of each of 2 rows"),
        ([0.5], [0.0], "float64"),
        ([[[0.5]]], [0], r"shape \(1, 1, 1\)"),
    ],
)
def test_what_makes_no_sense_is_refused(overlaps: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        corloc(overlaps, labels, 1)


def test_batches_of_other_columns_are_refused() -> None:
    tally = filled()
    with pytest.raises(DataError, match="of the same columns"):
        tally.update(["x"], [0], [[True]])
