from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from boxless.data.catalog import read_catalog
from boxless.data.sample import VERSION
from boxless.errors import BoxlessError, ConfigError, DataError, RunError, UnknownNameError

Tree = Any


def many(*classes: str, count: int = 12) -> list[str]:
    return [f"{name}/{index}.png" for name in classes for index in range(count)]


def test_folders_are_classes_in_sorted_order(tree: Tree) -> None:
    catalog = read_catalog(tree(*many("dog", "cat", "Zebra")))
    assert catalog.classes == ("Zebra", "cat", "dog")
    assert (catalog.format, catalog.reason) == ("folder", "it is a folder with one folder per class")
    assert (catalog.problems, catalog.multi_label, len(catalog.items)) == ((), False, 36)
    for item in catalog.items:
        assert item.path == catalog.root / item.name
        assert catalog.classes[item.labels[0]] == item.name.split("/")[0]


def test_split_folders_are_recognised_by_their_usual_names(tree: Tree) -> None:
    root = tree("train/a/1.png", "train/b/1.png", "valid/a/2.png", "test/b/3.png")
    catalog = read_catalog(root)
    assert catalog.reason == "it is a folder with test, train and valid in it, and one folder per class in each"
    names = {split: [item.name for item in items] for split, items in catalog.splits.items()}
    assert names == {"train": ["train/a/1.png", "train/b/1.png"], "val": ["valid/a/2.png"], "test": ["test/b/3.png"]}


def test_class_may_be_called_train(tree: Tree) -> None:
    assert read_catalog(tree("train/1.png", "bus/1.png", "test/2.png")).classes == ("bus", "test", "train")
    assert read_catalog(tree("train/x/1.png", "bus/1.png", folder="nested")).classes == ("bus", "train")


def test_deeper_folders_belong_to_the_class_above(tree: Tree) -> None:
    catalog = read_catalog(tree("cat/2020/may/1.png", "cat/2.png", "dog/x/1.png"))
    assert catalog.classes == ("cat", "dog")
    assert "cat/2020/may/1.png" in {item.name for item in catalog.items}


def test_unicode_and_odd_names(tree: Tree) -> None:
    root = tree("ça va/1, 2.png", "图/é a.png")
    assert read_catalog(root).classes == ("ça va", "图")
    decomposed, composed = unicodedata.normalize("NFD", "é"), unicodedata.normalize("NFC", "é")
    root = tree(f"train/{decomposed}/1.png", "train/b/1.png", f"val/{composed}/2.png", folder="two")
    assert read_catalog(root).classes == ("b", composed)


def test_hidden_and_foreign_files_are_left_out_and_loose_images_reported(tree: Tree) -> None:
    root = tree("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", ".cache/x.png", "loose.png")
    (root / "cat" / ".DS_Store").touch()
    (root / "cat" / "notes.txt").touch()
    (root / "README.md").touch()
    (root / "bird").mkdir()
    catalog = read_catalog(root)
    assert len(catalog.items) == 4
    assert catalog.problems[:3] == (
        "left out, lying in no class folder: loose.png",
        "left out, being no images by their names: cat/notes.txt",
        "classes without an image are left out: 'bird'",
    )


def test_folders_beside_splits_are_reported(tree: Tree) -> None:
    root = tree("train/a/1.png", "train/b/1.png", "test/a/2.png", "unsorted/9.png", "masks/test/a/2.png")
    assert "left out, being no splits: the folders unsorted" in read_catalog(root).problems


def test_class_with_one_image_is_reported_and_trained_on(tree: Tree) -> None:
    catalog = read_catalog(tree(*many("a", "b"), "c/only.png"))
    assert "classes with one image only can hardly be learned: 'c'" in catalog.problems
    assert "c/only.png" in {item.name for item in catalog.splits["train"]}


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_catalog(root)
    return str(caught.value)


def test_what_cannot_be_used_is_refused_with_the_mend(tree: Tree, tmp_path: Path) -> None:
    assert "no images were found, no files; expected one folder per class" in refused(tree())
    assert "no class folders, but 2 images" in refused(tree("1.png", "2.png", folder="flat"))
    assert "every image (2) is of one class, 'a'" in refused(tree("a/1.png", "a/2.png", folder="one"))
    nested = refused(tree("images/cat/1.png", "images/dog/1.png", folder="inner"))
    assert f"if these are the classes, give {tmp_path / 'inner' / 'images'}" in nested
    (tmp_path / "text" / "a").mkdir(parents=True)
    (tmp_path / "text" / "a" / "x.txt").touch()
    assert "only files that are not images (a/x.txt)" in refused(tmp_path / "text")
    assert "there is no such file or folder" in refused(tmp_path / "nowhere")
    double = tree("val/a/1.png", "valid/b/1.png", "train/a/2.png", folder="double")
    assert "do not name different splits" in refused(double)


def test_class_unseen_in_train_is_refused_with_its_files(tree: Tree) -> None:
    message = refused(tree("train/a/1.png", "train/b/1.png", "val/c/1.png", "val/c/2.png"))
    assert "class 'c' is in val but not in train (val/c/1.png, val/c/2.png)" in message
    assert "add images of it to train" in message


def test_data_to_evaluate_on_need_no_train_split(tree: Tree) -> None:
    catalog = read_catalog(tree("test/a/1.png", "test/b/1.png"))
    assert [len(catalog.splits[split]) for split in ("train", "val", "test")] == [0, 0, 2]
    assert "there is no train split: these data can be evaluated on, not trained on" in catalog.problems


def test_numbered_classes_are_sorted_as_numbers(tree: Tree) -> None:
    assert read_catalog(tree("10/a.png", "9/a.png", "0/a.png")).classes == ("0", "9", "10")


def test_format_can_be_given_and_a_wrong_one_is_refused(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    assert read_catalog(root, format="folder").reason == "this format was asked for"
    with pytest.raises(UnknownNameError, match="unknown source 'fodler'; did you mean 'folder'"):
        read_catalog(root, format="fodler")
    with pytest.raises(ConfigError, match="has its images inside"):
        read_catalog(root, images=root)
    for wrong in ("coco", "wsol", "imagefolder", "csv"):
        with pytest.raises(BoxlessError, match=str(root)):
            read_catalog(root, format=wrong)


def test_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("hello")
    assert "is of no kind that boxless reads" in refused(tmp_path / "a.xyz")


def test_sample_is_rendered_into_the_cache(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tree("train/a/1.png", "train/b/1.png", "test/a/2.png")

    def write_sample(folder: Path, **options: object) -> Path:
        return Path(shutil.copytree(made, folder))

    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("boxless.data.sample.write_sample", write_sample, raising=False)
    catalog = read_catalog("sample")
    assert catalog.root == tmp_path / "cache" / f"sample-v{VERSION}"
    assert (catalog.format, len(catalog.items)) == ("folder", 3)
    assert "bundled sample" in catalog.reason


def test_cache_that_cannot_be_written_to_says_how_to_move_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_sample(folder: Path, **options: object) -> Path:
        raise RunError(f"{folder}: cannot be written (Read-only file system).")

    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("boxless.data.sample.write_sample", write_sample, raising=False)
    with pytest.raises(DataError, match=r"cannot be written.*BOXLESS_CACHE moves"):
        read_catalog("sample")
