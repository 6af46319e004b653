"""A run on labelled data: every figure of pictures whose maps, classes and boxes are known by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError, MissingTruthError, UnknownNameError
from boxless.listener import Listener
from boxless.predict.localizer import Localizer
from boxless.protocol.evaluate import evaluate
from boxless.protocol.inputs import own_data
from boxless.protocol.report import compare
from boxless.recipe import Recipe
from boxless.types import Localization

SIZE = 100
CLASSES = ("blue", "red")
BOX = (40.0, 20.0, 120.0, 60.0)  # of 200 x 100 images
CORE, HALO = (40, 40, 60, 60), (20, 20, 80, 80)  # of 100 x 100 images: HALO has 0.4 of the brightness of CORE
LEFT, RIGHT = (10, 20, 50, 60), (50, 20, 90, 60)

Boxes = tuple[float, ...] | Sequence[tuple[float, ...]] | None


class Brightness:
    """The brightest channel is the class, brightness the map: every box is known by hand."""

    backbone = SimpleNamespace(any_size=True)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        logits = images.mean((2, 3))[:, [2, 0]]
        asked = logits.argmax(1, keepdim=True) if classes is None else classes
        channel = torch.tensor([2, 0])[asked]
        maps = images.gather(1, channel[..., None, None].expand(-1, -1, *images.shape[2:]))
        return Localization(logits, maps, asked)


class Ranked:
    """Eight classes. The green of the first pixel says where the true class ranks; false classes' maps are mirrored."""

    backbone = SimpleNamespace(any_size=True)
    ORDERS = ((0, 2, 3, 4, 5, 6, 7, 1), (2, 3, 0, 4, 5, 6, 7, 1), (2, 3, 4, 5, 6, 7, 0, 1))  # 0: the true class

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        true = (images[:, 0].amax((1, 2)) > images[:, 2].amax((1, 2))).long()
        logits = torch.zeros(len(images), 8)
        for row, image, label in zip(logits, images, true, strict=True):
            for rank, each in enumerate(self.ORDERS[round(float(image[1, 0, 0]) * 255 / 10)]):
                row[each if each > 1 else abs(int(label) - each)] = 8 - rank
        asked = logits.argmax(1, keepdim=True) if classes is None else classes
        bright = images[:, [0, 2]].amax(1, keepdim=True)
        own = (asked == true[:, None])[..., None, None]
        return Localization(logits, torch.where(own, bright, bright.flip(3)), asked)


@dataclass(frozen=True)
class FakeRun:
    method: Any
    threshold: str | float = "otsu"
    classes: tuple[str, ...] = CLASSES
    multi_label: bool = False
    digest: str = "x"
    card: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @property
    def recipe(self) -> Any:
        return SimpleNamespace(data=SimpleNamespace(source=self.source, format="auto", images=None))


def bright(**options: Any) -> Localizer:
    return Localizer(FakeRun(Brightness(), **options))


def make_data(root: Path, boxes: Mapping[str, Boxes]) -> Path:
    """Test images with a rectangle at BOX; ``boxes`` gives each image's true boxes. Two training images a class."""
    for split, names in (("train", ["t0", "t1"]), ("val", ["v0", "v1"])):
        for label in CLASSES:
            for name in names:
                paint(root / split / label / f"{name}.png", label)
    for path in boxes:
        paint(root / "test" / path, path.split("/")[0])
    return write_boxes(root, {f"test/{path}": box for path, box in boxes.items()})


def make_nested(root: Path, boxes: Mapping[str, Boxes]) -> Path:
    """Images of CORE in HALO: the box is HALO up to the threshold 0.4, then CORE. Paths begin with the split."""
    for path in ["train/blue/t.png", "train/red/t.png", *boxes]:
        colour = (0, 0, 1) if "/blue/" in path else (1, 0, 0)
        shades = [(HALO, tuple(102 * each for each in colour)), (CORE, tuple(255 * each for each in colour))]
        draw(root / path, (100, 100), shades)
    return write_boxes(root, boxes)


def write_boxes(root: Path, boxes: Mapping[str, Boxes], file: str = "boxes.csv") -> Path:
    rows = []
    for path, each in boxes.items():
        several = [] if each is None else [each] if isinstance(each[0], int | float) else each
        rows += [(path, *box) for box in several]
    with (root / file).open("w", newline="") as opened:
        csv.writer(opened).writerows([("path", "x0", "y0", "x1", "y1"), *rows])
    return root


def paint(path: Path, label: str) -> None:
    draw(path, (200, 100), [((40, 20, 120, 60), (0, 0, 255) if label == "blue" else (255, 0, 0))])


def draw(path: Path, size: tuple[int, int], shades: Sequence[Any], corner: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    for (x0, y0, x1, y1), colour in shades:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    image.putpixel((0, 0), (0, corner, 0))
    image.save(path)


def value(report: Any, source: str, key: str) -> float:
    return report.column(source).figures[key].value


def test_figures_equal_those_worked_out_by_hand(tmp_path: Path) -> None:
    half = (40.0, 20.0, 79.0, 60.0)  # 39 of 80 columns: IoU 0.4875
    data = make_data(
        tmp_path, {"blue/0.png": BOX, "blue/1.png": half, "red/0.png": BOX, "red/1.png": BOX, "red/2.png": None}
    )
    report = evaluate(bright(), data, replicates=100)
    assert (report.images, report.without_box, report.refused) == (5, 1, ())
    assert report.figures["class_accuracy"].value == 100
    assert value(report, "oracle-test", "box_accuracy") == 75
    assert value(report, "otsu", "box_accuracy") == 75
    assert value(report, "otsu", "box_accuracy_0.3") == 100
    assert value(report, "otsu", "top1_localization") == 75
    assert value(report, "otsu", "mean_iou") == pytest.approx((3 + 0.4875) / 4, abs=1e-9)
    assert value(report, "otsu", "error_more") == 25  # the whole of the true box, and as much again
    assert report.figures["whole_image"].value == 0
    # The centred box of side 0.7 is (30, 15, 170, 85): BOX lies in it, IoU 3200 / 9800.
    assert report.figures["centred_box"].value == 0
    assert report.figures["class_accuracy"].low == 100
    estimate = report.column("otsu").figures["mean_iou"]
    assert estimate.low < estimate.value < estimate.high <= 1
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_wrong_class_costs_top_1_but_not_the_given_class_figures(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    image = Image.open(data / "test/red/0.png")
    ImageDraw.Draw(image).rectangle((0, 80, 199, 99), fill=(0, 0, 255))  # more blue than red in a red image
    image.save(data / "test/red/0.png")
    report = evaluate(bright(), data, replicates=0)
    assert value(report, "oracle-test", "box_accuracy") == 100
    assert report.figures["class_accuracy"].value == 50
    assert value(report, "otsu", "top1_localization") == 50
    assert value(report, "otsu", "error_class") == 50
    assert value(report, "otsu", "top5_localization") == 100
    assert value(report, "otsu", "named_box_accuracy") == 50  # the blue bar is shown as the box


def test_the_runs_fixed_threshold_is_used_and_named(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    image = Image.open(data / "test/red/0.png")
    pen = ImageDraw.Draw(image)  # a bar through the whole image at 0.4 of the maximum: box (0, 20, 200, 60), IoU 0.4
    pen.rectangle((0, 30, 39, 40), fill=(102, 0, 0))
    pen.rectangle((120, 30, 199, 40), fill=(102, 0, 0))
    image.save(data / "test/red/0.png")
    low = evaluate(bright(threshold=0.2), data, replicates=10)
    high = evaluate(bright(threshold=0.5), data, replicates=10)
    assert value(low, "fixed 0.2", "box_accuracy") == 50
    assert value(high, "fixed 0.5", "box_accuracy") == 100
    assert value(low, "oracle-test", "box_accuracy") == value(high, "oracle-test", "box_accuracy") == 100
    assert low.header() == ("run", "fixed 0.2", "oracle-test")
    assert {row[0]: row[2] for row in low.rows()}["threshold from"].startswith("ORACLE")
    assert low.columns[0].threshold.found_on == "the run's own rule"
    found = compare(low, high).differences["run", "box_accuracy"]
    assert (found.first, found.second) == (50, 100)


NESTED = {
    "val/blue/0.png": CORE,
    "val/red/0.png": CORE,
    "test/blue/0.png": HALO,
    "test/red/0.png": HALO,
    "test/red/1.png": CORE,
}


def test_validation_finds_its_threshold_on_val_and_applies_it_to_test(tmp_path: Path) -> None:
    report = evaluate(bright(), make_nested(tmp_path, NESTED), protocol="validation,oracle-test", replicates=0)
    validation, oracle = report.columns
    assert validation.threshold.values == (0.401, 0.401, 0.401)  # 102 / 255 is just above 0.4 in float32
    assert "2 images with true boxes of split val" in validation.threshold.found_on
    assert value(report, "validation", "box_accuracy") == pytest.approx(100 / 3)  # not what is best on test
    assert value(report, "validation", "mean_iou") == pytest.approx((1 + 2 / 9) / 3)
    assert oracle.threshold.values == (0, 0, 0)
    assert value(report, "oracle-test", "box_accuracy") == pytest.approx(200 / 3)


def test_each_iou_level_has_its_own_validation_threshold(tmp_path: Path) -> None:
    wide = (20, 20, 80, 44)  # 60 x 24: 0.4 of HALO; CORE has 20 x 4 of it, 80 / 1760
    near = (40, 40, 60, 75)  # 20 x 35: CORE is 0.571 of it; it is 0.194 of HALO
    boxes = {"val/blue/0.png": wide, "val/blue/1.png": wide, "val/red/0.png": near}
    data = make_nested(tmp_path, {**boxes, "test/blue/0.png": HALO, "test/red/0.png": CORE})
    report = evaluate(bright(), data, protocol="validation", replicates=0)
    # Right on val with HALO and with CORE, of 3: IoU 0.3: 2, 1. IoU 0.5: 0, 1. IoU 0.7: none, so the lowest.
    assert report.columns[0].threshold.values == (0.0, 0.401, 0.0)
    assert value(report, "validation", "box_accuracy_0.3") == 50  # HALO: of the first image
    assert value(report, "validation", "box_accuracy") == 50  # CORE: of the second
    assert value(report, "validation", "box_accuracy_v2") == 50


@pytest.mark.parametrize("true_boxes_of_val", [None, HALO])
def test_pseudo_boxes_are_all_that_their_protocol_looks_at(tmp_path: Path, true_boxes_of_val: Boxes) -> None:
    misleading = {name: true_boxes_of_val if name.startswith("val") else box for name, box in NESTED.items()}
    data = make_nested(tmp_path, misleading)
    write_boxes(tmp_path, {"val/blue/0.png": CORE, "val/red/0.png": (0, 0, 0, 0)}, "pseudo.csv")
    report = evaluate(bright(), data, protocol="validation-pseudo", pseudo_boxes=tmp_path / "pseudo.csv", replicates=0)
    assert report.columns[0].threshold.values == (0.401,) * 3
    assert report.columns[0].threshold.found_on.startswith("1 images with pseudo-boxes")
    assert value(report, "validation-pseudo", "box_accuracy") == pytest.approx(100 / 3)
    if true_boxes_of_val:
        assert evaluate(bright(), data, protocol="validation", replicates=0).columns[0].threshold.values == (0,) * 3


def test_otsu_and_fixed_look_at_no_box(tmp_path: Path) -> None:
    data = make_nested(tmp_path, NESTED)
    report = evaluate(bright(), data, protocol="otsu,fixed=0.3,fixed=0.5", replicates=0)
    assert value(report, "fixed 0.3", "box_accuracy") == pytest.approx(200 / 3)
    assert value(report, "fixed 0.5", "box_accuracy") == pytest.approx(100 / 3)
    before = {column.threshold.name: column.threshold for column in report.columns}
    write_boxes(tmp_path, dict.fromkeys(NESTED, (1, 1, 2, 2)))
    after = evaluate(bright(), data, protocol="otsu,fixed=0.3,fixed=0.5", replicates=0)
    assert {column.threshold.name: column.threshold for column in after.columns} == before


def make_ranked(root: Path) -> Path:
    """Rectangles at LEFT; the false classes' maps have it at RIGHT."""
    images = {  # name -> rank of the true class (first, third, seventh), true boxes
        "red/0.png": (0, LEFT),
        "red/1.png": (1, LEFT),
        "red/2.png": (1, RIGHT),
        "red/3.png": (1, LEFT),
        "blue/0.png": (2, LEFT),
        "blue/1.png": (1, [LEFT, RIGHT]),
    }
    for name in ("train/red/t.png", "train/blue/t.png"):
        paint(root / name, name.split("/")[1])
    for name, (order, _) in images.items():
        colour = (0, 0, 255) if name.startswith("blue") else (255, 0, 0)
        draw(root / "test" / name, (100, 100), [(LEFT, colour)], corner=10 * order)
    return write_boxes(root, {f"test/{name}": boxes for name, (_, boxes) in images.items()})


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_two_conventions_of_top_1_and_top_5_where_they_differ(tmp_path: Path, batch_size: int) -> None:
    run = Localizer(FakeRun(Ranked(), classes=(*CLASSES, *"cdefgh")))
    report = evaluate(run, make_ranked(tmp_path), replicates=0, batch_size=batch_size)
    assert report.figures["class_accuracy"].value == pytest.approx(100 / 6)
    assert report.figures["class_accuracy_top5"].value == pytest.approx(500 / 6)
    for source in ("otsu", "oracle-test"):
        assert value(report, source, "box_accuracy") == pytest.approx(500 / 6)  # all but red/2
        assert value(report, source, "top1_localization") == pytest.approx(100 / 6)  # red/0
        assert value(report, source, "top5_localization") == pytest.approx(400 / 6)  # red/0, red/1, red/3, blue/1
        assert value(report, source, "top5_localization_agnostic") == pytest.approx(300 / 6)  # red/0, red/2, blue/1
        assert value(report, source, "named_box_accuracy") == pytest.approx(300 / 6)
        kinds = [each.value for key, each in report.column(source).figures.items() if key.startswith("error_")]
        assert sum(kinds) + value(report, source, "top1_localization") == pytest.approx(100)


def test_of_several_labels_the_map_of_the_one_that_scores_best_counts(tmp_path: Path) -> None:
    red, blue = ((10, 20, 50, 60), (255, 0, 0)), ((60, 60, 80, 80), (0, 0, 255))
    for name in ("train/0.png", "train/1.png", "test/0.png", "test/1.png"):
        draw(tmp_path / name, (100, 100), [red, blue])
    lines = ["path,label,split"] + [f"{name},blue;red,{name.split('/')[0]}" for name in ("train/0.png", "test/0.png")]
    lines += ["train/1.png,blue,train", "test/1.png,blue,test"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    write_boxes(tmp_path, {"test/0.png": red[0], "test/1.png": blue[0]})
    report = evaluate(bright(multi_label=True), tmp_path / "labels.csv", replicates=0)
    assert value(report, "otsu", "box_accuracy") == 100  # red is the larger: of both, of blue alone though red is more
    assert report.figures["class_accuracy"].value == 50


def test_all_contours_leave_errors_out_and_are_named(tmp_path: Path) -> None:
    report = evaluate(bright(), make_nested(tmp_path, NESTED), contours="all", replicates=0)
    assert not any(key.startswith("error") for column in report.columns for key in column.figures)
    assert report.box_rule.startswith("the best of all")
    assert value(report, "oracle-test", "box_accuracy") == pytest.approx(200 / 3)


def test_classes_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    assert evaluate(bright(classes=("blue", "red")), data, replicates=0).figures["class_accuracy"].value == 100
    assert evaluate(bright(classes=("red", "blue")), data, replicates=0).figures["class_accuracy"].value == 0
    with pytest.raises(DataError, match="does not know the class 'red'"):
        evaluate(bright(classes=("blue", "green")), data)


def test_a_split_without_images_is_refused_with_those_there_are(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    with pytest.raises(ConfigError, match="train, val, test"):
        evaluate(bright(), data, split="holdout")


def test_another_split_is_measured_on_request(tmp_path: Path) -> None:
    data = make_nested(tmp_path, NESTED)
    report = evaluate(bright(), data, split="val", protocol="oracle-test")
    assert report.split == "split val"
    assert value(report, "oracle-test", "box_accuracy") == 100


@pytest.mark.parametrize("protocol", ["validation,oracle-test", "all"])
def test_an_oracle_of_val_does_not_go_by_the_name_of_validation(tmp_path: Path, protocol: str) -> None:
    with pytest.raises(ConfigError, match="that is oracle-test"):
        evaluate(bright(), make_nested(tmp_path, NESTED), split="val", protocol=protocol)


class Notes(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_data_without_boxes_give_class_figures_and_dashes(tmp_path: Path) -> None:
    data, notes = make_data(tmp_path, {"blue/0.png": None, "red/0.png": None}), Notes()
    report = evaluate(bright(), data, listener=notes)
    rows = {row[0]: row[1] for row in report.rows()}
    assert rows["class accuracy"] == "100.0 [100.0, 100.0]"
    assert rows["box accuracy, IoU 0.5 (GT-known)"] == "–"
    assert report.to_dict()["protocols"][0]["figures"]["box_accuracy"]["value"] is None
    assert any("only classes are measured" in said for said in notes.said)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_broken_image_is_refused_and_the_rest_measured(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX, "red/1.png": BOX})
    (data / "test/red/1.png").write_bytes(b"not an image")
    report = evaluate(bright(), data)
    assert [name for name, _ in report.refused] == ["test/red/1.png"]
    assert report.images == 2


def test_a_box_outside_its_image_is_refused_by_name_and_the_rest_measured(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": (250.0, 0.0, 300.0, 50.0), "red/1.png": BOX})
    for batch_size in (1, 3):
        report = evaluate(bright(), data, replicates=0, batch_size=batch_size)
        assert [name for name, _ in report.refused] == ["test/red/0.png"]
        assert "no area inside an image of 200 x 100" in report.refused[0][1]
        assert (report.images, value(report, "otsu", "box_accuracy")) == (2, 100)


def test_if_all_are_refused_there_is_a_report_of_no_image(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    for name in ("blue/0.png", "red/0.png"):
        (data / "test" / name).write_bytes(b"not an image")
    report = evaluate(bright(), data)
    assert (report.images, len(report.refused)) == (0, 2)
    assert report.rows()[-1][1].startswith("0 ")
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_of_val_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    data, notes = make_nested(tmp_path, {**NESTED, "val/red/1.png": CORE, "val/red/2.png": (200, 0, 300, 50)}), Notes()
    (data / "val/red/1.png").write_bytes(b"not an image")
    report = evaluate(bright(), data, protocol="validation", replicates=0, listener=notes)
    assert report.columns[0].threshold.found_on.startswith("2 images")
    assert report.refused == ()
    for name in ("val/red/1.png", "val/red/2.png"):
        assert any(name in said and "left out of the validation split" in said for said in notes.said)


def test_the_data_of_the_training_are_taken_if_none_are_given(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    assert evaluate(bright(source=str(data)), replicates=0).images == 2
    with pytest.raises(ConfigError, match="name the data to evaluate it with"):
        evaluate(bright())


def test_validation_needs_boxes_of_val(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"blue/0.png": BOX, "red/0.png": BOX})
    with pytest.raises(MissingTruthError, match="none of the 4 images of the split 'val' has a box"):
        evaluate(bright(), data, protocol="validation")
    without_val = make_nested(tmp_path / "other", {"test/blue/0.png": HALO, "test/red/0.png": HALO})
    with pytest.raises((ConfigError, MissingTruthError), match="val"):
        evaluate(bright(), without_val, protocol="validation")


def test_pseudo_boxes_are_needed_just_where_they_are_looked_at(tmp_path: Path) -> None:
    data = make_nested(tmp_path, NESTED)
    with pytest.raises(ConfigError, match="and the run keeps none; give a file with --pseudo-boxes"):
        evaluate(bright(), data, protocol="validation-pseudo")
    with pytest.raises(ConfigError, match=r"nothing of the protocol looks at .*boxes.csv"):
        evaluate(bright(), data, protocol="validation", pseudo_boxes=tmp_path / "boxes.csv")
    write_boxes(tmp_path, {"test/red/0.png": CORE}, "pseudo.csv")
    with pytest.raises(DataError, match=r"pseudo.csv: none of its 1 images is in the split val"):
        evaluate(bright(), data, protocol="validation-pseudo", pseudo_boxes=tmp_path / "pseudo.csv")
    with pytest.raises(DataError, match=r"nowhere.csv: there is no such file"):
        evaluate(bright(), data, protocol="validation-pseudo", pseudo_boxes=tmp_path / "nowhere.csv")


def test_wrong_names_are_refused_before_any_work(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        evaluate(bright(), nowhere, protocol="validaton")
    with pytest.raises(ConfigError, match=r"fixed=1\.2; a threshold is a fraction"):
        evaluate(bright(), nowhere, protocol="fixed=1.2")
    with pytest.raises(ConfigError, match="names no threshold source"):
        evaluate(bright(), nowhere, protocol=[])
    with pytest.raises(ConfigError, match="largest, all"):
        evaluate(bright(), make_nested(tmp_path, NESTED), contours="biggest")  # type: ignore[arg-type]


def test_maps_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    class Broken(Brightness):
        def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
            said = super().localize(images, classes)
            return Localization(said.logits, said.maps * np.nan, said.classes)

    with pytest.raises(DataError, match=r"blue/0\.png \(and 2 more of its batch\): the run.s map of it is not finite"):
        evaluate(Localizer(FakeRun(Broken())), make_nested(tmp_path, NESTED))


def test_the_data_of_training_are_read_again_as_they_were_then_also_if_they_are_named(tmp_path: Path) -> None:
    recipe = Recipe().override(data={"source": str(tmp_path / "shots"), "format": "video", "images": "pictures"})
    assert own_data(recipe, None, "auto", None) == (str(tmp_path / "shots"), "video", "pictures")
    named = tmp_path / "shots"
    assert own_data(recipe, named, "auto", None) == (named, "video", "pictures")
    assert own_data(recipe, named, "folder", "others") == (named, "folder", "others")
    assert own_data(recipe, tmp_path / "other", "auto", None) == (tmp_path / "other", "auto", None)
    assert own_data(Recipe(), "sample", "auto", None) == ("sample", "auto", None)
    with pytest.raises(ConfigError, match="does not say what it was trained on"):
        own_data(Recipe(), None, "auto", None)
