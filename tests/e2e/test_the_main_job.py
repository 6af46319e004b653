"""Train, predict to every format, evaluate, look: what most users do, in the order they do it."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from boxless.formats import FORMATS
from boxless.protocol.report import make_report
from boxless.protocol.scoring import Scoring
from boxless.protocol.threshold import parse_sources

from .conftest import TINY, Boxless


def test_training_leaves_a_run_and_says_what_to_do_next(boxless: Boxless, shapes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    done = boxless("train", shapes, "--out", folder, "--epochs", 1, *TINY)
    assert done.code == 0, done.err
    assert {each.name for each in folder.iterdir()} >= {
        "recipe.yaml",
        "model.safetensors",
        "card.json",
        "metrics.jsonl",
    }
    assert f"boxless predict '{folder}' IMAGES --out boxes" in done.out
    assert f"boxless evaluate '{folder}'" in done.out
    assert "classification" in done.err  # the loss, while it worked


def test_one_set_of_predictions_comes_out_in_every_format(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
) -> None:
    done = boxless("predict", run, shapes / "test", "--out", tmp_path, "--format", "all", "--json")
    assert done.code == 0, done.err
    files = {name: Path(path) for name, path in done.json["files"].items()}
    assert list(files) == list(FORMATS)
    assert done.json["written"] == 9
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {row["name"] for row in rows} == {
        f"{name}/{number}.png" for name in ("red", "green", "blue") for number in range(3)
    }
    assert len(json.loads(files["coco"].read_text())["images"]) == 9
    assert yaml.safe_load(files["yolo"].read_text())["names"] == {0: "blue", 1: "green", 2: "red"}
    assert len(list(files["voc"].rglob("*.xml"))) == 9
    assert len(json.loads(files["labelstudio"].read_text())) == 9
    assert len(ElementTree.parse(files["cvat"]).findall("image")) == 9


def test_maps_and_overlays_lie_beside_the_boxes(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    image = shapes / "test" / "red" / "0.png"
    done = boxless("predict", run, image, "--out", tmp_path, "--format", "csv", "--maps", "--overlays")
    assert done.code == 0, done.err
    assert (tmp_path / "maps" / "0.png.npy").exists()
    with Image.open(tmp_path / "overlays" / "0.png.jpg") as overlay:
        assert overlay.width >= 80
    assert str(tmp_path / "overlays") in done.out


def test_several_boxes_have_masks_and_coarser_names(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    names, out = tmp_path / "names.csv", tmp_path / "out"
    names.write_text("fine,coarse\nblue,cold\ngreen,cold\n")
    wanted = ("--multi", "--masks", "--label-map", names, "--set", "refine=guided", "--set", "flip=true")
    assert boxless("predict", run, shapes / "test", "--out", out, "--format", "coco", *wanted).code == 0
    content = json.loads((out / "coco" / "predictions.json").read_text())
    assert "cold" in {each["name"] for each in content["categories"]}
    assert content["annotations"]
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    for each in content["annotations"]:
        assert each["segmentation"]["size"] == sizes[each["image_id"]]
        assert 0 < each["area"] <= each["bbox"][2] * each["bbox"][3] * 1.1 + 20
    assert len(list((out / "masks").rglob("*.png"))) == len(content["images"])
    again = boxless("predict", run, shapes / "test", "--out", out, "--multi")
    assert again.code == 2
    assert "--masks was true and is now false" in again.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "nsm=0.3"), "predict.nsm: there is no such setting; did you mean 'nms'?"),
        (("--set", "nms=2"), "nms is 2"),
        (("--threshold", "high"), "threshold 'high'"),
        (("--abstain",), "abstain"),
        (("--label-map", "none.csv"), "none.csv"),
    ],
)
def test_options_of_prediction_that_cannot_be_are_refused(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = boxless("predict", run, shapes / "test", "--out", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err


def test_what_is_predicted_is_not_predicted_again(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    command = ("predict", run, shapes / "test", "--out", tmp_path, "--format", "csv", "--json")
    first, second, third = boxless(*command), boxless(*command), boxless(*command, "--overwrite")
    assert [(each.json["written"], each.json["skipped"]) for each in (first, second, third)] == [(9, 0), (0, 9), (9, 0)]


def test_boxes_below_the_score_asked_for_are_left_out(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
) -> None:
    done = boxless("predict", run, shapes / "test", "--out", tmp_path, "--format", "coco", "--min-score", 1, "--json")
    assert json.loads(Path(done.json["files"]["coco"]).read_text())["annotations"] == []


def test_evaluation_prints_figures_and_gives_them_as_json(boxless: Boxless, run: Path, shapes: Path) -> None:
    shown, parsed = boxless("evaluate", run, shapes), boxless("evaluate", run, shapes, "--json", "--split", "val")
    assert (shown.code, parsed.code) == (0, 0), shown.err + parsed.err
    assert "ORACLE: these boxes" in shown.out
    assert isinstance(parsed.json, dict)
    assert [each["threshold"]["oracle"] for each in parsed.json["protocols"]] == [False, True]
    assert len(parsed.json["curves"]["box_accuracy"]["0.5"]) == 1000
    assert parsed.json["refused"] == []


def test_a_run_is_shown_with_its_data_and_settings(boxless: Boxless, run: Path, shapes: Path) -> None:
    shown, parsed = boxless("show", "run", run), boxless("show", "run", run, "--json")
    assert str(shapes) in shown.out
    assert "24 train, 6 val, 9 test" in shown.out
    assert parsed.json["card"]["classes"] == ["blue", "green", "red"]
    assert parsed.json["recipe"]["training"]["epochs"] == 2


def test_data_are_inspected_before_training(boxless: Boxless, shapes: Path) -> None:
    shown, parsed = boxless("inspect", shapes), boxless("inspect", shapes, "--json")
    assert (shown.code, parsed.code) == (0, 0)
    assert parsed.json["counts"]["red"] == {"train": 8, "val": 2, "test": 3}
    assert parsed.json["format"] == "folder"
    assert "80 pixels" in shown.out


def test_what_is_said_last_counts(boxless: Boxless, shapes: Path, tmp_path: Path) -> None:
    """Defaults, then the recipe, then the options, then --set."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("training: {epochs: 5, batch_size: 4, seed: 7}\nprotocol: {select: last}\n")
    done = boxless(
        "train", shapes, "--out", tmp_path / "run", "--recipe", recipe, "--epochs", 3, "--seed", 8, *TINY,
        "--set", "training.epochs=1", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    kept = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert kept["training"]["epochs"] == 1
    assert kept["training"]["seed"] == 8
    assert kept["training"]["batch_size"] == 8
    assert kept["protocol"]["select"] == "last"
    assert done.json["card"]["seed"] == 8


@pytest.mark.parametrize("backbone", ["test_vit", "test_efficientnet"])
def test_other_families_of_networks_do_the_same_job(
    boxless: Boxless, shapes: Path, tmp_path: Path, backbone: str
) -> None:
    trained = boxless(
        "train", shapes, "--out", tmp_path / "run", "--epochs", 1, *TINY, "--backbone", backbone, "--freeze"
    )
    assert trained.code == 0, trained.err
    predicted = boxless("predict", tmp_path / "run", shapes / "test" / "red", "--out", tmp_path / "out", "--json")
    assert predicted.json["written"] == 3


def test_a_run_knows_its_data_from_any_folder(
    boxless: Boxless, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shapes.parent)
    assert boxless("train", shapes.name, "--out", tmp_path / "run", "--epochs", 1, *TINY).code == 0
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["data"]["source"] == str(shapes)


def test_the_same_in_python(shapes: Path, run: Path, tmp_path: Path) -> None:
    """The verbs are functions, and give what the command line gives."""
    import boxless as library

    trained = library.train(
        shapes,
        tmp_path / "run",
        backbone="test_resnet",
        epochs=2,
        image_size=64,
        settings={"backbone.weights": "random", "training.batch_size": 8},
    )
    assert (trained.folder / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    predictions = list(library.Localizer.load(run).predict(shapes / "test"))
    assert [each.size for each in predictions] == [(80, 64)] * 9
    assert library.inspect(shapes).counts["blue"]["test"] == 3
    assert library.evaluate(run, shapes).refused == ()
    with pytest.raises(library.ConfigError, match=r"expected section\.setting"):
        library.train(shapes, tmp_path / "other", settings={"epochs": 3})


def test_the_demo_says_where_to_look(boxless: Boxless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb alone: what the demo does is tested beside it."""
    import boxless.demo as module

    def stand_in(folder: Path, *, device: str, seed: int, listener: object) -> module.DemoResult:
        scoring, rules = Scoring([], replicates=0), parse_sources("oracle-test", "otsu")
        whole = np.array([[0.0, 0.0, 4.0, 4.0]])
        scoring.update(["a.png"], np.ones((1, 4, 4)), [whole], [(4, 4)])
        report = make_report(
            "run",
            scoring,
            rules,
            split=f"seed {seed}, {device}",
            truth_source="",
            box_rule="",
            without_box=0,
            refused=(),
        )
        return module.DemoResult(report, 30.0, folder / "sheet.png", folder / "index.html", folder / "run", ())

    monkeypatch.setattr(module, "run_demo", stand_in)
    command = ("demo", "--out", tmp_path, "--seed", 7, "--device", "cpu")
    shown, parsed = boxless(*command), boxless(*command, "--json")
    assert "1 (seed 7, cpu)" in shown.out
    assert re.search(r"GT-known\) +100\.0\n", shown.out)
    assert (tmp_path / "index.html").as_uri() in shown.out
    assert parsed.json["evaluation"]["protocols"][0]["figures"]["box_accuracy"]["value"] == 100
    assert parsed.json["images_per_second"] == 30
    assert parsed.json["page"] == str(tmp_path / "index.html")
