from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boxless.data.catalog import Catalog, read_catalog
from boxless.errors import DataError

Tree = Any


@pytest.fixture
def root(tree: Tree) -> Path:
    return tree("a/1.png", "a/2.png", "b/1.png", "with, comma/ü é.png")


def read(root: Path, text: str, encoding: str = "utf-8", **options: Any) -> Catalog:
    (root / "labels.csv").write_bytes(text.encode(encoding))
    return read_catalog(root / "labels.csv", **options)


def labels(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    return {item.name: tuple(catalog.classes[label] for label in item.labels) for item in catalog.items}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_paths_and_labels_are_read(root: Path, encoding: str, newline: str) -> None:
    text = newline.join(["path,label", "a/1.png,cat", '"with, comma/ü é.png",dog', "", " b/1.png , dog ", ""])
    catalog = read(root, text, encoding)
    assert (catalog.format, catalog.reason, catalog.root) == ("csv", "it is a CSV file", root)
    assert labels(catalog) == {"a/1.png": ("cat",), "with, comma/ü é.png": ("dog",), "b/1.png": ("dog",)}


def test_several_labels_are_divided_by_semicolons(root: Path) -> None:
    catalog = read(root, "path,label\na/1.png,cat; dog\nb/1.png,dog\n")
    assert catalog.multi_label
    assert labels(catalog)["a/1.png"] == ("cat", "dog")


def test_split_column_is_used(root: Path) -> None:
    catalog = read(root, "label,split,path\nx,train,a/1.png\ny,Training,b/1.png\nx,valid,a/2.png\n")
    assert [item.name for item in catalog.splits["val"]] == ["a/2.png"]


def test_images_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\na/1.png,x\nb/1.png,y\n")
    catalog = read_catalog(tmp_path / "l.csv", images=root)
    assert catalog.root == root
    assert sorted(labels(catalog)) == ["a/1.png", "b/1.png"]


def test_absolute_and_climbing_paths_get_names_without_dots(root: Path, tmp_path: Path, tree: Tree) -> None:
    outside = tree("o.png", folder="outside") / "o.png"
    catalog = read(root, f"path,label\n{root}/a/1.png,x\n{outside},y\n./b/../a/2.png,y\n")
    assert sorted(labels(catalog)) == sorted(["a/1.png", "a/2.png", outside.as_posix().lstrip("/")])


def test_image_in_several_lines_has_the_labels_of_all(root: Path) -> None:
    catalog = read(root, "path,label\na/1.png,x\na/1.png,y\nb/1.png,y\n")
    assert labels(catalog)["a/1.png"] == ("x", "y")
    assert catalog.problems[0] == "images in more than one line, whose labels are joined: a/1.png"


def test_image_in_two_splits_is_reported(root: Path) -> None:
    catalog = read(root, "path,label,split\na/1.png,x,train\nb/1.png,y,train\na/1.png,x,test\n")
    assert "images in more than one split make results look better than they are: a/1.png" in catalog.problems


def test_unknown_columns_are_reported(root: Path) -> None:
    catalog = read(root, "path,label,photographer\na/1.png,x,me\nb/1.png,y,me\n")
    assert "columns that boxless does not know are left out: 'photographer'" in catalog.problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na/1.png,x\n", r"labels\.csv:1: column 'path' is missing, found 'file', 'label'; .*path,label"),
        ("path;label\na/1.png;x\n", r"labels\.csv:1: column 'path' is missing, found 'path;label'"),
        ("", r"labels\.csv:1: column 'path' is missing, the file is empty"),
        ("path,label,label\n", r"labels\.csv:1: column 'label' is named twice"),
        ("path,label\na/1.png,x\nc/9.png,y\n", r"labels\.csv:3: there is no image .*c/9\.png; mend the path or remove"),
        ("path,label\nq,x\nr,x\n", r"labels\.csv:2: .* 1 more are missing: .*labels\.csv:3"),
        ("path,label\n\na/1.png,x,\n", r"labels\.csv:3: 3 fields where the header has 2 \(path,label\); .*quotes"),
        ("path,label\na/1.png\n", r"labels\.csv:2: 1 fields where the header has 2"),
        ("path,label\na/1.png,\n", r"labels\.csv:2: the label '' is empty"),
        ("path,label\na/1.png,x;;y\n", r"labels\.csv:2: the label 'x;;y' is empty or has an empty part"),
        ("path,label\n,x\n", r"labels\.csv:2: the path is empty"),
        (
            "path,label,split\na/1.png,x,tain\n",
            r"labels\.csv:2: the split 'tain' is not known; known: train, val, test",
        ),
        ("path,label,split\na/1.png,x,\n", r"labels\.csv:2: the split '' is not known"),
        ('path,label\n"a/1.png,x\nb/1.png,y\n', r"labels\.csv:2: not valid CSV \(unexpected end of data\)"),
        ("path,label\n", r"labels\.csv: no labelled images were found"),
        ("path,label\na/1.png,x\na/2.png,x\n", r"labels\.csv: every image \(2\) is of one class, 'x'"),
    ],
)
def test_errors_name_file_and_line_and_the_mend(root: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(root, text)


def test_file_that_is_not_utf8_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: this is not a UTF-8 text file"):
        read(root, "path,label\nü.png,x\n", "latin-1")


def test_folder_of_images_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder of images"):
        read(root, "path,label\n", images=root / "no")
