from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boxless.data.catalog import read_catalog, read_truth
from boxless.data.sources.wsol import WsolSource
from boxless.errors import DataError

Tree = Any

SPLITS = {"train": ["c/1.png", "d/a, b.png"], "val": ["c/2.png"], "test": ["d/3.png", "d/ü 4.png"]}
CLASSES = {"c": 0, "d": 10}


@pytest.fixture
def images(tree: Tree) -> Path:
    return Path(tree(*(name for names in SPLITS.values() for name in names), folder="images"))


def write(folder: Path, names: list[str], localization: str | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("\n".join(names))  # the last line has no end, as in the published files
    (folder / "class_labels.txt").write_text("\n".join(f"{name},{CLASSES[name[0]]}" for name in names))
    (folder / "image_sizes.txt").write_text("\n".join(f"{name},4,3" for name in names))
    boxes = "\n".join(f"{name},0,1,3,2" for name in names) if localization is None else localization
    (folder / "localization.txt").write_text(boxes)


@pytest.fixture
def metadata(tmp_path: Path, images: Path) -> Path:
    for split, names in SPLITS.items():
        write(tmp_path / "CUB" / split, names)
    return tmp_path / "CUB"


def test_metadata_of_three_splits_are_read(metadata: Path, images: Path) -> None:
    catalog = read_catalog(metadata)
    assert (catalog.format, catalog.reason) == (
        "wsol",
        "it is a folder of wsolevaluation metadata, by test/image_ids.txt",
    )
    assert catalog.root == images  # found beside
    assert {split: [item.name for item in items] for split, items in catalog.splits.items()} == SPLITS
    assert catalog.classes == ("0", "10")
    assert [item.labels for item in catalog.splits["test"]] == [(1,), (1,)]


def test_boxes_keep_their_numbers_and_commas_in_paths_do_no_harm(metadata: Path) -> None:
    truth = read_truth(read_catalog(metadata), "train")
    assert {name: boxes.tolist() for name, boxes in truth.boxes.items()} == {
        "c/1.png": [[0, 1, 3, 2]],
        "d/a, b.png": [[0, 1, 3, 2]],
    }


def test_several_boxes_of_an_image_are_kept_and_one_pixel_is_a_box(metadata: Path) -> None:
    (metadata / "val" / "localization.txt").write_text("c/2.png,0,0,2,2\nc/2.png,3,1,3,1\n")
    assert read_truth(read_catalog(metadata), "val").boxes["c/2.png"].tolist() == [[0, 0, 2, 2], [3, 1, 3, 1]]


def test_older_names_of_splits_and_a_given_image_folder(tmp_path: Path, images: Path) -> None:
    for folder, split in (("train-weaksup", "train"), ("train-fullsup", "val"), ("test", "test")):
        write(tmp_path / "deep" / "down" / "here" / folder, SPLITS[split])
    path = tmp_path / "deep" / "down" / "here"
    with pytest.raises(DataError, match=r"the image d/3\.png is in none of .*say where"):
        read_catalog(path)
    catalog = read_catalog(path, images=images)
    assert [item.name for item in catalog.splits["val"]] == ["c/2.png"]


def test_mask_lines_are_kept_apart_from_boxes(metadata: Path) -> None:
    (metadata / "test" / "localization.txt").write_text(
        "d/3.png,m/1.png,m/ignore.png\nd/3.png,m/2.png,\nd/ü 4.png,m/3.png,\n"
    )
    catalog = read_catalog(metadata)
    with pytest.raises(DataError, match="none of the 2 images of the split 'test' has a box"):
        read_truth(catalog, "test")
    assert WsolSource().masks(catalog) == {
        "d/3.png": [("m/1.png", "m/ignore.png"), ("m/2.png", "")],
        "d/ü 4.png": [("m/3.png", "")],
    }


def test_sizes_may_be_missing(metadata: Path) -> None:
    (metadata / "train" / "image_sizes.txt").write_text("")  # as in OpenImages
    (metadata / "val" / "image_sizes.txt").unlink()
    assert len(read_truth(read_catalog(metadata), "val").boxes) == 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("class_labels.txt", "c/2.png\n", r"class_labels\.txt:1: 'c/2\.png' has too few commas; expected path,class"),
        ("class_labels.txt", "c/1.png,0\n", r"class_labels\.txt: no class for c/2\.png"),
        ("class_labels.txt", "c/2.png,\n", r"class_labels\.txt:1: the class is empty"),
        ("image_ids.txt", "c/2.png\nc/9.png\n", r"class_labels\.txt: no class for c/9\.png"),
    ],
)
def test_errors_in_labels_name_file_and_line(metadata: Path, file: str, text: str, message: str) -> None:
    (metadata / "val" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        read_catalog(metadata)


def test_missing_image_is_refused(metadata: Path, images: Path) -> None:
    (images / "c" / "2.png").unlink()
    with pytest.raises(DataError, match=r"image_ids\.txt, entry 1: there is no image .*c/2\.png"):
        read_catalog(metadata)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("localization.txt", "c/2.png,0,0,1\n", r"localization\.txt:1: 'c/2\.png,0,0,1' has too few commas"),
        ("localization.txt", "\nc/2.png,2,0,1,1\n", r"localization\.txt:2: the box 2,0,1,1 is inverted"),
        ("localization.txt", "c/2.png,0,0,6,1\n", r"localization\.txt:1: the box 0,0,6,1 lies outside.*4 x 3 pixels"),
        ("localization.txt", "c/2.png,0,0,1,x\n", r"localization\.txt:1: a box must be four numbers .*'0,0,1,x'"),
        ("image_sizes.txt", "c/2.png,4,three\n", r"image_sizes\.txt:1: the size 4,three is not two numbers"),
    ],
)
def test_errors_in_boxes_name_file_and_line(metadata: Path, file: str, text: str, message: str) -> None:
    (metadata / "val" / file).write_text(text)
    catalog = read_catalog(metadata)
    with pytest.raises(DataError, match=message):
        read_truth(catalog, "val")
