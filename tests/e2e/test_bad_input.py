"""Bad input: a clear message that names the file or setting and the mend, nothing lost, exit code 2, or 1."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from .conftest import TINY, Boxless, make_shapes, shape


def refused(done, *parts: object) -> None:
    """Exit code 2 and one clean message on stderr that holds all the parts."""
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    (message,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    for part in parts:
        assert str(part) in message, message


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape(0, seed)[0].save(path)


@pytest.fixture
def train(boxless: Boxless, tmp_path: Path):
    return lambda data, *more: boxless("train", data, "--out", tmp_path / "run", "--epochs", 1, *TINY, *more)


# ---- data


def test_a_path_that_does_not_exist(train, tmp_path: Path) -> None:
    refused(train(tmp_path / "nowhere"), tmp_path / "nowhere", "no such file or folder")


def test_an_empty_folder(train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(train(tmp_path / "empty"), tmp_path / "empty", "no")


def test_one_class_only(train, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "data" / "cat" / f"{number}.png", number)
    refused(train(tmp_path / "data"), tmp_path / "data", "'cat'", "at least two classes")


def test_a_class_without_images_and_one_with_a_single_image_are_told_of(train, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", {"train": 4})
    for name in ("train/red/1.png", "train/red/2.png", "train/red/3.png"):
        (data / name).unlink()
    (data / "train" / "grey").mkdir()
    done = train(data)
    assert done.code == 0, done.err
    assert "classes without an image are left out: 'grey'" in done.err
    assert "classes with one image only can hardly be learned: 'red'" in done.err


@pytest.mark.parametrize("content", [b"", b"plain text", None], ids=["zero bytes", "no image", "truncated"])
def test_a_file_that_is_no_whole_image_is_left_out_and_named(train, tmp_path: Path, content: bytes | None) -> None:
    data = make_shapes(tmp_path / "data", {"train": 3, "val": 1})
    broken = data / "train" / "red" / "broken.jpg"
    save(broken)
    broken.write_bytes(broken.read_bytes()[:400] if content is None else content)
    done = train(data)
    assert done.code == 1
    assert "1 image was refused" in done.err
    assert str(broken) in done.err
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_not_one_image_that_can_be_read(train, tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("nothing")
    refused(train(tmp_path / "data", "--freeze"), "images can be read", "boxless inspect")


TABLES = {
    "missing column": ("path,class\na.png,cat\n", ["list.csv", "label"]),
    "unknown path": ("path,label\na.png,cat\ngone.png,dog\n", ["list.csv:3", "gone.png"]),
    "stray comma": ("path,label\na.png,cat\nb.png,dog,\nc.png,d,og\n", ["list.csv:3", "3 fields"]),
    "empty label": ("path,label\na.png,cat\nb.png,\n", ["list.csv:3", "label"]),
}


@pytest.mark.parametrize(("text", "parts"), TABLES.values(), ids=TABLES)
def test_a_csv_file_that_is_wrong_is_named_with_its_line(train, tmp_path: Path, text: str, parts: list[str]) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", ord(name))
    (tmp_path / "list.csv").write_text(text)
    refused(train(tmp_path / "list.csv"), *parts)


def test_a_label_in_val_that_train_does_not_have(train, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", {"train": 3, "val": 1})
    save(data / "val" / "mauve" / "7.png")
    refused(train(data), "'mauve'", "in val but not in train", "7.png")


def test_the_same_image_in_two_splits_is_warned_of(boxless: Boxless, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", {"train": 3, "val": 1, "test": 1})
    shutil.copy(data / "train" / "red" / "0.png", data / "test" / "red" / "copy.png")
    done = boxless("inspect", data)
    assert done.code == 0
    assert "more than one split" in done.out
    assert "copy.png" in done.out


@pytest.mark.parametrize("size", [(30_000, 40), (5, 3)], ids=["30,000 pixels wide", "smaller than the stride"])
def test_an_image_of_an_extreme_size_is_predicted(
    boxless: Boxless, run: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "odd.png")
    done = boxless("predict", run, tmp_path / "odd.png", "--out", tmp_path / "out", "--format", "coco", "--json")
    assert done.code == 0, done.err
    (image,) = json.loads(Path(done.json["files"]["coco"]).read_text())["images"]
    assert (image["width"], image["height"]) == size


# ---- names and settings


def test_an_unknown_method_is_met_with_the_nearest_name(train, shapes: Path, tmp_path: Path) -> None:
    refused(train(shapes, "--method", "camm"), "unknown method 'camm'", "'cam'")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backbone_is_met_with_the_nearest_names(train, shapes: Path) -> None:
    refused(train(shapes, "--backbone", "resnet5O"), "unknown backbone 'resnet5O'", "'resnet50'")


SETTINGS = {
    "training.epoch=3": ["training.epoch", "'epochs'"],
    "trainin.epochs=3": ["trainin", "'training'"],
    "training.epochs=many": ["training.epochs", "'many'"],
    "training.epochs=0": ["training.epochs", "0"],
    "method.hiden=8": ["method.hiden", "'hidden'"],
    "method.stride=1": ["stride", "finer than any stage"],
    "epochs=3": ["--set epochs=3", "section.setting=value"],
    "training.epochs": ["--set training.epochs", "section.setting=value"],
    "data.format=zip": ["'zip'", "folder"],
    "backbone.weights=package": ["test_resnet", "no installed package"],
}


@pytest.mark.parametrize(("setting", "parts"), SETTINGS.items(), ids=SETTINGS)
def test_a_wrong_setting_is_named_with_what_would_do(train, shapes: Path, setting: str, parts: list[str]) -> None:
    refused(train(shapes, "--set", setting), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("training: {epoch: 3}", ["epoch"]),
        ("training: 3", ["training must hold settings"]),
        ("- 1", ["a mapping of sections"]),
        ("a: [", ["not valid YAML"]),
        ("version: 99", ["version 99"]),
        (None, ["cannot be read"]),
    ],
)
def test_a_wrong_recipe_is_named(train, shapes: Path, tmp_path: Path, text: str | None, parts: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    done = train(shapes, "--recipe", recipe)
    refused(done, *parts)


def test_a_method_and_a_backbone_that_do_not_fit(train, shapes: Path, toys: None) -> None:
    refused(train(shapes, "--method", "toys:NeedsClassToken"), "class token", "test_resnet", "deit_small")


def test_pseudo_labels_that_cannot_be_had(train, shapes: Path) -> None:
    wanted = ("--method", "dips", "--set", "pseudo.source=attention")
    refused(train(shapes, *wanted), "attention", "no plain vision transformer", "'spectral' takes any backbone")
    wanted = ("--method", "dips", "--set", "pseudo.classifier=nowhere")
    refused(train(shapes, *wanted), "'nowhere'", "no folder of a finished run and no timm model")


def test_a_device_that_this_machine_does_not_have(train, shapes: Path) -> None:
    refused(train(shapes, "--device", "xpu"), "device xpu", "--device cpu")


def test_a_format_that_nothing_writes(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    done = boxless("predict", run, shapes, "--out", tmp_path / "out", "--format", "coco,yollo")
    refused(done, "unknown format 'yollo'", "'yolo'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("trian",),
        ("train", "data"),
        ("train", "data", "--out", "run", "--epoch-count", "3"),
        ("predict", "run", "data", "--out", "out", "--min-score", "2"),
        ("list", "model"),
        ("show", "method"),
        ("show", "nothing", "name"),
        ("train", "--out", "run"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    boxless: Boxless, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = boxless(*arguments)
    assert done.code == 2
    assert done.err
    assert list(tmp_path.iterdir()) == []


# ---- runs and output folders


def damaged(run: Path, target: Path, what: str) -> Path:
    folder = target / "damaged"
    shutil.copytree(run, folder)
    if what == "unfinished":
        (folder / "card.json").unlink()
    elif what == "half a card":
        (folder / "card.json").write_text((folder / "card.json").read_text()[:100])
    elif what == "half the weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif what == "other version":
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, "run_version": 99, "boxless": "9.9"}))
    elif what == "another recipe":
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        recipe["backbone"]["name"] = "test_vit"
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    elif what == "not a run":
        shutil.rmtree(folder)
        folder.mkdir()
    elif what == "missing":
        shutil.rmtree(folder)
    return folder


DAMAGE = {
    "missing": ["no such run folder", "boxless train"],
    "not a run": ["no run folder", "card.json"],
    "unfinished": ["unfinished", "--resume"],
    "half a card": ["card.json", "damaged"],
    "half the weights": ["model.safetensors", "damaged"],
    "other version": ["99", "9.9", "train again"],
    "another recipe": ["model.safetensors", "do not fit"],
}


@pytest.mark.parametrize(("what", "parts"), DAMAGE.items(), ids=DAMAGE)
def test_a_run_that_cannot_be_used(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path, what: str, parts: list[str]
) -> None:
    folder = damaged(run, tmp_path, what)
    refused(boxless("predict", folder, shapes, "--out", tmp_path / "out"), folder, *parts)
    assert not (tmp_path / "out").exists()


def test_an_out_folder_that_cannot_be_written(boxless: Boxless, train, run: Path, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file stands where the folder should be")
    refused(train(shapes), tmp_path / "run", "cannot be written", "--out")
    refused(boxless("predict", run, shapes / "test", "--out", tmp_path / "run"), tmp_path / "run", "cannot be written")
    assert (tmp_path / "run").read_text() == "a file stands where the folder should be"


def test_a_folder_that_holds_a_run_already(boxless: Boxless, run: Path, shapes: Path) -> None:
    before = {each.name: each.read_bytes() for each in run.iterdir() if each.is_file()}
    refused(boxless("train", shapes, "--out", run, *TINY), run, "already there", "--out")
    assert {each.name: each.read_bytes() for each in run.iterdir() if each.is_file()} == before


@pytest.mark.parametrize("writes", [3, 8])
def test_a_full_disk_while_training_loses_nothing(
    train, boxless: Boxless, shapes: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    real, left = os.fsync, [writes]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr("boxless.files.os.fsync", full)
        done = train(shapes, "--epochs", 2)
    refused(done, tmp_path / "run", "No space left on device", "free space")
    assert list((tmp_path / "run").glob("*.tmp")) == []
    again = boxless("train", "--resume", "--out", tmp_path / "run")
    assert again.code == 0, again.err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_a_full_disk_when_an_epoch_is_noted_loses_nothing(
    train, boxless: Boxless, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(self: Path, mode: str = "r", *more: object, **options: object):
        if self.name == "metrics.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        refused(train(shapes, "--method", "cam"), tmp_path / "run" / "metrics.jsonl", "No space left on device")
    again = boxless("train", "--resume", "--out", tmp_path / "run")
    assert again.code == 0, again.err
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_full_disk_while_predicting_loses_nothing(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "predict",
        run,
        shapes / "test",
        "--out",
        tmp_path / "out",
        "--format",
        "coco",
        "--batch-size",
        2,
        "--json",
    )
    left = [3]

    def full(file, content) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(content)

    with monkeypatch.context() as patch:
        patch.setattr("boxless.predict.journal._write_all", full)
        refused(boxless(*command), tmp_path / "out", "No space left on device", "same command")
    done = boxless(*command)
    assert (done.code, done.json["skipped"], done.json["written"]) == (0, 6, 3)


def test_a_loss_that_is_not_a_number_stops_with_its_name_and_batch(train, shapes: Path, toys: None) -> None:
    done = train(shapes, "--method", "toys:Diverging", "--epochs", 5)
    refused(done, "size is nan", "epoch 2, batch 1", "training.learning_rate", "train/")


# ---- resuming


def test_a_finished_run_has_nothing_to_resume(boxless: Boxless, run: Path) -> None:
    refused(boxless("train", "--resume", "--out", run), run, "finished")


def test_no_run_to_resume(boxless: Boxless, tmp_path: Path) -> None:
    refused(boxless("train", "--resume", "--out", tmp_path / "run"), tmp_path / "run", "boxless train DATA --out")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (("--epochs", 3), "training.epochs"),
        (("--method", "cam"), "method.name"),
        (("--set", "training.batch_size=2"), "training.batch_size"),
        (("--recipe", "any.yaml"), "the recipe"),
        (("--no-freeze",), "backbone.freeze"),
        (("--seed", 0), "training.seed"),
    ],
)
def test_a_resumed_run_takes_no_other_settings(
    boxless: Boxless, run: Path, tmp_path: Path, more: tuple[object, ...], name: str
) -> None:
    folder = damaged(run, tmp_path, "unfinished")
    refused(boxless("train", "--resume", "--out", folder, *more), folder, name, "leave that out")


def test_a_resumed_run_keeps_its_data(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    folder = damaged(run, tmp_path, "unfinished")
    refused(boxless("train", tmp_path, "--resume", "--out", folder), folder, shapes, "leave out the data")


def test_maps_not_to_be_trusted_are_told_by_every_verb_and_named(
    boxless: Boxless, train, shapes: Path, toys: None, tmp_path: Path
) -> None:
    run, out, photos = tmp_path / "run", tmp_path / "out", shapes / "test"
    trained = train(shapes, "--method", "toys:OneMap", "--no-freeze", "--set", "protocol.threshold=otsu")
    assert trained.code == 0
    assert "2 of 6 maps looked at, such as that of val/red/0.png, hold values that are not finite" in trained.err
    assert "2 of 6 maps looked at, such as that of val/green/0.png, are flat" in trained.err
    predicted = boxless("predict", run, photos, "--out", out, "--format", "csv", "--trust")
    assert predicted.code == 1
    assert predicted.err.count("of 6 maps") == predicted.err.count("3 of 6 maps, such as that of green/0.png, are flat")
    assert "3 images were refused" in predicted.err
    assert "red/0.png: the network's output for it is not finite" in predicted.err
    again = boxless("predict", run, photos, "--out", out, "--format", "csv", "--trust", "--json")
    assert again.json["warnings"]["flat"] == {"count": 3, "example": "green/0.png"}
    assert [each["name"] for each in again.json["refused"]] == [f"red/{number}.png" for number in range(3)]
    measured = boxless("evaluate", run, shapes, "--trust")
    assert measured.code == 2
    assert "red/0.png (and 2 more of its batch): the run's map of it is not finite" in measured.err
