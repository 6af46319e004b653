from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tools import Heard, StopAfter, assert_same, in_two_processes, weights

from boxless.data.catalog import read_catalog
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError, InterruptedRunError, RunError, TrainingError
from boxless.listener import Listener
from boxless.methods import DEFAULT_METHOD, MULTI_LABEL_METHOD
from boxless.recipe import Recipe
from boxless.runs import open_run
from boxless.training.examples import Examples
from boxless.training.resolve import resolve
from boxless.training.session import train
from boxless.training.validation import look_at_maps
from boxless.types import Item, Localization

TOYS = str(Path(__file__).parent)


def test_a_run_names_the_file_that_it_learnt_from_and_not_the_folder_of_its_pictures(
    recipe: Recipe, shapes: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{path},{path.parent.name}" for path in sorted((shapes / "train").rglob("*.png"))]
    table.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    train(recipe.override(data={"source": str(table)}, training={"epochs": 1}), tmp_path / "run", device="cpu")
    assert open_run(tmp_path / "run", device="cpu").card["data"]["source"] == str(table)


def test_a_finished_run_holds_recipe_weights_card_and_metrics_and_nothing_else(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", device="cpu")
    files = {path.name for path in (tmp_path / "run").iterdir()} - {"tensorboard"}
    assert files == {"recipe.yaml", "model.safetensors", "card.json", "metrics.jsonl"}
    run = open_run(tmp_path / "run", device="cpu")
    assert run.classes == ("blue", "green", "red")
    assert run.card["supervision"] == "image labels"
    assert run.card["selection"]["criterion"] == "class accuracy on val"
    assert run.recipe.backbone.freeze is False
    epochs = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert epochs[-1]["loss/classification"] < epochs[0]["loss/classification"]


def test_the_same_recipe_gives_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train(recipe, tmp_path / name, device="cpu")
    assert_same(tmp_path / "one", tmp_path / "two")


def test_another_seed_gives_other_weights(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "one", device="cpu")
    train(recipe.override(training={"seed": 1}), tmp_path / "two", device="cpu")
    assert weights(tmp_path / "one").keys() == weights(tmp_path / "two").keys()
    assert not torch.equal(
        weights(tmp_path / "one")["classifier.weight"], weights(tmp_path / "two")["classifier.weight"]
    )


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 4, 8])  # an epoch has 3: mid-epoch, at its end, after it, and near the end
def test_a_run_stopped_anywhere_ends_as_an_unbroken_one(
    recipe: Recipe, tmp_path: Path, freeze: bool, steps: int
) -> None:
    recipe = recipe.override(backbone={"freeze": freeze})
    train(recipe, tmp_path / "whole", device="cpu")
    with pytest.raises(InterruptedRunError, match="boxless train --resume --out"):
        train(recipe, tmp_path / "broken", device="cpu", listener=StopAfter(steps, "training"))
    assert not (tmp_path / "broken" / "card.json").exists()
    train(recipe, tmp_path / "broken", device="cpu", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_feature_caching_goes_on_where_it_was_stopped(recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.override(backbone={"freeze": True})
    train(recipe, tmp_path / "whole", device="cpu")
    with pytest.raises(InterruptedRunError):
        train(recipe, tmp_path / "broken", device="cpu", listener=StopAfter(32, "features of train"))

    class Seen(Listener):
        begun: list[tuple[str, int, int]] = []  # noqa: RUF012

        def begin(self, task: str, total: int, done: int = 0) -> None:
            self.begun.append((task, total, done))

    train(recipe, tmp_path / "broken", device="cpu", resume=True, listener=Seen())
    assert ("features of train", 48, 32) in Seen.begun
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_cached_features_train_as_computed_ones_do(recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.override(backbone={"freeze": True}, data={"augment": False})
    train(recipe.override(training={"cache_features": True}), tmp_path / "cached", device="cpu")
    train(recipe.override(training={"cache_features": False}), tmp_path / "computed", device="cpu")
    a, b = weights(tmp_path / "cached"), weights(tmp_path / "computed")
    for key in a:  # half-precision features against single
        torch.testing.assert_close(a[key], b[key], atol=3e-3, rtol=0)


def test_features_are_computed_once_for_all_runs_that_share_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    shared = recipe.override(
        backbone={"freeze": True}, training={"cache_features": True, "features": str(tmp_path / "features")}
    )
    begun: dict[str, list[int]] = {}
    for name, rate in (("one", 1e-3), ("two", 1e-2)):
        heard = Heard()
        train(shared.override(training={"learning_rate": rate}), tmp_path / name, device="cpu", listener=heard)
        begun[name] = [total - done for task, total, done in heard.begun if task.startswith("features")]
        assert not (tmp_path / name / "features").exists()
    assert begun == {"one": [48, 6], "two": [0, 0]}
    assert len(list((tmp_path / "features").iterdir())) == 2  # of train and of val
    train(recipe.override(backbone={"freeze": True}, training={"learning_rate": 1e-2}), tmp_path / "own", device="cpu")
    own, two = weights(tmp_path / "own"), weights(tmp_path / "two")
    assert all(torch.equal(value, two[name]) for name, value in own.items())


def test_maps_that_need_the_images_are_looked_at_after_training_on_cached_features(
    recipe: Recipe, tmp_path: Path
) -> None:
    """The images are blurred around what each map shows; class tokens alone were cached."""
    looking = recipe.override(method={"name": "attention"}, backbone={"freeze": True}, training={"epochs": 1})
    train(looking.override(training={"cache_features": True}), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "card.json").exists()


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_accumulated_parts_make_the_step_of_the_whole_batch(recipe: Recipe, tmp_path: Path, parts: int) -> None:
    recipe = recipe.override(training={"optimizer": "sgd", "learning_rate": 0.02})
    train(recipe, tmp_path / "whole", device="cpu")
    train(recipe.override(training={"accumulate": parts}), tmp_path / "parts", device="cpu")
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=1e-5, rtol=1e-4)


def test_an_image_that_any_process_cannot_read_is_in_the_card(recipe: Recipe, tmp_path: Path) -> None:
    from shutil import copytree

    data = tmp_path / "data"
    copytree(recipe.data.source, data)
    victims = {f"train/{name}/train{number}.png" for name in ("red", "blue") for number in range(3)}
    for name in victims:
        (data / name).write_bytes(b"")
    changed = recipe.override(data={"source": str(data)}, training={"epochs": 1})
    changed.save(tmp_path / "recipe.yaml")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from boxless.recipe import read_recipe; "
        "from boxless.training.session import train; "
        "train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), device='cpu')"
    )
    in_two_processes(str(script), str(tmp_path / "recipe.yaml"), str(tmp_path / "run"))
    assert set(open_run(tmp_path / "run", device="cpu").card["refused"]) == victims


@pytest.mark.parametrize("freeze", [False, True])
def test_two_processes_train_as_one_does(recipe: Recipe, tmp_path: Path, freeze: bool) -> None:
    recipe = recipe.override(
        training={"optimizer": "sgd", "learning_rate": 0.02, "cache_features": freeze, "batch_size": 7},
        backbone={"freeze": freeze},
    )
    train(recipe, tmp_path / "one", device="cpu")
    recipe.save(tmp_path / "recipe.yaml")
    code = (
        "import sys; from pathlib import Path; from boxless.recipe import read_recipe; "
        "from boxless.training.session import train; "
        "train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), device='cpu')"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    in_two_processes(str(script), str(tmp_path / "recipe.yaml"), str(tmp_path / "two"))
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=1e-5, rtol=1e-4)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, rel=1e-4)


def test_mixed_precision_learns_and_leaves_weights_in_full_precision(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe.override(training={"precision": "bf16"}), tmp_path / "run", device="cpu")
    assert all(v.dtype == torch.float32 for v in weights(tmp_path / "run").values() if v.is_floating_point())


def test_half_precision_without_an_accelerator_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.precision.*bf16"):
        train(recipe.override(training={"precision": "16"}), tmp_path / "run", device="cpu")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_term_and_batch(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    broken = recipe.override(method={"name": "toy_methods:NotFiniteLater"})
    with pytest.raises(TrainingError, match=r"second is nan in epoch 2, batch 2 \(images train/"):
        train(broken, tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_method_and_a_backbone_that_do_not_fit_are_refused_with_those_that_do(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    misfit = recipe.override(
        method={"name": "toy_methods:NeedsClassToken"}, backbone={"name": "test_resnet", "weights": "random"}
    )
    with pytest.raises(ConfigError, match=r"needs a class token.*test_resnet.*deit_small"):
        train(misfit, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_method_that_looks_at_images_gets_the_view_that_its_cached_features_were_made_of(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    looking = recipe.override(
        method={"name": "toy_methods:ChecksItsFeatures"}, backbone={"freeze": True}, training={"cache_features": True}
    )
    train(looking, tmp_path / "run", device="cpu")  # the method itself compares, and fails if they differ


def test_a_method_that_does_not_train_becomes_a_run_as_it_was_built(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    as_built = recipe.override(method={"name": "toy_methods:NeverTrains"})
    train(as_built, tmp_path / "run", device="cpu")
    run = open_run(tmp_path / "run", device="cpu", trust=True)
    assert run.card["selection"]["criterion"] == "none: the method does not train"
    assert run.card["selection"]["epoch"] is None
    assert set(run.card["criteria"]) == {"classification", "last"}
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    shown = subprocess.run([sys.executable, "-m", "boxless", "show", "run", str(tmp_path / "run")], text=True,
                           capture_output=True, check=True, env={**os.environ, "PYTHONPATH": TOYS}).stdout  # fmt: skip
    assert "none: the method does not train\n" in shown


def test_features_of_a_method_that_changes_images_are_never_cached(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    changing = recipe.override(method={"name": "toy_methods:HidesHalf"}, backbone={"freeze": True})
    train(changing, tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match="changes what the backbone sees"):
        train(changing.override(training={"cache_features": True}), tmp_path / "other", device="cpu")


def test_broken_images_are_reported_and_the_rest_is_learnt(recipe: Recipe, tmp_path: Path) -> None:
    from shutil import copytree

    data = tmp_path / "data"
    copytree(recipe.data.source, data)
    victims = ("train/red/train0.png", "train/blue/train3.png", "val/green/val1.png")
    for name in victims:
        content = (data / name).read_bytes()
        (data / name).write_bytes(content[: len(content) // 2])
    for freeze in (False, True):
        changed = recipe.override(data={"source": str(data)}, backbone={"freeze": freeze})
        trained = train(changed, tmp_path / f"run{freeze}", device="cpu")
        assert sorted(name for name, _ in trained.refused) == sorted(victims)
        assert set(open_run(trained.folder, device="cpu").card["refused"]) == set(victims)


def test_a_folder_that_holds_a_run_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe.override(training={"epochs": 1}), tmp_path / "run", device="cpu")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="a run is already there"):
        train(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(RunError, match="finished"):
        train(recipe, tmp_path / "run", device="cpu", resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_nothing_to_resume_is_said(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        train(recipe, tmp_path / "run", device="cpu", resume=True)


def test_a_checkpoint_of_another_network_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(recipe, tmp_path / "run", device="cpu", listener=StopAfter(2, "training"))
    kept = (tmp_path / "run" / "recipe.yaml").read_text()
    (tmp_path / "run" / "recipe.yaml").write_text(kept.replace("hidden: 32", "hidden: 8"))
    with pytest.raises(RunError, match="another network"):
        train(recipe, tmp_path / "run", device="cpu", resume=True)


def test_a_truncated_checkpoint_is_named(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(recipe, tmp_path / "run", device="cpu", listener=StopAfter(2, "training"))
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(RunError, match=r"checkpoint.safetensors"):
        train(recipe, tmp_path / "run", device="cpu", resume=True)


def test_the_callers_random_state_and_signal_handlers_are_left_as_found(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    train(recipe.override(training={"epochs": 1}), tmp_path / "run", device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGINT) is handler


def test_images_smaller_than_the_stride_are_learnt_from(recipe: Recipe, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("dark", "light")):
        for index in range(6):
            (data / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (5 + index, 3), (200 * number, 30, 30)).save(data / name / f"{index}.png")
    trained = train(recipe.override(data={"source": str(data)}), tmp_path / "run", device="cpu")
    assert trained.refused == ()
    assert math.isfinite(trained.progress.seconds)


def test_no_readable_image_at_all_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        for index in range(4):
            (data / name / f"{index}.jpg").write_bytes(b"")
    for freeze in (True, False):
        with pytest.raises(DataError, match="boxless inspect"):
            train(
                recipe.override(data={"source": str(data)}, backbone={"freeze": freeze}),
                tmp_path / f"{freeze}",
                device="cpu",
            )


class Notes(Listener):
    """Keeps what the user should read."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("freeze", [True, False])  # with cached features, and without
@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("FlatMaps", "flat", "6 of 6 maps looked at, such as that of val/blue/val0.png, are flat: no place counts"),
        ("NotFiniteMaps", "not_finite", "6 of 6 maps looked at, such as that of val/blue/val0.png, hold values that"),
        ("OneMapForAll", "same_for_all_classes", "are the same for all classes: it shows what is conspicuous"),
    ],
)
def test_maps_not_to_be_trusted_are_told_when_the_run_ends(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, sentence: str, freeze: bool
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    odd = recipe.override(method={"name": f"toy_methods:{name}"}, backbone={"freeze": freeze}, training={"epochs": 1})
    notes = Notes()
    train(odd, tmp_path / "run", device="cpu", listener=notes)
    assert [text for text in notes.said if sentence in text]
    assert open_run(tmp_path / "run", device="cpu", trust=True).card["map_warnings"] == {kind: {"count": 6, "of": 6}}


@pytest.mark.parametrize(("classes", "kinds"), [(1, []), (2, ["same_for_all_classes"])])
def test_without_val_maps_of_train_are_looked_at_and_a_class_that_is_alone_is_compared_with_none(
    recipe: Recipe, tmp_path: Path, classes: int, kinds: list[str]
) -> None:
    class Ramp:
        training, class_specific = False, True

        def eval(self) -> None: ...

        def train(self, mode: bool) -> None: ...

        def localize(self, images: torch.Tensor, classes: torch.Tensor) -> Localization:
            maps = torch.linspace(0, 1, 8).expand(len(images), classes.shape[1], 8, 8)
            return Localization(torch.zeros(len(images), 3), maps, classes)

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    files = [broken, *sorted(Path(recipe.data.source).glob("val/red/*.png"))]
    preprocess = Preprocess(32, (0, 0, 0), (1, 1, 1))
    train_set = Examples([Item(path, path.name, (0,)) for path in files], classes, preprocess)
    found = look_at_maps(
        Ramp(),  # type: ignore[arg-type]
        (train_set, Examples([], classes, preprocess)),
        torch.device("cpu"),
        0.5,
    )
    assert [(each.kind, each.count, each.total) for each in found] == [(kind, 2, 2) for kind in kinds]
    assert list(train_set.refused) == [0]


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_default_method_is_one_that_suits_what_images_show(multi_label: bool, recipe: Recipe) -> None:
    catalog = replace(read_catalog(recipe.data.source), multi_label=multi_label)
    asked = recipe.override(method={"name": "auto", "hidden": 16})
    settled = resolve(asked, catalog, accelerator=False, listener=Listener())
    assert settled.method.name == (MULTI_LABEL_METHOD if multi_label else DEFAULT_METHOD)
    assert settled.method.settings == {"hidden": 16}
