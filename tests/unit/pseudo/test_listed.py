"""Boxes of another program: read with their scores, carried to the image as it is given, and one chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from boxless.errors import ConfigError, DataError
from boxless.methods.head import GridClassifier
from boxless.pseudo.annotators import Annotator, Material, make_annotator
from boxless.pseudo.teacher import Teacher
from boxless.types import Item

LABELS = torch.tensor([0, 0, 0])


class Plain(nn.Module):
    mean = std = (0.5, 0.5, 0.5)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Three pictures of 40 x 20 pixels."""
    (tmp_path / "a").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 20)).save(tmp_path / "a" / f"{number}.png")
    return [Item(tmp_path / "a" / f"{number}.png", f"a/{number}.png", (0,)) for number in range(3)]


def material() -> Material:
    """The class goes by what is bright in the first channel, which a blur leaves nothing of."""
    network = GridClassifier(lambda given: (given[:, :, ::4, ::4] - 0.5).relu(), (), nn.Linear(3, 2))
    with torch.no_grad():
        network.fc.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
        network.fc.bias.zero_()
    return Material(Plain(), Teacher(network, lambda given: given), 2)  # type: ignore[arg-type]


def images() -> Tensor:
    """The class is in the upper left cell."""
    pixels = torch.zeros(3, 3, 32, 32)
    pixels[:, 0, 0:4, 0:4] = 1.0
    return pixels


def chosen(annotator: Annotator, items: list[Item]) -> list[Any]:
    annotator.made_from(material())
    annotator.admit(items)
    found = annotator(images(), LABELS, material(), items)
    return [box.tolist() if valid else None for (box,), (valid,) in zip(found.boxes, found.valid, strict=True)]


BOXES = [  # corners in original pixels, score
    ("a/0.png", (0, 0, 20, 10), 0.9),  # in the image as given: 0, 0, 16, 16
    ("a/0.png", (20, 10, 40, 20), 0.95),  # not at the peak
    ("a/0.png", (0, 0, 40, 20), 0.1),
    ("a/2.png", (10, 5, 30, 15), 0.5),
]
EXPECTED = [[0, 0, 16, 16], None, [8, 8, 24, 24]]


def as_csv(folder: Path) -> dict[str, str]:
    lines = [",".join(map(str, (name, *corners, score))) for name, corners, score in BOXES]
    (folder / "boxes.csv").write_text("\n".join(["path,x0,y0,x1,y1,score", *lines, "a/1.png,,,,,"]) + "\n")
    return {"path": str(folder / "boxes.csv")}


def as_coco(folder: Path) -> dict[str, str]:
    shown = [{"id": number, "file_name": f"a/{number}.png"} for number in range(3)]
    found = [
        {"id": i, "image_id": int(name[2]), "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for i, (name, (x0, y0, x1, y1), score) in enumerate(BOXES)
    ]
    document = {"images": shown, "annotations": found, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "boxes.json").write_text(json.dumps(document))
    return {"path": str(folder / "boxes.json")}


def as_results(folder: Path) -> dict[str, str]:
    ids = as_coco(folder)["path"]
    found = json.loads(Path(ids).read_text())["annotations"]
    (folder / "results.json").write_text(json.dumps(found))
    return {"path": str(folder / "results.json"), "ids": ids}


def as_named_results(folder: Path) -> dict[str, str]:
    found = [
        {"image_id": name, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for name, (x0, y0, x1, y1), score in BOXES
    ]
    (folder / "results.json").write_text(json.dumps(found))
    return {"path": str(folder / "results.json")}


@pytest.mark.parametrize("write", [as_csv, as_coco, as_results, as_named_results])
def test_scores_the_peak_and_the_classifier_choose_one(write: Any, items: list[Item], tmp_path: Path) -> None:
    annotator = make_annotator("file", {**write(tmp_path), "share": 0.6})
    assert chosen(annotator, items) == EXPECTED
    said = annotator.selections(images(), LABELS, material(), items)
    assert said is not None
    assert said[0].objectness is not None
    assert said[0].objectness.tolist() == [0.9, 0.95, 0.1]
    assert [each.chosen for each in said] == [0, -1, 0]


def test_boxes_without_scores_are_chosen_by_the_classifier(items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("path,x0,y0,x1,y1\na/0.png,0,0,20,10\na/0.png,20,10,40,20\n")
    annotator = make_annotator("file", {"path": str(tmp_path / "boxes.csv")})
    assert chosen(annotator, items) == [[0, 0, 16, 16], None, None]
    said = annotator.selections(images(), LABELS, material(), items)
    assert said is not None
    assert said[0].objectness is None


def test_boxes_of_wsolevaluation_are_read(items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "localization.txt").write_text("a/0.png,0,0,20,10\na/1.png,0,0,0,0\n")
    annotator = make_annotator("file", {"path": str(tmp_path / "val" / "localization.txt")})
    assert chosen(annotator, items) == [[0, 0, 16, 16], None, None]


def test_boxes_of_other_images_are_refused(items: list[Item], tmp_path: Path) -> None:
    annotator = make_annotator("file", as_csv(tmp_path))
    with pytest.raises(DataError, match=r"boxes of 1 images that are not in the data \(a/2\.png\)"):
        annotator.admit(items[:2])
    with pytest.raises(ConfigError, match="got 0 names for 3 images"):
        annotator(images(), LABELS, material())


def test_other_boxes_are_another_job(items: list[Item], tmp_path: Path) -> None:
    settings = as_csv(tmp_path)
    first = make_annotator("file", settings).made_from(material())
    assert make_annotator("file", as_coco(tmp_path)).made_from(material()) == first  # the same boxes
    (tmp_path / "boxes.csv").write_text("path,x0,y0,x1,y1\na/0.png,0,0,20,10\n")
    assert make_annotator("file", settings).made_from(material()) != first


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def refuse(text: str, message: str, name: str = "boxes.csv") -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            make_annotator("file", {"path": str(tmp_path / name)}).made_from(material())

    refuse("path,x0,y0,x1,y1\na/0.png,,,,\n", "no box of any image")
    refuse("path,x0,y0,x1,y1,score\na/0.png,0,0,2,2,high\n", "csv:2: the score 'high' is no number")
    refuse("path,x0,y0,x1,y1,score\na/0.png,0,0,2,two,1\n", "csv:2")
    refuse('[{"image_id": 7, "bbox": [0, 0, 1, 1]}]', r"image_id 7 is a number.*pseudo\.ids=FILE", "boxes.json")
    refuse('[{"image_id": "a"}]', "expected an object with image_id and bbox", "boxes.json")
    with pytest.raises(ConfigError, match="path must be given"):
        make_annotator("file", {})
