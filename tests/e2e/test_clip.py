"""What class names are good for, as a user types it: CLIP untrained, as a teacher, as anchors, and what is refused."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from boxless.text import write_text_file

from .conftest import Boxless, make_shapes, shape
from .test_bad_input import refused

SMALL = ("--image-size", 32, "--device", "cpu")
TIMM = ("--backbone", "test_efficientnet", "--set", "backbone.weights=random", "--image-size", 64, "--device", "cpu")
TED_LOC = ("--method", "ted_loc", "--epochs", 1, "--set", "method.width=8", "--set", "method.hidden=0", *TIMM)
TinyClip = Callable[..., str]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("few") / "shapes", {"train": 2, "val": 1, "test": 1})


def test_names_alone_make_a_run_that_predicts_and_is_measured(
    boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = boxless("train", few, "--method", "clip_es", "--backbone", tiny_clip(), "--out", run, *SMALL)
    assert done.code == 0, done.err
    kept = yaml.safe_load((run / "recipe.yaml").read_text())
    assert kept["text"] == {"model": tiny_clip(), "templates": "origami", "names": None}
    shown = boxless("show", "run", run)
    assert shown.code == 0, shown.err
    for part in ("clip_es", "none: the method does not train", "32 px"):
        assert part in shown.out
    done = boxless("predict", run, few / "test", "--out", tmp_path / "out", "--format", "csv", "--json")
    assert done.code in (0, 1), done.err  # random weights may make flat maps
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {f"{each}/0.png" for each in ("red", "green", "blue")}
    measured = boxless("evaluate", run, few)
    assert measured.code == 0, measured.err
    for part in ("GT-known", "Top-1"):
        assert part.lower() in measured.out.lower()


@pytest.mark.parametrize("teacher", ["own", "clip"])
def test_a_run_told_of_names_needs_no_clip_afterwards(
    boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: str
) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip().rpartition(":")[2], folder)
    model = f"open_clip:local-dir:{folder}"
    source = ("--set", "pseudo.source=run", "--set", f"pseudo.classifier={model}") if teacher == "clip" else ()
    run = tmp_path / "run"
    done = boxless("train", few, "--out", run, *TED_LOC, "--set", f"text.model={model}", *source)
    assert done.code == 0, done.err
    kept = yaml.safe_load((run / "recipe.yaml").read_text())
    assert kept["method"]["dimensions"] == 24
    assert kept["pseudo"]["source"] == ("run" if source else "cam")
    shutil.rmtree(folder)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    done = boxless("predict", run, few / "test", "--out", tmp_path / "out", "--format", "csv", "--json")
    assert done.json["written"] == 3, done.err
    assert boxless("show", "run", run).code == 0


def test_a_folder_as_people_have_them_is_annotated_by_names(
    boxless: Boxless, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    data = tmp_path / "Fotos & Bilder"
    for name in ("Rotfuchs", "чайка"):
        (data / name).mkdir(parents=True)
    image, _ = shape(0, 900)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    folder = data / "Rotfuchs"
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("L").save(folder / "grey.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    shape(0, 901, (300, 40))[0].save(data / "чайка" / "wide, ünïcode.png")
    shape(0, 902, (40, 200))[0].save(data / "чайка" / "tall.png")
    whole = (folder / "turned.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    command = ("annotate", data, "--annotator", "clip", "--classifier", tiny_clip(), "--split", "all")
    done = boxless(*command, "--out", tmp_path / "out", "--device", "cpu", "--json")
    assert done.code == 1
    assert [each["name"] for each in done.json["refused"]] == ["Rotfuchs/truncated.jpg"]
    assert done.json["images"] == 7
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "out" / "predictions.csv").open(encoding="utf-8"))}
    assert len(rows) == 7
    assert (rows["Rotfuchs/turned.jpg"]["width"], rows["Rotfuchs/turned.jpg"]["height"]) == ("64", "80")
    for row in rows.values():
        if row["x1"]:
            assert 0 <= float(row["x0"]) < float(row["x1"]) <= int(row["width"])
            assert 0 <= float(row["y0"]) < float(row["y1"]) <= int(row["height"])


NAMES = {
    "misses one": ("red: ruby\nblue: sky\n", ["lacks 1 of 3 classes: 'green'", "add them"]),
    "has another": ("red: ruby\nblue: sky\ngreen: moss\ngrey: ash\n", ["'grey' is no class of the data"]),
    "has an empty one": ('red: ruby\nblue: sky\ngreen: ""\n', ["'green'", "a name is empty"]),
    "has one twice": ("red: ruby\nblue: Ruby\ngreen: moss\n", ["'blue' and 'red' have the same name", "tells them"]),
    "has a long one": (f"red: ruby\nblue: sky\ngreen: {'very ' * 20}moss\n", ["tokens", "reads 16", "shorten"]),
}


@pytest.mark.parametrize(("text", "parts"), NAMES.values(), ids=NAMES)
def test_a_file_of_names_that_is_wrong(
    boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path, text: str, parts: list[str]
) -> None:
    names, run = tmp_path / "names.yaml", tmp_path / "run"
    names.write_text(text, encoding="utf-8")
    command = ("train", few, "--method", "clip_es", "--backbone", tiny_clip(), "--out", run, *SMALL)
    refused(boxless(*command, "--set", f"text.names={names}"), *parts)
    assert not run.exists()


def test_two_folders_that_mean_one_name(boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for name in ("red_fox", "red fox"):
        shutil.copytree(few / "train" / "red", data / name)
    command = ("train", data, "--method", "clip_es", "--backbone", tiny_clip(), "--out", run, *SMALL)
    refused(boxless(*command), "'red fox' and 'red_fox' have the same name 'red fox'", "give a file with other names")
    assert not run.exists()


def test_what_does_not_fit_is_refused_and_leaves_nothing(
    boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path
) -> None:
    clip, run = tiny_clip(), tmp_path / "run"
    write_text_file(tmp_path / "two.safetensors", ["a", "b"], torch.eye(2, 24))
    clip_es = ("--method", "clip_es", *SMALL, "--backbone")
    text = ("--set", f"text.model={clip}")
    for arguments, parts in (
        ((*clip_es, tiny_clip("resnet"), "--image-size", 64), ["patch tokens", "fitting: open_clip:ViT-B-16/openai"]),
        (("--method", "clip_es", *TIMM), ["text.model", "test_efficientnet has no text tower"]),
        (("--method", "clip_es", *TIMM, *text), ["no image tower of CLIP", "fitting"]),
        (
            (*clip_es, clip, "--set", "text.model=none"),
            ["text.model: method clip_es reads class names", "leave this setting out"],
        ),
        ((*clip_es, clip, "--set", "text.model=ViT-B-16"), ["'ViT-B-16'", "open_clip:ARCHITECTURE/TAG"]),
        ((*clip_es, clip, "--set", "text.templates=fotos"), ["unknown templates 'fotos'", "'photo'"]),
        (("--method", "cam", *TIMM, *text), ["method cam", "leave this section out"]),
        ((*TED_LOC, "--set", "method.anchors=polar"), ["method.anchors: polar", "text.model", "or take random"]),
        ((*TED_LOC, *text, "--set", "method.dimensions=20"), ["method.dimensions: 20", "have 24", "leave it out"]),
        (
            (*TED_LOC, *text, "--set", "method.dimensions=2", "--set", "method.anchors=qr"),
            ["3 classes, 2 dimensions", "take polar"],
        ),
        ((*TED_LOC, "--set", f"text.model={tmp_path / 'two.safetensors'}"), ["no embedding of 'blue', 'green', 'red'"]),
        ((*TED_LOC, *text, "--set", "pseudo.source=run"), ["pseudo.source: run", "pseudo.classifier", "zero-shot"]),
    ):
        refused(boxless("train", few, "--out", run, *arguments), *parts)
        assert not run.exists(), arguments


def test_without_the_extra_or_the_hub_it_says_how_to_get_them(
    boxless: Boxless, tiny_clip: TinyClip, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, hub, run = tiny_clip(), "open_clip:ViT-B-16/openai", tmp_path / "run"

    def ways(model: str) -> tuple[tuple[object, ...], ...]:
        teacher = ("--set", "pseudo.source=run", "--set", f"pseudo.classifier={model}")
        return (
            ("train", few, "--method", "clip_es", "--backbone", model, "--image-size", 32),
            ("train", few, *TED_LOC, "--set", f"text.model={model}"),
            ("annotate", few, "--annotator", "clip", "--classifier", model),
            ("train", few, *TED_LOC, *teacher),
        )

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("boxless.backbones.open_clip_models.in_hub_cache", lambda name: False)
    for way in ways(hub):
        refused(boxless(*way, "--out", run), hub, "out of reach", "connect once", "local-dir:FOLDER")
        assert not run.exists(), way
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for way in ways(clip):
        refused(boxless(*way, "--out", run), "pip install 'boxless[clip]'")
        assert not run.exists(), way
