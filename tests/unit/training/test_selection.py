"""Which weights are kept, by what figure on val."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image

from boxless.backbones.base import Backbone, Stage
from boxless.data.transforms import Preprocess
from boxless.errors import MissingTruthError
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.recipe import Recipe
from boxless.runs import open_run
from boxless.training.examples import Examples
from boxless.training.session import train
from boxless.training.validation import box_hits
from boxless.types import Batch, Features, Item, Localization

SIDE = 40  # of the bright square in each image of `boxed`


def boxed(shapes: Path, root: Path) -> Path:
    """The same images with a true box in each of val: the brightest 30 x 30 pixels."""
    copytree(shapes, root)
    lines = ["path,x0,y0,x1,y1"]
    for path in sorted(root.glob("val/*/*.png")):
        pixels = np.asarray(Image.open(path)).max(2) == 220
        rows, columns = np.nonzero(pixels)
        corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        lines.append(",".join(map(str, (path.relative_to(root).as_posix(), *corners))))
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


def test_weights_can_be_selected_by_the_boxes_of_val(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = boxed(shapes, tmp_path / "data")
    chosen = recipe.override(data={"source": str(data)}, protocol={"select": "localization"})
    train(chosen, tmp_path / "run", device="cpu")
    said = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    figures = [line["val/max_box_accuracy"] for line in said]
    assert len(figures) == 3
    assert all("val/class_accuracy" not in line for line in said)
    selection = open_run(tmp_path / "run", device="cpu").card["selection"]
    assert selection["criterion"] == "MaxBoxAcc on val, by its true boxes (oracle)"
    assert selection["value"] == max(figures)
    assert selection["epoch"] == max(epoch for epoch, figure in enumerate(figures) if figure == max(figures))


def test_a_stage_whose_maps_do_not_change_keeps_its_last_weights(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    data = boxed(shapes, tmp_path / "data")
    method = {"name": "dips", "count": 20, "resolution": 4, "hidden": 32, "width": 16, "crf_weight": 0}
    chosen = recipe.override(
        data={"source": str(data)}, method=method, protocol={"select": "localization"}, training={"epochs": 2}
    )
    train(chosen, tmp_path / "run", device="cpu")
    said = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert ["val/max_box_accuracy" in line for line in said] == [False, False, True, True]
    selection = open_run(tmp_path / "run", device="cpu").card["selection"]
    assert selection["criterion"] == "MaxBoxAcc on val, by its true boxes (oracle)"
    assert selection["epoch"] in (2, 3)


def test_without_boxes_of_val_nothing_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(MissingTruthError, match="have no boxes"):
        train(recipe.override(protocol={"select": "localization"}), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


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
        assert classes is not None
        maps = (images[:, :1] + 1).expand(-1, classes.shape[1], -1, -1)  # mean and std of 1 take 1 from each pixel
        return Localization(torch.zeros(len(images), self.num_classes), maps, classes)


def test_boxes_that_fit_are_counted_at_each_threshold(tmp_path: Path) -> None:
    truth, items = {}, []
    for number, side in enumerate((SIDE, SIDE // 2)):  # a true box of a quarter of the square's area does not fit
        pixels = np.zeros((80, 80, 3), dtype=np.uint8)
        pixels[:65, :65] = 100  # with thresholds below half, the box is too large
        pixels[10 : 10 + SIDE, 10 : 10 + SIDE] = 200
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        items.append(Item(tmp_path / f"{number}.png", f"{number}.png", (number,)))
        truth[f"{number}.png"] = np.array([[10.0, 10, 10 + side, 10 + side]])
    items.append(Item(tmp_path / "0.png", "other.png", (0,)))  # has no true box and takes no part
    method = Brightness(Still(), 2)
    examples = Examples(items, 2, Preprocess(80, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    hits, count = box_hits(method, examples, truth, None, torch.device("cpu"))
    assert count == 2
    assert hits[:499].tolist() == [0.0] * 499
    assert hits[501:].tolist() == [1.0] * 499
    halves = [box_hits(method, examples, truth, None, torch.device("cpu"), rank=r, world=2) for r in range(2)]
    assert [n for _, n in halves] == [1, 1]
    assert sum(h for h, _ in halves).tolist() == hits.tolist()  # type: ignore[union-attr]
