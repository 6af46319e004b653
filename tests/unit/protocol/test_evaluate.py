from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError
from boxless.predict.localizer import Localizer
from boxless.protocol.evaluate import evaluate
from boxless.types import Localization

SIZE = 100
CLASSES = ("blue", "red")
BOX = (40.0, 20.0, 120.0, 60.0)  # of 200 x 100 images


class Brightness:
    """The brightest channel is the class, brightness the map: every box is known by hand."""

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        logits = images.mean((2, 3))[:, [2, 0]]
        asked = logits.argmax(1, keepdim=True) if classes is None else classes
        channel = torch.tensor([2, 0])[asked]
        maps = images.gather(1, channel[..., None, None].expand(-1, -1, *images.shape[2:]))
        return Localization(logits, maps, asked)


@dataclass(frozen=True)
class FakeRun:
    method: Brightness
    threshold: str | float = "otsu"
    classes: tuple[str, ...] = CLASSES
    multi_label: bool = False
    digest: str = "x"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def make_data(root: Path, boxes: dict[str, tuple[float, ...] | None]) -> Path:
    """Test images with a rectangle at BOX; ``boxes`` gives each image's true box. Two training images a class."""
    rows = []
    for split, names in (("train", ["t0", "t1"]), ("val", ["v0", "v1"]), ("test", [])):
        for label in CLASSES:
            for name in names:
                paint(root / split / label / f"{name}.png", label)
    for path, box in boxes.items():
        paint(root / "test" / path, path.split("/")[0])
        if box is not None:
            rows.append((f"test/{path}", *box))
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "x0", "y0", "x1", "y1"), *rows])
    return root


def paint(path: Path, label: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (200, 100))
    colour = (0, 0, 255) if label == "blue" else (255, 0, 0)
    ImageDraw.Draw(image).rectangle((40, 20, 119, 59), fill=colour)
    image.save(path)


def test_figures_equal_those_worked_out_by_hand(tmp_path: Path) -> None:
    half = (40.0, 20.0, 79.0, 60.0)  # 39 of 80 columns: IoU 0.4875
    data = make_data(
        tmp_path, {"blue/0.png": BOX, "blue/1.png": half, "red/0.png": BOX, "red/1.png": BOX, "red/2.png": None}
    )
    report = evaluate(Localizer(FakeRun(Brightness())), data)
    scores = report.scores
    assert scores.count == 5
    assert scores.without_box == 1
    assert scores.top1_class == 100
    assert scores.max_box_accuracy == 75
    assert scores.box_accuracy == 75
    assert scores.top1_localization == 75
    assert scores.mean_iou == pytest.approx((3 + 0.4875) / 4, abs=1e-9)
    assert report.baselines["whole image"] == 0
    # The centred box of side 0.7 is (30, 15, 170, 85): BOX lies in it, IoU 3200 / 9800.
    assert report.baselines["centred box, side 0.7"] == 0


def test_a_wrong_class_costs_top_1_but_not_the_given_class_figures(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    image = Image.open(data / "test/red/0.png")
    ImageDraw.Draw(image).rectangle((0, 80, 199, 99), fill=(0, 0, 255))  # more blue than red in a red image
    image.save(data / "test/red/0.png")
    scores = evaluate(Localizer(FakeRun(Brightness())), data).scores
    assert scores.max_box_accuracy == 100
    assert scores.top1_class == 50
    assert scores.top1_localization == 50
    assert scores.top5_localization == 100


def test_the_runs_fixed_threshold_is_used_and_named(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    image = Image.open(data / "test/red/0.png")
    pen = ImageDraw.Draw(image)  # a bar through the whole image at 0.4 of the maximum: box (0, 20, 200, 60), IoU 0.4
    pen.rectangle((0, 30, 39, 40), fill=(102, 0, 0))
    pen.rectangle((120, 30, 199, 40), fill=(102, 0, 0))
    image.save(data / "test/red/0.png")
    low = evaluate(Localizer(FakeRun(Brightness(), threshold=0.2)), data)
    high = evaluate(Localizer(FakeRun(Brightness(), threshold=0.5)), data)
    assert low.scores.box_accuracy == 50
    assert high.scores.box_accuracy == 100
    assert low.scores.max_box_accuracy == high.scores.max_box_accuracy == 100
    assert any("0.2" in note for _, _, note in low.rows())
    assert any(note.startswith("ORACLE") for name, _, note in low.rows() if name.startswith("MaxBoxAcc"))


def test_classes_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    scores = evaluate(Localizer(FakeRun(Brightness(), classes=("blue", "red"))), data).scores
    assert scores.top1_class == 100
    with pytest.raises(DataError, match="does not know the class 'red'"):
        evaluate(Localizer(FakeRun(Brightness(), classes=("blue", "green"))), data)


def test_a_split_without_images_is_refused_with_those_there_are(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    with pytest.raises(ConfigError, match="train, val, test"):
        evaluate(Localizer(FakeRun(Brightness())), data, split="holdout")


def test_data_without_boxes_give_class_figures_and_dashes(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": None, "red/0.png": None})
    report = evaluate(Localizer(FakeRun(Brightness())), data)
    rows = {name: value for name, value, _ in report.rows()}
    assert rows["class accuracy"] == "100.0 %"
    assert rows["MaxBoxAcc, IoU 0.5"] == "–"
    assert report.to_dict()["scores"]["max_box_accuracy"] is None


def test_a_broken_image_is_refused_and_the_rest_measured(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX, "red/1.png": BOX})
    (data / "test/red/1.png").write_bytes(b"not an image")
    report = evaluate(Localizer(FakeRun(Brightness())), data)
    assert [name for name, _ in report.refused] == ["test/red/1.png"]
    assert report.scores.count == 2
