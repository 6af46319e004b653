"""boxless annotate, as a user gives it: boxes for images sorted by class, with a run that knows the classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from .conftest import Boxless

SPECTRAL = ("--source", "spectral", "--set", "pseudo.threshold=0.97")  # for a network that learnt next to nothing


def test_annotations_pictures_and_what_is_said(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    command = ("annotate", shapes, "--classifier", run, "--out", tmp_path, "--split", "val", "--overlays", *SPECTRAL)
    done = boxless(*command)
    assert done.code == 0, done.err
    assert " boxes on 6 images" in done.out
    assert str(tmp_path / "overlays") in done.out
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {f"val/{each}/{n}.png" for each in ("red", "green", "blue") for n in (0, 1)}
    assert all(row["label"] == row["name"].split("/")[1] for row in rows)
    coco = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    assert len(coco["annotations"]) == sum(bool(row["box_label"]) for row in rows) > 6
    assert len(list((tmp_path / "overlays").rglob("*.jpg"))) == 6
    again = boxless(*command, "--json").json
    assert (again["before"], again["images"], again["maps"]) == (6, 6, "spectral")
    assert again["boxes"] == len(coco["annotations"])
    one = boxless(*command, "--top-k", 1, "--format", "csv", "--json").json
    assert one["before"] == 0
    assert one["boxes"] <= 6


def test_an_image_that_cannot_be_read_makes_the_exit_code_1(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
) -> None:
    for name in ("red", "blue"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").write_bytes((shapes / "test" / name / "0.png").read_bytes())
    (tmp_path / "data" / "red" / "broken.png").write_bytes(b"no image")
    command = (
        "annotate",
        tmp_path / "data",
        "--classifier",
        run,
        "--out",
        tmp_path / "out",
        "--split",
        "all",
        *SPECTRAL,
    )
    for _ in range(2):
        done = boxless(*command, "--json")
        assert done.code == 1
        assert [each["name"] for each in done.json["refused"]] == ["red/broken.png"]
        assert done.json["images"] == 2
    assert "1 image was refused; everything else is done:" in boxless(*command).err


def test_wrong_use_is_one_line_and_code_2(boxless: Boxless, run: Path, shapes: Path, tmp_path: Path) -> None:
    command = ("annotate", shapes, "--out", tmp_path / "out", "--classifier")
    for arguments, said in (
        ((run, "--source", "attention"), "gives no attention of a class token"),
        ((run, "--annotator", "dip"), "did you mean 'dips'"),
        ((run, "--set", "training.epochs=1"), "expected pseudo.SETTING=VALUE"),
        ((run, "--split", "vall"), "has no images in it"),
        ((run, "--format", "coc"), "unknown format"),
        (("resnet18",), "was trained on 1000 classes, and the data has 3"),
        ((tmp_path / "none",), "no folder of a finished run and no timm model"),
        ((run, "--names", "names.yaml"), "does not read them"),
        ((run, "--annotator", "clip", "--top-k", 1), "pseudo.top_k: there is no such setting"),
        (("open_clip:ViT-B-61/openai",), "did you mean 'ViT-B-16'"),
    ):
        done = boxless(*command, *arguments)
        assert done.code == 2, done.err
        assert done.err.splitlines()[-1].startswith("error: ")
        assert said in done.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_boxes_by_the_names_of_classes_alone(
    boxless: Boxless, tiny_clip: Callable[..., str], shapes: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("red: [red square, ruby]\ngreen: green square\nblue: blue square\n", encoding="utf-8")
    command = ("annotate", shapes, "--annotator", "clip", "--classifier", tiny_clip(), "--split", "val")
    done = boxless(*command, "--out", tmp_path / "out", "--names", names, "--templates", "photo", "--json")
    assert done.code == 0, done.err
    assert (done.json["annotator"], done.json["images"], done.json["maps"]) == ("clip", 6, "run")
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {f"val/{each}/{n}.png" for each in ("red", "green", "blue") for n in (0, 1)}
    boxes = [row for row in rows if row["box_label"]]
    assert len(boxes) == done.json["boxes"] > 0
    assert all(row["label"] == row["name"].split("/")[1] for row in rows)
    assert boxless(*command, "--out", tmp_path / "out", "--json").json["before"] == 0  # other names, other boxes
    names.write_text("red: ruby\n", encoding="utf-8")
    refused = boxless(*command, "--out", tmp_path / "out", "--names", names)
    assert (refused.code, "lacks 2 of 3 classes" in refused.err.splitlines()[-1]) == (2, True), refused.err


def test_pseudo_boxes_of_val_with_their_quality_beside_true_boxes(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
) -> None:
    command = ("annotate", shapes, "--annotator", "class_map", "--classifier", run, "--split", "val", "--quality")
    done = boxless(*command, "--out", tmp_path, "--format", "wsol")
    assert done.code == 0, done.err
    assert "ORACLE: boxes beside true ones" in done.out
    assert "one centred box for all images" in done.out
    found = boxless(*command, "--out", tmp_path, "--format", "csv,wsol", "--json").json
    assert found["quality"]["oracle"] is True
    assert found["quality"]["stages"] == json.loads((tmp_path / "quality.json").read_text())["stages"]
    assert found["guard"]["sign"] == "pseudo-boxes and one centred box"
    lines = (tmp_path / "wsol" / "localization.txt").read_text().splitlines()
    assert len(lines) == found["boxes"] == 6 - found["without_box"]


def test_quality_without_true_boxes_is_refused_before_anything_is_made(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for split in ("train", "val", "test"):
        (data / split).mkdir(parents=True)
        for name in ("red", "green", "blue"):
            (data / split / name).symlink_to(shapes / split / name)
    done = boxless("annotate", data, "--classifier", run, "--split", "val", "--quality", "--out", tmp_path / "out")
    assert (done.code, "these data have no boxes" in done.err.splitlines()[-1]) == (2, True), done.err
    assert not (tmp_path / "out").exists()
