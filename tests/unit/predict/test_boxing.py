"""From what a network saw to boxes: several, none, masks, other names, other thresholds."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import e
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from boxless.errors import ConfigError, UnknownNameError
from boxless.ops.run_lengths import paint as paint_mask
from boxless.predict.engine import Engine, Said
from boxless.predict.localizer import Localizer
from boxless.predict.options import Options
from boxless.predict.presence import FEATURES
from boxless.types import Box, Prediction

Paint = Callable[..., Path]
PAIR = ((16, 16, 32, 48), (40, 8, 56, 24))  # two white boxes of a black image of 64 x 64


def two(paint: Paint, name: str = "two.png") -> Path:
    path = paint(name, box=None)
    image = Image.open(path)
    for box in PAIR:
        image.paste((255, 255, 255), box)
    image.save(path)
    return path


def predict(run: Any, path: Path, **options: Any) -> Prediction:
    (found,) = Localizer(run).predict(path, Options(**options), maps=True)
    return found


def test_all_objects_are_boxed_where_several_are_asked_for(run: Any, paint: Paint) -> None:
    path = two(paint)
    assert [each.xyxy for each in predict(run, path).boxes] == [PAIR[0]]
    assert sorted(each.xyxy for each in predict(run, path, multi=True, rescore=False).boxes) == sorted(PAIR)


@pytest.mark.parametrize(("options", "kept"), [({"max_boxes": 1}, 1), ({"min_area": 0.1}, 1), ({"min_score": 0.9}, 0)])
def test_what_is_small_or_weak_or_too_many_is_left_out(
    run: Any, paint: Paint, options: dict[str, Any], kept: int
) -> None:
    # 16 x 32 of 64 x 64 is an eighth of the image, 16 x 16 a sixteenth; the class has a score of .73
    assert len(predict(run, two(paint), multi=True, rescore=False, **options).boxes) == kept


def test_a_second_look_names_each_box_by_itself(run: Any, paint: Paint) -> None:
    # the whole image is dark, with a score of e / (1 + e); a box alone with its margin is bright
    found = predict(run, two(paint), multi=True)
    assert found.label == "dark"
    assert {each.label for each in found.boxes} == {run.classes[1]}
    assert all(each.score == pytest.approx(e / (1 + e), abs=1e-6) for each in found.boxes)  # the mean of the two looks


def test_every_probable_class_of_a_multi_label_run_is_looked_for(run: Any, paint: Paint) -> None:
    # logits 1 and 0 are probabilities of .73 and .5
    found = predict(replace(run, multi_label=True), two(paint), multi=True, rescore=False, label_score=0.5)
    assert {each.label for each in found.boxes} == set(run.classes)
    assert set(found.label_maps) == set(run.classes)
    only = predict(replace(run, multi_label=True), two(paint), multi=True, rescore=False, label_score=0.6)
    assert {each.label for each in only.boxes} == {"dark"}
    assert only.label_maps == {}


def drawn_of(box: Box) -> Any:
    canvas = np.zeros((64, 64), np.uint8)
    paint_mask(canvas, box.mask or "", 1)
    return canvas


def test_a_mask_is_the_object_to_the_pixel_where_the_map_is(run: Any, paint: Paint) -> None:
    found = predict(run, two(paint), multi=True, rescore=False, masks=True)
    for box in found.boxes:
        drawn = drawn_of(box)
        x0, y0, x1, y1 = map(int, box.xyxy)
        assert drawn[y0:y1, x0:x1].mean() > 0.9
        assert drawn.sum() == drawn[y0:y1, x0:x1].sum()


def test_the_one_box_has_the_mask_of_its_component_alone(run: Any, paint: Paint) -> None:
    (box,) = predict(run, two(paint), masks=True).boxes
    drawn = drawn_of(box)
    assert drawn[:, 40:].sum() == 0
    assert drawn[16:48, 16:32].mean() > 0.9


def test_a_threshold_of_the_options_counts_and_not_the_run_s(run: Any, paint: Paint) -> None:
    path = paint("gray.png")
    image = Image.open(path)
    ImageDraw.Draw(image).rectangle((32, 16, 47, 47), fill=(70, 70, 70))
    image.save(path)
    assert predict(run, path).boxes[0].xyxy == (16, 16, 32, 48)
    assert predict(run, path, threshold=0.2).boxes[0].xyxy == (16, 16, 48, 48)
    assert predict(run, path, threshold="otsu").threshold != 0.5


def test_coarse_names_add_up_and_boxes_bear_them(run: Any, paint: Paint) -> None:
    labels = tuple((name, "thing") for name in run.classes)
    found = predict(run, two(paint), label_map=labels)
    assert (found.label, found.label_index, found.boxes[0].label) == ("thing", 0, "thing")
    assert found.score == pytest.approx(1)
    assert Localizer(run).classes(Options(label_map=labels)) == ("thing",)


def test_a_label_map_of_an_unknown_class_is_refused(run: Any, paint: Paint) -> None:
    with pytest.raises(UnknownNameError, match=r"'drak'.*dark"):
        predict(run, two(paint), label_map=(("drak", "x"),))


def test_mirroring_changes_nothing_that_is_the_same_in_the_mirror(run: Any, paint: Paint) -> None:
    path = two(paint)
    plain, flipped = predict(run, path), predict(run, path, flip=True)
    assert flipped.boxes == plain.boxes
    np.testing.assert_allclose(flipped.map, plain.map, atol=1e-6)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_boxes_of_other_scales_are_in_pixels_of_the_image_all_the_same(run: Any, paint: Paint, size: float) -> None:
    assert predict(run, two(paint), scales=(size,), refine="guided").boxes[0].xyxy == pytest.approx(PAIR[0], abs=4)


def calibrated(bias: float) -> dict[str, Any]:
    flat = [0.0] * len(FEATURES)
    return {
        "features": list(FEATURES), "mean": flat, "scale": [1.0] * len(FEATURES), "weights": flat, "bias": bias,
        "least": 0.5, "recall": 0.95, "positives": 60, "negatives": 60, "false": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(("bias", "absent"), [(-1.0, True), (1.0, False)])
def test_there_is_no_box_where_nothing_is_seen_if_the_user_wants_that(
    run: Any, paint: Paint, bias: float, absent: bool
) -> None:
    calm = replace(run, card={"presence": calibrated(bias)})
    found = predict(calm, two(paint), abstain=True)
    assert (found.absent, len(found.boxes)) == (absent, 0 if absent else 1)
    assert found.presence == pytest.approx(1 / (1 + e**-bias))
    assert len(predict(calm, two(paint)).boxes) == 1


def test_a_run_that_was_not_calibrated_says_so(run: Any, paint: Paint) -> None:
    with pytest.raises(ConfigError, match=r"abstain.*calibrate_run"):
        predict(run, two(paint), abstain=True)


def test_pictures_in_memory_are_predicted_in_order_under_their_names(run: Any, paint: Paint) -> None:
    pictures = [(f"frame {number}", Image.open(two(paint))) for number in range(5)]
    found = list(Localizer(run).predict_arrays(iter(pictures), batch_size=2))
    assert [each.name for each in found] == [name for name, _ in pictures]
    assert {each.boxes[0].xyxy for each in found} == {PAIR[0]}


@pytest.mark.parametrize(
    "options",
    [{"threshold": 1.0}, {"threshold": "high"}, {"nms": 2}, {"max_boxes": 0}, {"scales": ()}, {"scales": (9.0,)},
     {"tile": 8}, {"overlap": 0.95}, {"min_score": float("nan")}, {"refine": "blur"}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Options(**options)


def test_only_what_is_unusual_is_kept_of_options() -> None:
    assert Options().fields() == {}
    assert Options(multi=True, nms=0.3).fields() == {"multi": True, "nms": 0.3}


class Bright(Engine):
    """An engine of plain arrays."""

    classes, threshold, multi_label, size, any_size = ("object",), 0.5, False, 32, True
    digest, selected_by, threshold_from, presence, batch_size, beside = "d", "hand", "hand", None, 4, False

    def forward(self, images: Any, classes: Any = None) -> Said:
        maps = images.mean(3, dtype=np.float32)[:, None] / np.float32(255)
        count = len(images)
        return Said(np.zeros((count, 1)), np.zeros((count, 1), np.int64), maps, np.ones(count, bool))


def test_any_engine_will_do(paint: Paint) -> None:
    (found,) = Localizer(Bright()).predict(two(paint))
    assert found.boxes[0].xyxy == PAIR[0]


def test_prediction_is_without_torch_until_a_run_is_opened() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import boxless.predict.localizer, boxless.predict.writing, boxless.predict.tiles, boxless.formats"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
