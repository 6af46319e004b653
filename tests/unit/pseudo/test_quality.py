"""The quality of pseudo-boxes by stage, on proposals whose overlaps with a true box are known by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from boxless.errors import MissingTruthError
from boxless.pseudo.quality import on_grid, quality, stage_figures
from boxless.pseudo.selection import Selection
from boxless.types import Box, Prediction

TRUTH = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
# Of widths 10, 8, 5, 4 and 2 on the first true box: IoUs of 1, .8, .5, .4 and .2; the last lies elsewhere.
BOXES = np.array([[0.0, 0, width, 10] for width in (2, 4, 5, 8, 10)] + [[20, 20, 30, 30]])


def selection(objectness: list[float] | None, scores: list[float], top: list[int], hit: list[int]) -> Selection:
    return Selection(
        BOXES,
        None if objectness is None else np.array(objectness),
        np.array(scores),
        np.isin(np.arange(6), top),
        np.isin(np.arange(6), hit),
        chosen=3,
    )


def predicted(name: str, *boxes: tuple[float, float, float, float], size: tuple[int, int] = (100, 100)) -> Prediction:
    made = tuple(Box(each, "cat", 0, 0.5) for each in boxes)
    return Prediction(Path(name), name, size, "cat", 0, 0.5, made, 0.0)


def test_each_stage_is_the_mean_of_the_proposals_that_it_leaves() -> None:
    given = selection([0.1, 0.9, 0.2, 0.3, 0.4, 0.5], [math.nan] * 3 + [0.7, 0.2, 0.1], top=[1, 2, 3], hit=[0, 2, 3, 4])
    found = stage_figures(given, TRUTH)
    assert found["peak"] == pytest.approx(((0.2 + 0.5 + 0.8 + 1) / 4, 3 / 4))
    assert found["top_peak"] == pytest.approx(((0.5 + 0.8) / 2, 1))
    assert found["best"] == pytest.approx((0.4, 0))  # by objectness
    assert found["bound"] == pytest.approx((1, 1))


def test_without_objectness_the_best_is_by_score_and_what_was_not_scored_is_not_best() -> None:
    given = selection(None, [math.nan, math.nan, 0.3, 0.9, 0.2, 0.1], top=[3], hit=[5])
    found = stage_figures(given, TRUTH)
    assert found["best"] == pytest.approx((0.8, 1))
    assert found["peak"] == (0, 0)
    assert np.isnan(found["top_peak"]).all()


def test_an_image_without_proposals_has_no_figures() -> None:
    nothing = np.zeros(0, dtype=bool)
    found = stage_figures(Selection(np.zeros((0, 4)), None, np.zeros(0), nothing, nothing, -1), TRUTH)
    assert np.isnan([*found.values()]).all()


def test_figures_are_means_over_images_that_have_a_box_and_the_others_are_counted() -> None:
    truth = {"a": TRUTH[:1], "b": TRUTH[:1], "c": TRUTH[:1], "without": TRUTH[:0]}
    predictions = [predicted("a", (0, 0, 8, 10), (0, 0, 10, 10)), predicted("b", (0, 0, 4, 10)), predicted("c")]
    predictions += [predicted("without", (0, 0, 1, 1)), predicted("unknown", (0, 0, 1, 1))]
    stages = {"a": {"peak": (0.5, 0.25), "bound": (1.0, 1.0)}, "b": {"peak": (math.nan, math.nan), "bound": (0.6, 1.0)}}
    found = quality(predictions, truth, "boxes.csv", stages, replicates=50)
    rows = {each.key: (each.mean_iou.value, each.right.value, each.images) for each in found.stages}
    assert list(rows) == ["peak", "top_peak", "best", "chosen", "bound", "constant"]
    assert rows["chosen"] == pytest.approx((0.6, 50, 2))  # the first box of a, .8, and that of b, .4
    assert rows["peak"] == pytest.approx((0.5, 25, 1))
    assert rows["bound"] == pytest.approx((0.8, 100, 2))
    assert rows["best"][2] == 0
    assert rows["constant"] == pytest.approx((0.01, 0, 3))  # the whole image of 100 x 100, of which the object has 1 %
    assert found.images == 3
    assert found.rows()[3][-1] == "2 of 3"
    assert found.rows()[2][1] == "–"
    assert found.guard.warning is None


def test_without_stages_there_is_the_pseudo_box_and_the_constant() -> None:
    found = quality([predicted("a", (0, 0, 8, 10))], {"a": TRUTH}, "boxes.csv", replicates=0)
    assert [each.key for each in found.stages] == ["chosen", "constant"]
    assert found.rows()[0] == ("the pseudo-box", "0.800", "100.0", "1 of 1")


def test_all_that_is_said_is_marked_as_an_oracle_s_and_can_be_written() -> None:
    names = [f"{number}.jpg" for number in range(30)]
    predictions = [predicted(name, (0, 0, 5, 10)) for name in names]
    truth = {name: np.array([[20.0, 20, 80, 80]]) for name in names}
    found = quality(predictions, truth, "boxes.csv", replicates=50)
    assert found.guard.warning is not None
    assert found.guard.warning.startswith("ORACLE")
    assert found.header()[0].startswith("ORACLE")
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["oracle"] is True
    assert "nothing was chosen by them" in written["note"]
    assert written["stages"][0]["mean_iou"] == {"value": 0, "low": 0, "high": 0}


def test_no_image_with_both_boxes_is_refused() -> None:
    with pytest.raises(MissingTruthError, match="none of the 2 images has both a pseudo-box and a true box"):
        quality([predicted("a"), predicted("b", (0, 0, 1, 1))], {"a": TRUTH}, "boxes.csv")


def test_true_boxes_lie_where_the_network_sees_them() -> None:
    assert on_grid(np.array([[10.0, 20, 100, 60]]), (100, 80), (40, 200)).tolist() == [[20, 10, 200, 30]]
