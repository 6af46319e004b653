"""Training in stages, with pseudo-labels made between them."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image
from tools import Heard, StopAfter, assert_same, in_two_processes, weights

from boxless.api import with_settings
from boxless.backbones.base import Backbone
from boxless.data.transforms import Augment, Preprocess
from boxless.errors import ConfigError, DataError, InterruptedRunError
from boxless.pseudo.sources import Spectral
from boxless.recipe import Recipe, read_recipe
from boxless.runs import open_run
from boxless.training.examples import Examples
from boxless.training.session import train
from boxless.types import Item

METHOD = {"name": "dips", "count": 20, "resolution": 4, "hidden": 32, "width": 16}


@pytest.fixture
def staged(recipe: Recipe) -> Recipe:
    return recipe.override(
        method=METHOD, backbone={"name": "test_efficientnet", "freeze": True}, training={"epochs": 2}
    )


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_stage_trains_its_own_part_for_its_own_epochs(staged: Recipe, tmp_path: Path) -> None:
    heard = Heard()
    staged = with_settings(staged, {"training.stages.localization.epochs": 3, "method.crf_weight": 0})
    train(staged, tmp_path / "run", device="cpu", listener=heard)
    stretches = [task for task, _, _ in heard.begun if not task.startswith("features")]
    assert stretches == ["training classification", "proposals", "training localization"]
    said = lines(tmp_path / "run")
    assert [line["epoch"] for line in said] == [0, 1, 2, 3, 4]
    assert [line["stage"] for line in said] == ["classification"] * 2 + ["localization"] * 3
    assert ["loss/classification" in line for line in said] == [True, True, False, False, False]
    assert ["val/class_accuracy" in line for line in said] == [True, True, False, False, False]
    assert said[-1]["loss/pixels"] < said[2]["loss/pixels"]  # type: ignore[operator]
    assert said[0]["learning_rate"] == said[2]["learning_rate"] or said[2]["learning_rate"] > said[1]["learning_rate"]  # type: ignore[operator]
    card = open_run(tmp_path / "run", device="cpu").card
    assert card["selection"]["criterion"] == "class accuracy on val (classification), then last epoch (localization)"
    assert not (tmp_path / "run" / "pseudo").exists()
    kept = read_recipe(tmp_path / "run" / "recipe.yaml")
    assert kept.pseudo.source == "spectral"
    assert kept.training.stages == {"localization": {"epochs": 3}}


def test_the_second_stage_leaves_what_the_first_one_learnt(staged: Recipe, tmp_path: Path) -> None:
    train(staged, tmp_path / "two", device="cpu")
    longer = with_settings(staged, {"training.stages.localization.epochs": 1})
    train(longer, tmp_path / "one", device="cpu")
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert a.keys() == b.keys()
    changed = {name.split(".")[0] for name in a if not torch.equal(a[name], b[name])}
    assert changed == {"decoder"}


@pytest.mark.parametrize(
    ("task", "steps"),
    [
        ("training classification", 2),
        ("training classification", 6),  # the last of the stage
        ("proposals", 24),
        ("training localization", 1),
        ("training localization", 3),
        ("training localization", 5),
    ],
)
def test_a_staged_run_stopped_anywhere_ends_as_an_unbroken_one(
    staged: Recipe, tmp_path: Path, task: str, steps: int
) -> None:
    train(staged, tmp_path / "whole", device="cpu")
    with pytest.raises(InterruptedRunError):
        train(staged, tmp_path / "broken", device="cpu", listener=StopAfter(steps, task))
    heard = Heard()
    train(staged, tmp_path / "broken", device="cpu", resume=True, listener=heard)
    assert_same(tmp_path / "whole", tmp_path / "broken")
    if task == "training localization":
        assert ("proposals", 24, 24) in heard.begun  # made once


@pytest.mark.parametrize(("backbone", "freeze"), [("test_efficientnet", True), ("test_vit", False)])
def test_crops_and_mirrors_are_learnt_from_without_a_cache(
    staged: Recipe, tmp_path: Path, backbone: str, freeze: bool
) -> None:
    staged = staged.override(
        backbone={"name": backbone, "freeze": freeze}, training={"cache_features": False}, method={"crf_weight": 0}
    )
    longer = {"training.stages.localization.epochs": 8, "training.stages.localization.learning_rate": 0.01}
    train(with_settings(staged, longer), tmp_path / "run", device="cpu")
    said = lines(tmp_path / "run")
    assert said[-1]["loss/pixels"] < said[2]["loss/pixels"]  # type: ignore[operator]
    source = read_recipe(tmp_path / "run" / "recipe.yaml").pseudo.source
    assert source == {"test_efficientnet": "spectral", "test_vit": "attention"}[backbone]


def test_two_processes_share_the_making_of_pseudo_labels(staged: Recipe, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    staged = staged.override(pseudo={"folder": str(kept)}, training={"batch_size": 7, "epochs": 1})
    staged.save(tmp_path / "recipe.yaml")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from boxless.recipe import read_recipe; "
        "from boxless.training.session import train; "
        "train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), device='cpu')"
    )
    in_two_processes(str(script), str(tmp_path / "recipe.yaml"), str(tmp_path / "run"))
    files = sorted(kept.rglob("*.jsonl"))
    assert [path.name for path in files] == ["0000-of-0002.jsonl", "0001-of-0002.jsonl"]
    assert [len(path.read_text().splitlines()) for path in files] == [12, 12]
    assert open_run(tmp_path / "run", device="cpu").classes == ("blue", "green", "red")


def test_another_run_scores_boxes_and_its_pseudo_labels_are_kept_for_the_next(
    staged: Recipe, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = recipe.override(data={"image_size": 96}, training={"epochs": 1})
    train(other, tmp_path / "classifier", device="cpu")
    monkeypatch.chdir(tmp_path)
    pseudo = {"classifier": "classifier", "folder": "kept", "top_k": 1}
    staged = staged.override(pseudo=pseudo, training={"epochs": 1})
    first, second = Heard(), Heard()
    train(staged, tmp_path / "one", device="cpu", listener=first)
    train(staged.override(method={"count": 5}), tmp_path / "two", device="cpu", listener=second)
    assert ("proposals", 24, 0) in first.begun
    assert ("proposals", 24, 24) in second.begun
    said = open_run(tmp_path / "one", device="cpu").card["pseudo_labels"]
    assert said["classifier"] == str(tmp_path / "classifier")
    assert said["folder"] == str(tmp_path / "kept")


def test_a_classifier_of_other_classes_is_refused(staged: Recipe, recipe: Recipe, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copytree(recipe.data.source, data)
    for split in ("train", "val", "test"):
        (data / split / "red").rename(data / split / "rose")
    train(recipe.override(training={"epochs": 1}), tmp_path / "classifier", device="cpu")
    changed = staged.override(
        data={"source": str(data)}, pseudo={"classifier": str(tmp_path / "classifier")}, training={"epochs": 1}
    )
    with pytest.raises(ConfigError, match=r"trained on 3 classes.*3; it does not know rose"):
        train(changed, tmp_path / "run", device="cpu")


def test_an_unreadable_image_is_left_out_of_pseudo_labels_too(staged: Recipe, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copytree(staged.data.source, data)
    (data / "train" / "red" / "train0.png").write_bytes(b"no image")
    trained = train(staged.override(data={"source": str(data)}), tmp_path / "run", device="cpu")
    assert [name for name, _ in trained.refused] == ["train/red/train0.png"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pseudo": {"source": "attention"}}, "fitting: .*vit_small.*The source 'spectral' takes any backbone"),
        ({"pseudo": {"source": "spectrum"}}, "no source 'spectrum'; .*spectral"),
        ({"pseudo": {"source": "spectral", "vector": 3}}, "pseudo.vector: there is no such setting; .*vectors"),
        ({"pseudo": {"source": "run"}}, "name as pseudo.classifier the folder of a finished run, or a zero-shot"),
        ({"pseudo": {"source": "run", "classifier": "test_vit"}}, "trained on 1000 classes"),
        ({"pseudo": {"classifier": "nowhere"}}, "'nowhere' is no folder of a finished run and no timm model"),
        ({"pseudo": {"classifier": "test_efficientnet"}}, "trained on 1000 classes, and the data has 3"),
        (
            {"training": {"stages": {"location": {}}}},
            "stages.location: there is no such stage; .*localization",
        ),
        ({"training": {"stages": {"localization": {"seed": 2}}}}, "the same in all stages; set training.seed"),
        ({"training": {"stages": {"localization": {"epoch": 2}}}}, "stages.localization.epoch: there is no such"),
        ({"training": {"stages": {"localization": {"epochs": "auto"}}}}, "stages.localization.epochs: give a number"),
        ({"method": {"name": "fcam"}, "pseudo": {"source": "spectral"}}, "spectral gives 10 maps of an image, none"),
        ({"method": {"name": "cam"}, "pseudo": {"top_k": 3}}, "method cam learns from image labels alone"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    staged: Recipe, tmp_path: Path, sections: dict[str, dict[str, object]], message: str
) -> None:
    merged = staged.override(training={"epochs": 1}).override(**sections)
    with pytest.raises(ConfigError, match=message):
        train(merged, tmp_path / "run", device="cpu")


def test_boxes_that_are_all_too_small_are_kept_and_told_of_and_so_may_be_asked_for_more_than_there_are(
    staged: Recipe, tmp_path: Path
) -> None:
    heard = Heard()
    one = staged.override(pseudo={"min_size": 0.999, "top_k": 50}, training={"epochs": 1})
    train(one, tmp_path / "run", device="cpu", listener=heard)
    (said,) = [note for note in heard.notes if "minimum size" in note]
    assert said.endswith("images have no region of the minimum size; each keeps its largest.")


def test_flat_maps_everywhere_end_the_run_with_advice(staged: Recipe, tmp_path: Path) -> None:
    class Flat(Spectral):
        def __call__(self, backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 2, 4, 4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boxless.pseudo.sources.Spectral", Flat)
        with pytest.raises(DataError, match=r"no image has a pseudo-label: .*take another pseudo.source"):
            train(staged.override(training={"epochs": 1}), tmp_path / "run", device="cpu")


def test_a_view_is_the_part_of_the_image_that_is_shown(tmp_path: Path) -> None:
    across, down = np.meshgrid(np.arange(256), np.arange(256))
    Image.fromarray(np.stack([across, down, 0 * down], 2).astype(np.uint8)).save(tmp_path / "ramp.png")
    item = Item(tmp_path / "ramp.png", "ramp.png", (0,))
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    examples = Examples([item], 1, Preprocess(32, mean, std), Augment(32, mean, std), 0)
    centres = (torch.arange(32) + 0.5) / 32
    mirrored = set()
    for epoch in range(6):
        x0, y0, x1, y1, flip = examples.view(0, epoch)
        shown = 255 * examples.shown(0, epoch)
        columns = centres.flip(0) if flip else centres
        torch.testing.assert_close(
            shown[0].mean(0)[4:-4], (256 * (x0 + columns * (x1 - x0)) - 0.5)[4:-4].float(), atol=1.5, rtol=0
        )
        torch.testing.assert_close(
            shown[1].mean(1)[4:-4], (256 * (y0 + centres * (y1 - y0)) - 0.5)[4:-4].float(), atol=1.5, rtol=0
        )
        mirrored.add(flip)
        flipped = examples.view(0, epoch, mirror_only=True)
        assert flipped == (0, 0, 1, 1, float(examples.flipped(0, epoch)))
    assert mirrored == {0.0, 1.0}
