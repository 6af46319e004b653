"""Several boxes of one image: from its maps, and from a second look at each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from boxless.predict.multi import Found, find_several
from boxless.predict.options import Options
from boxless.predict.presence import FEATURES
from boxless.predict.rescoring import rescore

from .engines import SIDE, Colours

OPTIONS = Options(multi=True)


def blobs(*parts: tuple[int, int, int, int, float]) -> np.ndarray:
    """A map of rectangles x0, y0, x1, y1 with a value each."""
    values = np.zeros((SIDE, SIDE), np.float32)
    for x0, y0, x1, y1, value in parts:
        values[y0:y1, x0:x1] = value
    return values


def test_each_object_of_each_class_has_its_box_score_and_cells() -> None:
    maps = np.stack([blobs((0, 0, 8, 8, 0.5), (12, 0, 20, 8, 0.4)), blobs((0, 20, 8, 30, 1.0))])
    found = find_several(maps, [4, 1], [0.8, 0.6], [0.5, 0.5], OPTIONS)
    assert [each.xyxy for each in found] == [(0, 0, 8, 8), (12, 0, 20, 8), (0, 20, 8, 30)]
    assert [each.index for each in found] == [4, 4, 1]
    assert [each.score for each in found] == pytest.approx([0.8, 0.64, 0.6])  # the second's peak is 0.8 of the map's
    assert [int(each.cells.sum()) for each in found] == [64, 64, 80]
    assert found[1].cells[0:8, 12:20].all()


def test_two_peaks_of_one_component_are_two_objects_and_ripples_are_not() -> None:
    values = blobs((4, 4, 28, 12, 0.7), (4, 4, 12, 12, 1.0), (20, 4, 28, 12, 0.9))
    found = find_several(values[None], [0], [1.0], [0.5], OPTIONS)
    assert len(found) == 2
    assert found[0].xyxy[0] == 4
    assert found[1].xyxy[2] == 28
    ripples = blobs((4, 4, 28, 12, 0.895), (4, 4, 12, 12, 1.0), (20, 4, 28, 12, 0.9))
    assert len(find_several(ripples[None], [0], [1.0], [0.5], OPTIONS)) == 1


def test_options_say_how_many_and_how_large() -> None:
    maps = blobs((0, 0, 8, 8, 1.0), (12, 0, 20, 8, 0.9), (0, 20, 2, 22, 0.8))[None]
    assert len(find_several(maps, [0], [1.0], [0.5], OPTIONS)) == 3
    assert len(find_several(maps, [0], [1.0], [0.5], replace(OPTIONS, max_boxes=2))) == 2
    assert len(find_several(maps, [0], [1.0], [0.5], replace(OPTIONS, min_area=0.01))) == 2
    same = np.concatenate([maps, maps])
    assert len(find_several(same, [0, 0], [1.0, 0.5], [0.5, 0.5], OPTIONS)) == 3  # no box of a class twice
    assert len(find_several(same, [0, 1], [1.0, 0.5], [0.5, 0.5], OPTIONS)) == 6
    assert find_several(np.zeros((1, 8, 8), np.float32), [0], [1.0], [0.5], OPTIONS) == []


def first_look(*boxes: tuple[int, int, int, int]) -> list[Found]:
    """All of class 0, each of a score of its own."""
    cells = [blobs((*box, 1.0)) > 0 for box in boxes]
    return [Found(box, 0, 0.9 - 0.1 * i, cells[i]) for i, box in enumerate(boxes)]


def scene(*parts: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> Image.Image:
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE), (90, 90, 90))  # twice as large as the map
    for box, colour in parts:
        image.paste(colour, box)
    return image


def test_a_second_look_gives_each_box_its_own_class_score_and_edges() -> None:
    image = scene(((8, 8, 24, 24), (255, 0, 0)), ((40, 40, 56, 60), (0, 0, 255)))
    found = first_look((2, 2, 14, 14), (18, 18, 30, 32))  # too wide, and both called red
    again = {each.index: each for each in rescore(Colours(), image, found, OPTIONS)}
    assert set(again) == {0, 2}
    assert again[0].xyxy == pytest.approx((4, 4, 12, 12), abs=0.6)
    assert again[2].xyxy == pytest.approx((20, 20, 28, 30), abs=0.6)
    for each in again.values():
        x0, y0, x1, y1 = (round(edge) for edge in each.xyxy)
        assert each.cells[y0:y1, x0:x1].mean() > 0.8
        assert each.cells.sum() <= (x1 - x0 + 1) * (y1 - y0 + 1)
        assert 0.5 < each.score <= 1
    assert rescore(Colours(), image, [], OPTIONS) == []


def test_boxes_that_a_second_look_makes_one_are_one() -> None:
    image = scene(((16, 16, 40, 40), (0, 255, 0)))
    found = first_look((4, 4, 24, 24), (6, 6, 26, 26), (7, 7, 22, 22))
    (only,) = rescore(Colours(), image, found, OPTIONS)
    assert only.index == 1
    assert only.xyxy == pytest.approx((8, 8, 20, 20), abs=0.8)
    assert len(rescore(Colours(), image, found, replace(OPTIONS, nms=1.0))) == 3


def test_what_shows_nothing_alone_keeps_its_edges() -> None:
    (kept,) = rescore(Colours(), scene(), first_look((4, 4, 20, 20)), OPTIONS)
    assert kept.xyxy == (4, 4, 20, 20)
    assert kept.score == pytest.approx(1 / 3)  # all classes are as likely


def test_a_calibrated_run_scores_by_presence_too() -> None:
    image, found = scene(((8, 8, 24, 24), (255, 0, 0))), first_look((2, 2, 14, 14))
    plain, calibrated = Colours(), Colours()
    count = len(FEATURES)
    calibrated.presence = {
        "features": list(FEATURES), "mean": [0.0] * count, "scale": [1.0] * count, "weights": [0.0] * count,
        "bias": float(np.log(1 / 3)), "least": 0.5, "recall": 0.95, "positives": 60, "negatives": 60, "false": 0.1,
    }  # fmt: skip  # whatever is seen, something is there in 1 of 4
    (one,), (other,) = (rescore(engine, image, found, OPTIONS) for engine in (plain, calibrated))
    assert other.score == pytest.approx(one.score / 4)
