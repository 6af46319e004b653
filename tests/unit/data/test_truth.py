from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxless.data.catalog import Catalog, read_catalog, read_truth
from boxless.errors import DataError, UnknownNameError
from boxless.types import Item

Tree = Any


@pytest.fixture
def root(tree: Tree) -> Path:
    return Path(tree("train/a/1.png", "train/b/1.png", "val/a/2, x.png", "test/b/ü.png", "test/b/9.png"))


def boxes(root: Path, text: str, split: str = "test") -> dict[str, list[list[float]]]:
    (root / "boxes.csv").write_text(text, encoding="utf-8")
    return {name: found.tolist() for name, found in read_truth(read_catalog(root), split).boxes.items()}


def test_boxes_of_a_folder_lie_in_a_table_at_its_root(root: Path) -> None:
    text = 'path,x0,y0,x1,y1\ntest/b/ü.png,0,0,4,3\ntest/b/ü.png,1,1.5,2,2\n"val/a/2, x.png",0,0,1,1\n'
    assert boxes(root, text) == {"test/b/ü.png": [[0, 0, 4, 3], [1, 1.5, 2, 2]]}
    assert boxes(root, text, "val") == {"val/a/2, x.png": [[0, 0, 1, 1]]}
    truth = read_truth(read_catalog(root), "test")
    assert truth.source == str(root / "boxes.csv")
    assert truth.boxes["test/b/ü.png"].dtype == np.float64


def test_boxes_change_nothing_that_is_learned_from(root: Path) -> None:
    before = read_catalog(root)
    boxes(root, "path,x0,y0,x1,y1\ntest/b/ü.png,0,0,4,3\n")
    assert read_catalog(root) == before
    names = {field.name for record in (Catalog, Item) for field in fields(record)}
    assert not [name for name in names if "box" in name or "mask" in name]


def test_box_columns_of_a_table(tree: Tree) -> None:
    root = tree("1.png", "2.png", "3.png")
    (root / "l.csv").write_text(
        "path,label,split,x0,y0,x1,y1\n1.png,a,train,,,,\n2.png,b,train,0,0,1,1\n3.png,a,test,0,0,2,2\n3.png,a,test,1,1,3,3\n"
    )
    catalog = read_catalog(root / "l.csv")
    assert (len(catalog.items), catalog.multi_label) == (3, False)
    assert read_truth(catalog, "test").boxes["3.png"].tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]
    assert read_truth(catalog, "train").boxes.keys() == {"2.png"}


def test_boxes_beside_a_table(tree: Tree) -> None:
    root = tree("1.png", "2.png")
    (root / "l.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    (root / "boxes.csv").write_text("path,x0,y0,x1,y1\n./1.png,0,0,1,1\n")
    assert read_truth(read_catalog(root / "l.csv"), "train").boxes["1.png"].tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("test/b/9.png,2,0,1,3", r"boxes\.csv:2: the box 2,0,1,3 is inverted or empty; expected x0 < x1 and y0 < y1"),
        ("test/b/9.png,1,1,1,3", r"boxes\.csv:2: the box 1,1,1,3 is inverted or empty"),
        ("test/b/9.png,1,1,one,3", r"boxes\.csv:2: a box must be four numbers x0,y0,x1,y1, got '1,1,one,3'"),
        ("test/b/9.png,1,1,nan,3", r"boxes\.csv:2: a box must be four numbers"),
        ("test/b/9.png,1,1,inf,3", r"boxes\.csv:2: a box must be four numbers"),
        ("test/b/9.png,-2,0,1,3", r"boxes\.csv:2: the box -2,0,1,3 lies outside the image"),
        ("test/b/9.png,0,0,1", r"boxes\.csv:2: 4 fields where the header has 5"),
        ("9.png,0,0,1,1", r"boxes\.csv:2: a box for '9\.png', which is no image of these data; .*relative to"),
    ],
)
def test_wrong_box_names_file_and_line(root: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        boxes(root, f"path,x0,y0,x1,y1\n{line}\n")


def test_border_may_be_overlapped_by_one_pixel(root: Path) -> None:
    assert boxes(root, "path,x0,y0,x1,y1\ntest/b/9.png,-1,-1,5,4\n") == {"test/b/9.png": [[-1, -1, 5, 4]]}


def test_data_without_boxes_say_how_to_add_them(root: Path) -> None:
    with pytest.raises(DataError, match=r"these data have no boxes.*boxes\.csv with the header path,x0,y0,x1,y1"):
        read_truth(read_catalog(root), "test")
    with pytest.raises(DataError, match=r"none of the 2 images of the split 'train' has a box"):
        boxes(root, "path,x0,y0,x1,y1\ntest/b/9.png,0,0,1,1\n", "train")
    with pytest.raises(UnknownNameError, match="unknown split 'tset'; did you mean 'test'"):
        read_truth(read_catalog(root), "tset")
