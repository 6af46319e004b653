from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boxless.data.catalog import read_catalog, read_truth
from boxless.errors import DataError

Tree = Any


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n", encoding="utf-8")


def test_records_become_items(tree: Tree) -> None:
    root = tree("1.png", "sub/ü 2.png")
    lines(
        root / "metadata.jsonl",
        {"file_name": "1.png", "label": "cat"},
        {"file_name": "sub/ü 2.png", "label": ["cat", "dog"]},
    )
    catalog = read_catalog(root)
    assert (catalog.format, catalog.reason) == (
        "imagefolder",
        "it is a Hugging Face image folder, by its metadata.jsonl",
    )
    assert {item.name: item.labels for item in catalog.items} == {"1.png": (0,), "sub/ü 2.png": (0, 1)}
    assert read_catalog(root / "metadata.jsonl").classes == catalog.classes


def test_split_folders_have_a_list_each(tree: Tree) -> None:
    root = tree("train/1.png", "train/2.png", "validation/1.png")
    lines(root / "train" / "metadata.jsonl", {"file_name": "1.png", "label": 0}, {"file_name": "2.png", "label": 1})
    lines(
        root / "validation" / "metadata.jsonl",
        {"file_name": "1.png", "label": 1, "objects": {"bbox": [[1, 0, 2, 3]], "categories": [1]}},
    )
    catalog = read_catalog(root)
    assert [item.name for item in catalog.splits["val"]] == ["validation/1.png"]
    truth = read_truth(catalog, "val")
    assert {name: boxes.tolist() for name, boxes in truth.boxes.items()} == {"validation/1.png": [[1, 0, 3, 3]]}


def test_one_list_may_name_split_folders(tree: Tree) -> None:
    root = tree("train/1.png", "train/2.png", "test/3.png")
    (root / "metadata.csv").write_text("file_name,label\ntrain/1.png,a\ntrain/2.png,b\ntest/3.png,a\n")
    catalog = read_catalog(root)
    assert catalog.reason.endswith("metadata.csv")
    assert [item.name for item in catalog.splits["test"]] == ["test/3.png"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"file_name": "1.png"}', r"metadata\.jsonl:2: the label is None \(the record has 'file_name'\)"),
        ('{"file_name": "1.png", "label": ""}', r"metadata\.jsonl:2: the label is ''"),
        ('{"file_name": "1.png", "label": []}', r"metadata\.jsonl:2: the label is \[\]"),
        ('{"file_name": "1.png", "label": {"x": 1}}', r"metadata\.jsonl:2: the label is \{"),
        ('{"label": "a"}', r"metadata\.jsonl:2: the record has no 'file_name'"),
        ("[1]", r"metadata\.jsonl:2: the record has no 'file_name'"),
        ('{"file_name": "1.png", "label": "a"', r"metadata\.jsonl:2: not valid JSON"),
        ('{"file_name": "no.png", "label": "a"}', r"metadata\.jsonl:2: there is no image .*no\.png"),
        ('{"file_name": "2.png", "label": "a"}', r"metadata\.jsonl:2: 2\.png is listed twice"),
    ],
)
def test_errors_name_file_and_line(tree: Tree, record: str, message: str) -> None:
    root = tree("1.png", "2.png")
    (root / "metadata.jsonl").write_text('{"file_name": "2.png", "label": "b"}\n' + record + "\n")
    with pytest.raises(DataError, match=message):
        read_catalog(root)


def test_wrong_box_names_file_and_line(tree: Tree) -> None:
    root = tree("1.png", "2.png")
    lines(
        root / "metadata.jsonl",
        {"file_name": "1.png", "label": "a", "objects": {"bbox": [[0, 0, -1, 3]]}},
        {"file_name": "2.png", "label": "b"},
    )
    with pytest.raises(DataError, match=r"metadata\.jsonl:1: the box 0,0,-1,3 is inverted or empty"):
        read_truth(read_catalog(root), "train")
