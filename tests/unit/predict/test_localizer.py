import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import e
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from boxless.errors import DataError
from boxless.predict.localizer import Localizer
from boxless.predict.sources import Source
from boxless.types import Localization, Prediction

Paint = Callable[..., Path]


def only(predictions: Iterator[Prediction]) -> Prediction:
    (one,) = predictions
    return one


def test_box_label_and_score_are_those_worked_out_by_hand(run: Any, paint: Paint) -> None:
    path = paint("a.png")
    found = only(Localizer(run).predict(path))
    # 64 px to 32: the white box (16, 16, 32, 48) is (8, 8, 16, 24) in the map, and comes back exactly
    assert found.boxes[0].xyxy == (16, 16, 32, 48)
    assert (found.name, found.size, found.label, found.label_index) == ("a.png", (64, 64), "dark", 0)
    assert found.score == pytest.approx(e / (1 + e), abs=1e-6)  # softmax of logits (1, 0)
    assert found.boxes[0].score == found.score
    assert found.threshold == 0.5
    assert found.map is None


def test_multi_label_run_scores_by_sigmoid(run: Any, paint: Paint) -> None:
    found = only(Localizer(replace(run, multi_label=True)).predict(paint("a.png")))
    assert found.score == pytest.approx(1 / (1 + 1 / e), abs=1e-6)


def test_each_axis_of_a_wide_image_is_scaled_by_itself(run: Any, paint: Paint) -> None:
    # 320 x 64: a map pixel is 10 x 2 image pixels, and the box lies on their borders
    found = only(Localizer(run).predict(paint("wide.png", (320, 64), (50, 10, 120, 40))))
    assert found.boxes[0].xyxy == (50, 10, 120, 40)


@pytest.mark.parametrize(
    ("orientation", "box"),
    [
        (1, (0, 16, 32, 24)),
        (3, (96, 40, 128, 48)),  # 180 degrees: (128 - 32, 64 - 24, 128 - 0, 64 - 16)
        (6, (40, 0, 48, 32)),  # stored (x, y) is seen at (64 - y, x)
        (8, (16, 96, 24, 128)),  # stored (x, y) is seen at (y, 128 - x)
    ],
)
def test_boxes_are_in_pixels_of_the_upright_image(
    run: Any, paint: Paint, orientation: int, box: tuple[float, ...]
) -> None:
    found = only(Localizer(run).predict(paint("turned.jpg", (128, 64), (0, 16, 32, 24), orientation)))
    assert found.size == ((128, 64) if orientation < 5 else (64, 128))
    assert found.boxes[0].xyxy == pytest.approx(box, abs=1e-9)


def test_black_image_has_a_prediction_without_a_box(run: Any, paint: Paint) -> None:
    found = only(Localizer(replace(run, threshold="otsu")).predict(paint("black.png", box=None)))
    assert found.boxes == ()
    assert found.label == "dark"


def test_otsu_run_cuts_between_the_two_levels(run: Any, paint: Paint) -> None:
    found = only(Localizer(replace(run, threshold="otsu")).predict(paint("a.png")))
    assert found.boxes[0].xyxy == (16, 16, 32, 48)
    assert 0 <= found.threshold < 1


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_image_one_pixel_wide_gets_a_box_inside_it(run: Any, paint: Paint, size: tuple[int, int]) -> None:
    found = only(Localizer(run).predict(paint("thin.png", size, (0, 0, *size))))
    assert found.size == size
    assert found.boxes[0].xyxy == (0, 0, *size)


def test_low_score_leaves_out_the_box_and_keeps_the_prediction(run: Any, paint: Paint) -> None:
    found = only(Localizer(run).predict(paint("a.png"), min_score=0.8))
    assert found.boxes == ()
    assert found.score < 0.8


def test_map_is_kept_on_request_and_owns_its_memory(run: Any, paint: Paint) -> None:
    found = only(Localizer(run).predict(paint("a.png"), maps=True))
    assert found.map is not None
    assert found.map.shape == (32, 32)
    assert found.map.dtype == np.float32
    assert found.map.base is None
    assert found.map.sum() == pytest.approx(8 * 16)


def test_broken_image_is_reported_and_the_stream_goes_on(run: Any, paint: Paint) -> None:
    paint("a.png")
    broken = paint("b.png")
    broken.write_bytes(broken.read_bytes()[:40])
    paint("c.png")
    localizer = Localizer(run)
    assert [each.name for each in localizer.predict(broken.parent, batch_size=2)] == ["a.png", "c.png"]
    ((name, error),) = localizer.refused
    assert name == "b.png"
    assert "b.png" in str(error)


def test_on_error_takes_the_broken_images(run: Any, paint: Paint) -> None:
    broken = paint("b.png")
    broken.write_bytes(b"")
    taken: list[tuple[Path, str]] = []
    localizer = Localizer(run)
    assert list(localizer.predict(broken, on_error=lambda path, name, _: taken.append((path, name)))) == []
    assert taken == [(broken, "b.png")]
    assert localizer.refused == []


def test_output_that_is_not_finite_refuses_that_image_alone(run: Any, paint: Paint) -> None:
    class Broken:
        backbone = run.method.backbone

        def localize(self, images: torch.Tensor, classes: torch.Tensor | None = None) -> Localization:
            said = run.method.localize(images)
            said.maps[0, 0, 0, 0] = torch.nan
            return Localization(said.logits, said.maps, said.classes)

    paint("a.png")
    localizer = Localizer(replace(run, method=Broken()))
    predicted = list(localizer.predict(paint("b.png").parent))
    assert [each.name for each in predicted] == ["b.png"]
    assert predicted[0].boxes[0].xyxy == (16, 16, 32, 48)
    assert "not finite" in str(localizer.refused[0][1])


def test_infinity_is_not_taken_for_the_highest_value(run: Any, paint: Paint) -> None:
    class Broken:
        backbone = run.method.backbone

        def localize(self, images: torch.Tensor, classes: torch.Tensor | None = None) -> Localization:
            said = run.method.localize(images)
            return Localization(said.logits, said.maps / 0, said.classes)

    localizer = Localizer(replace(run, method=Broken()))
    assert list(localizer.predict(paint("a.png", box=(0, 0, 64, 64)))) == []
    assert re.search(r"a\.png.*not finite", str(localizer.refused[0][1]))


@pytest.mark.parametrize(
    ("box", "warning", "found"),
    [
        ((16, 16, 32, 48), None, 1),
        (None, "flat", 0),
        ((0, 0, 64, 63), "whole_image", 1),
    ],
)
def test_a_map_that_is_not_to_be_trusted_is_told_with_its_prediction(
    run: Any, paint: Paint, box: Any, warning: str | None, found: int
) -> None:
    predicted = only(Localizer(run).predict(paint("a.png", box=box)))
    assert (predicted.warning, len(predicted.boxes)) == (warning, found)


def test_the_run_s_own_threshold_decides_what_the_warning_calls_foreground(run: Any, paint: Paint) -> None:
    path = paint("a.png", box=(0, 0, 64, 63))
    image = Image.open(path)
    image.paste((90, 90, 90), (0, 0, 64, 40))
    image.save(path)
    warned = [only(Localizer(replace(run, threshold=each)).predict(path)).warning for each in (0.2, 0.5, "otsu")]
    assert warned == ["whole_image", None, None]


def test_name_that_no_file_can_hold_is_refused_and_not_written_later(run: Any, paint: Paint) -> None:
    localizer = Localizer(run)
    assert list(localizer.predict(paint("line\nend.png"))) == []
    assert "rename" in str(localizer.refused[0][1])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order_is_that_of_the_sources_whatever_the_threads(run: Any, paint: Paint, workers: int) -> None:
    for index in range(7):
        paint(f"{index}.png", box=(2 * index, 0, 40, 40))
    found = list(Localizer(run).predict(paint("0.png").parent, batch_size=3, workers=workers))
    assert [each.name for each in found] == [f"{index}.png" for index in range(7)]
    assert [each.boxes[0].xyxy[0] for each in found[1:]] == [2 * index for index in range(1, 7)]


def test_skipped_names_are_not_read(run: Any, paint: Paint) -> None:
    paint("a.png")
    paint("b.png").write_bytes(b"broken")
    localizer = Localizer(run)
    assert [each.name for each in localizer.predict(paint("a.png").parent, skip={"b.png"})] == ["a.png"]
    assert localizer.refused == []


def test_sources_are_taken_as_they_are_needed(run: Any, paint: Paint) -> None:
    path = paint("a.png")
    taken = 0

    def endless() -> Iterator[Source]:
        nonlocal taken
        while True:
            taken += 1
            yield Source(path, f"{taken}.png")

    stream = Localizer(run).predict(endless(), batch_size=4, workers=2)
    for _ in range(8):
        next(stream)
    assert taken <= 8 + 3 * 4  # two batches ahead, and the one in the making
    stream.close()  # type: ignore[attr-defined]


def test_single_images_come_as_path_picture_or_array(run: Any, paint: Paint) -> None:
    path = paint("a.png")
    localizer = Localizer(run)
    picture = Image.open(path)
    expected = localizer.predict_image(path)
    assert expected.boxes[0].xyxy == (16, 16, 32, 48)
    assert expected.map is not None
    for given in (picture, np.asarray(picture), np.asarray(picture.convert("L"))):
        assert localizer.predict_image(given).boxes == expected.boxes


def test_array_that_is_no_image_is_refused(run: Any) -> None:
    with pytest.raises(DataError, match=r"shape \(3, 8, 8\)"):
        Localizer(run).predict_image(np.zeros((3, 8, 8), np.uint8))


def test_broken_single_image_raises(run: Any, paint: Paint) -> None:
    path = paint("a.png")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        Localizer(run).predict_image(path)


def test_gradients_are_not_recorded(run: Any, paint: Paint) -> None:
    class Watching:
        backbone = run.method.backbone
        grad_mode = True

        def localize(self, images: torch.Tensor, classes: torch.Tensor | None = None) -> Localization:
            self.grad_mode = torch.is_grad_enabled()
            return run.method.localize(images)

    method = Watching()
    list(Localizer(replace(run, method=method)).predict(paint("a.png")))
    assert method.grad_mode is False
    assert torch.is_grad_enabled()
