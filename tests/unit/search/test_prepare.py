"""What trials share is made once, before the first of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.errors import DataError
from boxless.listener import Listener
from boxless.recipe import Recipe
from boxless.search.prepare import prepare, remove_features
from boxless.training.session import train
from boxless.training.tracking import BoxSet


class Heard(Listener):
    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []

    def begin(self, name: str, total: int, done: int = 0) -> None:
        self.begun.append((name, total, done))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for name in ("red", "green"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (64, 64, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{number}.png")
    return Recipe().override(
        data={"source": str(tmp_path / "data"), "image_size": 64},
        backbone={"name": "test_vit", "weights": "random", "freeze": True},
        method={"dropout": 0.0},
        training={"epochs": 1, "batch_size": 8},
        protocol={"select": "classification", "threshold": "otsu"},
    )


def test_features_of_a_frozen_backbone_are_computed_once_for_all_trials(recipe: Recipe, tmp_path: Path) -> None:
    folder, heard = tmp_path / "search", Heard()
    prepared = prepare(recipe, folder, device="cpu", listener=heard)
    assert [each for each in heard.begun if each[0].startswith("features")] == [
        ("features of train", 16, 0),  # each image and its mirror image
        ("features of val", 4, 0),
    ]
    heard = Heard()
    train(prepared.recipe, folder / "trials" / "0001", device="cpu", listener=heard)
    assert [each for each in heard.begun if each[0].startswith("features")] == [
        ("features of train", 16, 16),
        ("features of val", 4, 4),
    ]
    assert [path.name for path in folder.iterdir() if path.is_dir()] != ["trials"]
    remove_features(prepared.recipe, folder)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["trials"]


def test_features_that_the_user_keeps_stay(recipe: Recipe, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    folder = tmp_path / "search"
    own = recipe.override(training={"features": str(kept)})
    prepared = prepare(own, folder, device="cpu", listener=Listener())
    remove_features(prepared.recipe, folder)
    assert prepared.recipe.training.features == str(kept)
    assert len(list(kept.iterdir())) == 2
    assert not (folder / "features").exists()


def test_pseudo_boxes_that_no_image_has_compare_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = BoxSet("spectral", {"red/0.png": np.zeros((0, 4))})
    monkeypatch.setattr("boxless.search.prepare.ValBoxes", lambda *_: lambda: (without,))
    by_boxes = recipe.override(protocol={"select": "pseudo", "boxes": ["spectral"]})
    with pytest.raises(DataError, match=r"no image of val has a pseudo-box by spectral"):
        prepare(by_boxes, tmp_path / "search", device="cpu", listener=Listener())
