"""Pseudo-boxes of a validation split: a classifier fitted to the data, what is said of the boxes, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import boxless
from boxless.backbones import weights
from boxless.data.box_files import read_box_file
from boxless.data.catalog import read_catalog
from boxless.errors import BoxlessError, ConfigError, DataError, MissingTruthError
from boxless.listener import Listener
from boxless.protocol import guard
from boxless.pseudo import annotate as module
from boxless.pseudo.material import open_material
from boxless.pseudo.teacher import PROBE

from .toy_annotators import Blind, Fixed, Staged

NAMES = ("blue", "green", "red")
OPTIONS: dict[str, Any] = {"backbone": "test_resnet", "image_size": 64, "device": "cpu", "split": "val"}


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(network: torch.nn.Module, *_: object, **__: object) -> None:
        """The same weights each time, as pretrained ones are."""
        generator = torch.Generator().manual_seed(0)
        for weight in network.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.1, generator=generator)

    monkeypatch.setattr(weights, "load", draw)
    Fixed.seen.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of each class three images to train on and two of val, 80 x 48, with a true box each."""
    random = np.random.default_rng(0)
    lines = ["path,x0,y0,x1,y1"]
    for split, count in (("train", 3), ("val", 2)):
        for channel, name in enumerate(reversed(NAMES)):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 60, (48, 80, 3)).astype(np.uint8)
                pixels[12:36, 20:60, channel] += 150
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{number}.png")
                lines.append(f"{split}/{name}/{number}.png,10,12,50,48")
    (tmp_path / "data" / "boxes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def annotate(data: Path, annotator: type | str, **options: Any) -> module.Annotated:
    name = annotator if isinstance(annotator, str) else f"{annotator.__module__}:{annotator.__name__}"
    return boxless.annotate(data, data.parent / "out", annotator=name, **{**OPTIONS, **options})


class Ear(Listener):
    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, int]] = []
        self.steps = 0

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.tasks.append((task, total, done))
        self.steps = 0

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.steps += steps


def test_who_names_no_classifier_gets_a_probe_that_is_fitted_once(data: Path) -> None:
    first, again, changed = Ear(), Ear(), Ear()
    done = annotate(data, Fixed, listener=first)
    assert (done.images, done.boxes, done.before) == (6, 12, 0)
    assert [task for task, _, _ in first.tasks] == ["features for a classifier", "proposals"]
    assert first.tasks[0][1] == 7  # the images of train alone, of which 2 of 9 are held out as test
    assert first.steps == 6
    kept = [*(data.parent / "out" / ".proposals").glob("probe-*.safetensors")]
    assert len(kept) == 1
    assert annotate(data, Fixed, listener=again).before == 6
    assert [task for task, _, _ in again.tasks] == ["proposals"]
    kept[0].write_bytes(b"damaged")  # is fitted anew, to the same
    assert annotate(data, Fixed).before == 6
    (data / "train" / "red" / "0.png").unlink()
    annotate(data, Fixed, listener=changed)
    assert changed.tasks[0][0] == "features for a classifier"


def test_the_probe_that_was_kept_is_the_one_that_was_fitted(data: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"backbone": "test_resnet", "image_size": 64, "device": "cpu", "folder": tmp_path / "kept"}
    fitted = open_material(PROBE, read_catalog(data), **common)
    kept = open_material(PROBE, read_catalog(data), **common)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(kept.material.teacher(images), fitted.material.teacher(images), rtol=0, atol=0)
    assert kept.digests() == fitted.digests()


def test_quality_is_that_of_each_stage_beside_true_boxes_and_nothing_of_it_changes_the_boxes(data: Path) -> None:
    ear = Ear()
    plain = annotate(data, Staged, formats=("csv",))
    before = plain.files[0].read_bytes()
    assert plain.quality is None
    done = annotate(data, Staged, formats=("csv",), quality=True, listener=ear)
    assert done.files[0].read_bytes() == before
    assert (ear.tasks[-1], ear.steps) == (("stages", 6, 0), 6)
    assert done.quality is not None
    rows = {each.key: (each.mean_iou.value, each.right.value, each.images) for each in done.quality.stages}
    # Boxes of 64 x 64: the chosen one is the true one; the quarter above shares 24 x 16 with it, that below 8 x 32.
    upper, lower = 384 / (1024 + 1536 - 384), 256 / (1024 + 1536 - 256)
    assert rows["chosen"] == pytest.approx((1, 100, 6))
    assert rows["bound"] == pytest.approx((1, 100, 6))
    assert rows["best"] == pytest.approx((upper, 0, 6))
    assert rows["peak"] == pytest.approx((lower, 0, 6))
    assert rows["top_peak"][2] == 0
    written = json.loads((data.parent / "out" / "quality.json").read_text())
    assert (written["oracle"], written["split"], written["classifier"]) == (True, "val", "probe")
    assert [each["stage"] for each in written["stages"]] == list(rows)


def test_an_annotator_without_stages_has_the_last_row_and_the_constant_alone(data: Path) -> None:
    done = annotate(data, Fixed, quality=True, split="all")
    assert done.quality is not None
    assert [each.key for each in done.quality.stages] == ["chosen", "constant"]
    assert done.quality.images == 15
    assert done.quality.guard.warning is None


def test_boxes_that_are_all_alike_are_told_without_any_true_box(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "boxes.csv").unlink()
    done = annotate(data, Fixed)
    assert done.guard is not None
    assert done.guard.value == pytest.approx(0.5)  # the one box of all these images lies beside the middle
    assert done.guard.warning is None
    monkeypatch.setattr(guard, "CONSTANT_LIMIT", 0.5)
    done = annotate(data, Fixed)
    assert done.guard is not None
    assert done.guard.warning is not None
    assert "The pseudo-boxes are much alike" in done.guard.warning
    with pytest.raises(MissingTruthError, match="these data have no boxes"):
        annotate(data, Fixed, quality=True)
    with pytest.raises(MissingTruthError, match="these data have no boxes"):
        annotate(data, Fixed, quality=True, split="all")


@pytest.mark.parametrize("name", ["csv", "coco", "wsol"])
def test_images_where_nothing_is_found_are_marked_counted_and_left_out_by_readers(data: Path, name: str) -> None:
    done = annotate(data, Blind, formats=(name,), quality=True)
    assert (done.images, done.boxes, done.empty) == (6, 8, 2)
    assert done.without == ("val/blue/0.png", "val/blue/1.png")
    assert "2 of 6 images have no proposal" in done.remarks[0]
    assert done.quality is not None
    assert [each.images for each in done.quality.stages] == [4, 6]
    found = read_box_file(done.files[0], split="val", pseudo=True)
    assert (sorted(found.left_out), len(found.boxes)) == (["val/blue/0.png", "val/blue/1.png"], 4)


def test_all_images_without_a_box_are_no_error_but_have_no_quality(data: Path) -> None:
    done = annotate(data, Fixed, settings={"empty": True}, formats=("csv", "coco", "wsol"))
    assert (done.boxes, done.empty, done.guard) == (0, 6, None)
    with pytest.raises(MissingTruthError, match="none of the 6 images has both a pseudo-box and a true box"):
        annotate(data, Fixed, settings={"empty": True}, quality=True)


def test_a_class_that_val_does_not_show_is_told(data: Path) -> None:
    for path in (data / "val" / "green").iterdir():
        path.unlink()
    (data / "boxes.csv").unlink()
    assert annotate(data, Fixed).remarks == ("No image here shows 'green': nothing is said of such images.",)


def test_a_split_without_images_and_data_without_a_train_split_are_refused(
    data: Path, make_list: Callable[[str], Path]
) -> None:
    with pytest.raises(ConfigError, match=r"split 'val': .* has no images in it; it has train, all"):
        annotate(make_list("train"), Fixed)
    with pytest.raises(DataError, match="there is no train split, from whose class labels a classifier could be"):
        annotate(make_list("val"), Fixed)
    assert not (data.parent / "out").exists()


@pytest.fixture
def make_list(data: Path) -> Callable[[str], Path]:
    """A list of the images, all of one split."""

    def write(split: str) -> Path:
        path = data / f"{split}.csv"
        lines = [f"train/{name}/0.png,{name},{split}" for name in NAMES]  # so few that no other split is made of them
        path.write_text("path,label,split\n" + "\n".join(lines) + "\n")
        return path

    return write


def test_an_extra_that_is_not_installed_is_named_before_anything_is_made(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2.ximgproc", None)
    with pytest.raises(BoxlessError, match=r"Selective Search needs .*pip install 'boxless\[selective-search\]'"):
        annotate(data, "selective_search")
    assert not [*(data.parent / "out").rglob("*.jsonl")]


def test_a_file_of_other_images_is_refused_before_anything_is_proposed(data: Path) -> None:
    path = data.parent / "boxes.csv"
    path.write_text("path,x0,y0,x1,y1\nval/red/0.png,1,1,9,9\nval/cat/7.png,1,1,9,9\n")
    with pytest.raises(DataError, match=r"boxes of 1 images that are not in the data \(val/cat/7.png\)"):
        annotate(data, "file", settings={"path": str(path)})
    assert not [*(data.parent / "out").rglob("*.jsonl")]


def test_of_a_file_of_some_images_the_others_are_marked(data: Path) -> None:
    path = data.parent / "boxes.csv"
    path.write_text("path,x0,y0,x1,y1\nval/red/0.png,10,12,50,48\ntest/red/0.png,0,0,1,1\n")
    (data / "test" / "red").mkdir(parents=True)
    (data / "val" / "red" / "1.png").rename(data / "test" / "red" / "0.png")
    (data / "boxes.csv").write_text("path,x0,y0,x1,y1\nval/red/0.png,10,12,50,48\n")
    done = annotate(data, "file", settings={"path": str(path)}, formats=("csv",), quality=True)
    assert (done.boxes, done.empty) == (1, 4)
    assert done.quality is not None
    assert {each.key: each.mean_iou.value for each in done.quality.stages}["chosen"] == pytest.approx(1)
    assert read_box_file(done.files[0], split="val", pseudo=True).boxes["val/red/0.png"].tolist() == [[10, 12, 50, 48]]
