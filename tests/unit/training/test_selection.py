"""Which weights are kept, by what figure on val, and the threshold that is found there."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from tools import Heard

from boxless.backbones.base import Backbone, Stage
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError, MissingTruthError, UnknownNameError
from boxless.listener import Listener
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.methods.base import Stage as Part
from boxless.pseudo.usual import usual_annotator
from boxless.recipe import Protocol, Recipe
from boxless.runs import open_run
from boxless.training.examples import Examples
from boxless.training.selection import Settled
from boxless.training.session import train
from boxless.training.tracking import BoxSet, Look, Tracker
from boxless.types import Batch, Features, Item, Localization

SIDE = 40  # of the bright square in each image of `Brightness`


def corners_of(path: Path) -> tuple[int, int, int, int]:
    """The bright 30 x 30 pixels of one of the shapes."""
    rows, columns = np.nonzero(np.asarray(Image.open(path)).max(2) == 220)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def box_file(root: Path, path: Path, *, shift: int = 0) -> Path:
    """A box for each image of val, shifted to the right."""
    lines = ["path,x0,y0,x1,y1"]
    for image in sorted(root.glob("val/*/*.png")):
        x0, y0, x1, y1 = corners_of(image)
        lines.append(f"{image.relative_to(root).as_posix()},{x0 + shift},{y0},{min(x1 + shift, 80)},{y1}")
    path.write_text("\n".join(lines) + "\n")
    return path


def boxed(shapes: Path, root: Path) -> Path:
    """The same images with a true box in each of val."""
    copytree(shapes, root)
    box_file(root, root / "boxes.csv")
    return root


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def best_of(lines: list[dict[str, Any]], key: str) -> tuple[float, int]:
    """The highest figure and the latest epoch that has it."""
    highest = max(line[key] for line in lines if key in line)
    return highest, max(line["epoch"] for line in lines if line.get(key) == highest)


def test_every_criterion_is_tracked_and_keeps_its_own_weights(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = boxed(shapes, tmp_path / "data")
    near = box_file(data, tmp_path / "near.csv", shift=3)
    far = box_file(data, tmp_path / "far.csv", shift=9)
    chosen = recipe.override(
        data={"source": str(data)},
        protocol={"select": "pseudo", "threshold": "pseudo", "boxes": [str(near), str(far)], "oracle": True},
        training={"epochs": 6},
    )
    train(chosen, tmp_path / "run", device="cpu")
    lines, card = journal(tmp_path / "run"), open_run(tmp_path / "run", "cpu").card
    assert set(card["criteria"]) == {"classification", "pseudo:near", "pseudo:far", "oracle", "last"}
    keys = {"pseudo:near": "near", "pseudo:far": "far", "oracle": "ORACLE"}
    for criterion, name in keys.items():
        value, epoch = best_of(lines, f"val/iou/{name}")
        said = card["criteria"][criterion]
        assert (said["value"], said["epoch"]) == (value, epoch)
        assert said["threshold"] == lines[epoch][f"val/threshold/{name}"]
        assert said["oracle"] == (criterion == "oracle")
    assert card["criteria"]["last"]["epoch"] == 5
    assert card["criteria"]["classification"]["epoch"] == best_of(lines, "val/class_accuracy")[1]
    assert [line["select"] for line in lines] == [line["val/iou/near"] for line in lines]
    assert card["selection"]["by"] == "pseudo:near"
    assert card["threshold"]["rule"] == card["criteria"]["pseudo:near"]["threshold"]
    assert card["threshold"]["source"] == "the best by mean IoU on 6 pseudo-boxes of val, near"
    assert (card["guard"]["value"], card["guard"]["images"]) == (card["selection"]["value"], 6)
    assert "ORACLE" in card["supervision"]
    assert "chose nothing" in card["supervision"]
    files = {path.name for path in (tmp_path / "run" / "selected").iterdir()}
    own = card["selection"]["epoch"]
    assert files == {f"epoch-{each['epoch']:03d}.safetensors" for each in card["criteria"].values()} - {
        f"epoch-{own:03d}.safetensors"
    }
    for criterion, said in card["criteria"].items():
        run = open_run(tmp_path / "run", "cpu", criterion)
        kept = load_file(tmp_path / "run" / said["weights"])
        assert all(torch.equal(run.method.state_dict()[name], value) for name, value in kept.items())
        assert run.threshold == (said["threshold"] if said["threshold"] is not None else card["threshold"]["rule"])
        assert run.criterion == criterion
    with pytest.raises(UnknownNameError, match="pseudo:near"):
        open_run(tmp_path / "run", "cpu", "pseudo:nea")


def test_boxes_that_a_centred_box_fits_as_well_are_warned_of(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    lines = ["path,x0,y0,x1,y1"]
    lines += [f"{image.relative_to(shapes).as_posix()},8,6,72,58" for image in sorted(shapes.glob("val/*/*.png"))]
    (tmp_path / "same.csv").write_text("\n".join(lines) + "\n")
    heard = Heard()
    chosen = recipe.override(
        protocol={"select": "pseudo", "boxes": [str(tmp_path / "same.csv")]}, training={"epochs": 1}
    )
    train(chosen, tmp_path / "run", device="cpu", listener=heard)
    assert any("agrees with the pseudo-boxes no better" in note for note in heard.notes)


def test_a_run_stopped_in_the_middle_selects_as_if_it_was_not(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    near = box_file(shapes, tmp_path / "near.csv", shift=3)
    chosen = recipe.override(protocol={"select": "pseudo", "boxes": [str(near)]}, training={"epochs": 4})

    class Stopping(Listener):
        def epoch(self, record: Any) -> None:
            if record["epoch"] == 1:
                raise RuntimeError("enough")

    train(chosen, tmp_path / "whole", device="cpu")
    with pytest.raises(RuntimeError, match="enough"):
        train(chosen, tmp_path / "cut", device="cpu", listener=Stopping())
    near.unlink()  # the run has its own copy
    train(chosen, tmp_path / "cut", resume=True, device="cpu")
    cards = [open_run(tmp_path / name, "cpu").card for name in ("whole", "cut")]
    assert cards[0]["criteria"] == cards[1]["criteria"]
    assert journal(tmp_path / "whole") == journal(tmp_path / "cut")


def test_weights_can_be_selected_by_the_true_boxes_of_val(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = boxed(shapes, tmp_path / "data")
    protocol = {"select": "oracle", "measure": "box_accuracy"}
    train(recipe.override(data={"source": str(data)}, protocol=protocol), tmp_path / "run", device="cpu")
    card = open_run(tmp_path / "run", device="cpu").card
    assert card["selection"]["criterion"] == "MaxBoxAcc with the TRUE boxes of val (ORACLE)"
    key = "val/box_accuracy/ORACLE"
    assert (card["selection"]["value"], card["selection"]["epoch"]) == best_of(journal(tmp_path / "run"), key)
    assert card["supervision"] == "image labels; true boxes of val to select weights by (ORACLE)"


def test_a_stage_whose_maps_do_not_change_is_selected_by_classes(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = boxed(shapes, tmp_path / "data")
    method = {"name": "dips", "count": 20, "resolution": 4, "hidden": 32, "width": 16, "crf_weight": 0}
    chosen = recipe.override(
        data={"source": str(data)}, method=method, protocol={"select": "oracle"}, training={"epochs": 2}
    )
    train(chosen, tmp_path / "run", device="cpu")
    lines = journal(tmp_path / "run")
    assert ["val/iou/ORACLE" in line for line in lines] == [False, False, True, True]
    assert ["val/class_accuracy" in line for line in lines] == [True, True, False, False]
    card = open_run(tmp_path / "run", device="cpu").card
    assert card["selection"]["criterion"] == (
        "class accuracy on val (classification), then mean IoU with the TRUE boxes of val (ORACLE) (localization)"
    )
    assert card["selection"]["epoch"] in (2, 3)
    classes = card["criteria"]["classification"]  # scores stay as they are in the last stage
    assert classes["epoch"] == 3
    assert classes["value"] == best_of(lines[:2], "val/class_accuracy")[0]


def test_masks_select_where_there_are_no_boxes(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copytree(shapes, data)
    for image in sorted(data.glob("val/*/*.png")):
        x0, y0, x1, y1 = corners_of(image)
        mask = np.zeros((64, 80), dtype=np.uint8)
        mask[y0:y1, x0:x1] = 255
        path = data / "masks" / image.relative_to(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    protocol = {"select": "pseudo", "threshold": "pseudo", "measure": "pxap", "oracle": True, "absent": ["blue"]}
    train(recipe.override(data={"source": str(data)}, protocol=protocol), tmp_path / "run", device="cpu")
    lines, card = journal(tmp_path / "run"), open_run(tmp_path / "run", "cpu").card
    assert card["selection"]["criterion"] == "PxAP with pseudo-masks of val, class_maps"
    for criterion, name in (("pseudo:class_maps", "class_maps"), ("oracle", "ORACLE")):
        assert (card["criteria"][criterion]["value"], card["criteria"][criterion]["epoch"]) == best_of(
            lines, f"val/pxap/{name}"
        )
    assert card["threshold"]["source"] == "the best by pixel IoU on 6 pseudo-masks of val, class_maps"
    masks = sorted((tmp_path / "run" / "pseudo_masks").rglob("*.png"))
    assert len(masks) == 6
    assert not any(np.asarray(Image.open(path)).any() for path in masks if "blue" in str(path))
    protocol["absent"] = ["bleu"]
    with pytest.raises(ConfigError, match="no class 'bleu'"):
        train(recipe.override(data={"source": str(data)}, protocol=protocol), tmp_path / "other", device="cpu")


def test_without_true_boxes_of_val_the_oracle_trains_nothing(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(MissingTruthError, match="have no boxes"):
        train(recipe.override(protocol={"select": "oracle"}), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_pseudo_boxes_are_made_where_none_are_given(recipe: Recipe, tmp_path: Path) -> None:
    chosen = recipe.override(protocol={"select": "pseudo", "threshold": "pseudo"}, training={"epochs": 2})
    train(chosen, tmp_path / "run", device="cpu")
    card = open_run(tmp_path / "run", device="cpu").card
    (file,) = (tmp_path / "run" / "pseudo_boxes").iterdir()
    assert card["selection"]["by"] == f"pseudo:{file.stem}"
    assert file.read_text().splitlines()[0] == "path,x0,y0,x1,y1,score"
    assert len(file.read_text().splitlines()) == 7
    assert isinstance(card["threshold"]["rule"], float)


def test_with_no_annotator_at_hand_classes_select_and_otsu_cuts(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxless.training.val_boxes.usual_annotator", lambda: None)
    heard = Heard()
    protocol = {"select": "pseudo", "threshold": "pseudo"}
    train(recipe.override(protocol=protocol, training={"epochs": 1}), tmp_path / "run", device="cpu", listener=heard)
    card = open_run(tmp_path / "run", device="cpu").card
    assert (card["selection"]["by"], card["threshold"]["rule"]) == ("classification", "otsu")
    assert any("no annotator of val is at hand" in note for note in heard.notes)


def test_the_usual_annotator_is_clip_then_selective_search(monkeypatch: pytest.MonkeyPatch) -> None:
    for clip, opencv, expected in ((True, True, "clip"), (False, True, "selective_search"), (False, False, None)):
        monkeypatch.setattr("boxless.pseudo.usual._clip_is_here", lambda here=clip: here)
        monkeypatch.setattr("boxless.pseudo.usual.is_at_hand", lambda here=opencv: here)
        assert usual_annotator() == expected


def test_a_file_of_other_images_is_refused_and_so_is_one_that_is_not_there(
    recipe: Recipe, shapes: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("path,x0,y0,x1,y1,width,height\nval/red/none.png,1,1,9,9,80,64\n")
    protocol: dict[str, Any] = {"select": "pseudo", "boxes": [str(other)]}
    with pytest.raises(DataError, match="none of its 1 images is in the split val"):
        train(recipe.override(protocol=protocol), tmp_path / "run", device="cpu")
    protocol["boxes"] = [str(tmp_path / "absent.csv")]
    with pytest.raises(ConfigError, match="no such file of pseudo-boxes"):
        train(recipe.override(protocol=protocol), tmp_path / "other", device="cpu")
    protocol["boxes"] = ["selectivesearch"]
    with pytest.raises(UnknownNameError, match="annotator"):
        train(recipe.override(protocol=protocol), tmp_path / "other", device="cpu")
    near = box_file(shapes, tmp_path / "near.csv")
    (tmp_path / "again").mkdir()
    protocol["boxes"] = [str(near), str(box_file(shapes, tmp_path / "again" / "near.csv"))]
    with pytest.raises(ConfigError, match="two sources are called 'near'"):
        train(recipe.override(protocol=protocol), tmp_path / "other", device="cpu")
    assert not (tmp_path / "other").exists()


def test_without_images_in_val_the_last_weights_and_otsu_stand_in(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    for name in ("red", "green", "blue"):  # one image of a class: train can spare none
        (tmp_path / "few" / name).mkdir(parents=True)
        copy(shapes / "train" / name / "train0.png", tmp_path / "few" / name)
    heard = Heard()
    protocol = {"select": "pseudo", "threshold": "pseudo"}
    chosen = recipe.override(data={"source": str(tmp_path / "few")}, protocol=protocol, training={"epochs": 1})
    train(chosen, tmp_path / "run", device="cpu", listener=heard)
    card = open_run(tmp_path / "run", device="cpu").card
    assert (card["selection"]["by"], card["threshold"]["rule"]) == ("last", "otsu")
    assert any("val has no images" in each for each in heard.notes)


class Still(Backbone):
    stages, prefix_tokens, licence = (Stage("image", 3, 1),), 0, "none"
    mean = std = (1.0, 1.0, 1.0)

    def extract(self, images: torch.Tensor) -> Features:
        return Features((images,))


class Brightness(Method):
    """Its map is the image's first channel; the classes have all the same."""

    paper, needs = METHODS.load("cam").paper, METHODS.load("cam").needs

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        return {}

    def localize(self, images: torch.Tensor, classes: torch.Tensor | None = None) -> Localization:
        wanted = torch.zeros(len(images), 1, dtype=torch.long) if classes is None else classes
        maps = (images[:, :1] + 1).expand(-1, wanted.shape[1], -1, -1)  # mean and std of 1 take 1 from each pixel
        return Localization(torch.zeros(len(images), self.num_classes), maps, wanted)


@pytest.mark.parametrize(("measure", "threshold"), [("iou", 0.5), ("box_accuracy", 0.5)])
def test_boxes_are_measured_at_each_threshold(measure: Any, threshold: float, tmp_path: Path) -> None:
    boxes, items = {}, []
    for number, side in enumerate((SIDE, SIDE // 2)):  # a box of a quarter of the square's area does not fit
        pixels = np.zeros((80, 80, 3), dtype=np.uint8)
        pixels[:65, :65] = 100  # with thresholds below half, the box is too large
        pixels[10 : 10 + SIDE, 10 : 10 + SIDE] = 200
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        items.append(Item(tmp_path / f"{number}.png", f"{number}.png", (number,)))
        boxes[f"{number}.png"] = np.array([[10.0, 10, 10 + side, 10 + side]])
    items.append(Item(tmp_path / "0.png", "other.png", (0,)))  # has no box and takes no part
    examples = Examples(items, 2, Preprocess(80, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    fabric = Fabric(accelerator="cpu", devices=1)
    tracker = Tracker(
        Protocol(measure=measure), Brightness(Still(), 2), examples, None, (BoxSet("squares", boxes),), fabric
    )
    look = tracker.look(Part("training"))
    fit = look.fits["pseudo:squares"]
    assert fit.figures == {"iou": pytest.approx((1 + 0.25) / 2), "box_accuracy": 50.0}
    assert fit.threshold == pytest.approx(threshold, abs=1e-9)
    assert look.class_accuracy == pytest.approx(100 * 2 / 3)  # all scores are equal: the first class


def test_of_equal_epochs_the_latest_is_kept_and_a_worse_one_changes_nothing() -> None:
    tracker = Tracker(Protocol(), None, [1], None, (), None)  # type: ignore[arg-type]
    stage, best = Part("training"), {}
    for epoch, accuracy in enumerate((50.0, 60.0, 60.0, 55.0)):
        best = tracker.better(best, Look("iou", accuracy, {}), stage, epoch)
    assert best["classification"]["epoch"] == 2
    assert best["last"]["epoch"] == 3


def test_a_card_names_the_threshold_of_the_epoch_that_was_chosen() -> None:
    thresholds = {"pseudo:near": 0.25, "oracle": 0.4}
    best = {"value": 0.7, "epoch": 3, "thresholds": thresholds}
    past = ({"stage": "training", "by": "classification", **best, "best": {"classification": best, "last": best}},)
    sets = (BoxSet("near", {"a": np.ones((1, 4)), "b": np.zeros((0, 4))}), BoxSet("ORACLE", {}))
    settled = Settled(Protocol(select="classification"), sets, past, trained=True)
    assert settled.threshold() == {"rule": 0.25, "source": "the best by mean IoU on 1 pseudo-boxes of val, near"}
    assert Settled(Protocol(threshold=0.3), sets, past, trained=True).threshold()["source"] == "fixed by the user"
    assert Settled(Protocol(), (), past, trained=True).threshold()["rule"] == "otsu"
    assert settled.kept() == set()
