from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boxless.data.catalog import read_catalog, read_truth
from boxless.errors import DataError

Tree = Any


def document(*names: str, **changes: Any) -> dict[str, Any]:
    """Image n (from 1) shows category 1 + n % 2, at [0.5, 0, 2, 3] of its 4 x 3 pixels."""
    content: dict[str, Any] = {
        "images": [{"id": n, "file_name": name, "width": 4, "height": 3} for n, name in enumerate(names, 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 7, "name": "unused"}],
        "annotations": [
            {"id": 10 + n, "image_id": n, "category_id": 1 + n % 2, "bbox": [0.5, 0, 2, 3]}
            for n in range(1, len(names) + 1)
        ],
    }
    return {**content, **changes}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_categories_become_labels_and_boxes_become_truth(tree: Tree) -> None:
    root = tree("x/1.png", "ü 2.png", "3.png", "empty.png")
    content = document("x/1.png", "ü 2.png", "3.png", "empty.png")
    content["annotations"][3].update(image_id=1, category_id=1)  # the first image shows both, the last one nothing
    catalog = read_catalog(write(root / "labels.json", content))
    assert (catalog.format, catalog.reason, catalog.root) == ("coco", "it is a COCO JSON file", root)
    assert catalog.classes == ("cat", "dog")
    assert {item.name: item.labels for item in catalog.items} == {"x/1.png": (0, 1), "ü 2.png": (0,), "3.png": (1,)}
    assert catalog.multi_label
    assert "images without an annotation are left out: empty.png" in catalog.problems
    assert "classes without an image are left out: 'unused'" in catalog.problems
    split = next(name for name, items in catalog.splits.items() if any(item.name == "x/1.png" for item in items))
    assert read_truth(catalog, split).boxes["x/1.png"].tolist() == [[0.5, 0, 2.5, 3], [0.5, 0, 2.5, 3]]


def test_images_are_found_in_a_folder_beside(tree: Tree) -> None:
    root = tree("images/1.png", "images/2.png")
    catalog = read_catalog(write(root / "a.json", document("1.png", "2.png")))
    assert catalog.root == root / "images"
    assert sorted(item.name for item in catalog.items) == ["1.png", "2.png"]
    assert read_truth(catalog, "train").boxes["1.png"].shape == (1, 4)


def test_images_are_found_where_the_caller_says(tree: Tree, tmp_path: Path) -> None:
    root = tree("deep/1.png", "deep/2.png")
    path = write(tmp_path / "elsewhere" / "a.json", document("1.png", "2.png"))
    with pytest.raises(DataError, match=r"a\.json: its image 1\.png is in none of .*say where the images are"):
        read_catalog(path)
    catalog = read_catalog(path, images=root / "deep")
    assert catalog.root == root / "deep"
    assert read_truth(catalog, "train").boxes.keys() == {"1.png", "2.png"}


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        (("train.json", "val.json"), ("images/", "images/")),
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train2017/", "val2017/")),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train/", "valid/")),
    ],
)
def test_folder_with_a_file_for_each_split(tree: Tree, layout: tuple[str, str], folders: tuple[str, str]) -> None:
    root = tree(f"{folders[0]}1.png", f"{folders[0]}2.png", f"{folders[1]}3.png", f"{folders[1]}4.png")
    write(root / layout[0], document("1.png", "2.png"))
    write(root / layout[1], document("3.png", "4.png"))
    catalog = read_catalog(root)
    assert catalog.format == "coco"
    assert layout[0] in catalog.reason
    assert [item.name for item in catalog.splits["val"]] == [f"{folders[1]}3.png", f"{folders[1]}4.png"]
    assert read_truth(catalog, "val").boxes.keys() == {f"{folders[1]}3.png", f"{folders[1]}4.png"}


def test_crowd_regions_label_but_are_no_boxes(tree: Tree) -> None:
    root = tree("1.png", "2.png")
    content = document("1.png", "2.png")
    content["annotations"][0]["iscrowd"] = 1
    catalog = read_catalog(write(root / "a.json", content))
    assert catalog.classes == ("cat", "dog")
    assert read_truth(catalog, "train").boxes.keys() == {"2.png"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 9, "category_id": 1}]}, r"annotation number 0: image_id 9 is no image of this"),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": 4}]}, r"annotation 5: category_id 4 is no category"),
        (
            {"annotations": [{"id": 5, "image_id": 1}]},
            r"entry 0 of 'annotations' has no usable 'category_id', got None",
        ),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": {}}]}, r"has no usable 'category_id', got \{\}"),
        ({"categories": ["cat"]}, r"entry 0 of 'categories' has no usable 'id'"),
        ({"images": [{"id": 1}]}, r"entry 0 of 'images' has no usable 'file_name'"),
        ({"categories": None}, r"the list 'categories' is missing, found 'images', 'categories', 'annotations'"),
        ({"annotations": []}, r"no labelled images were found"),
    ],
)
def test_wrong_content_is_refused_by_name(tree: Tree, changes: dict[str, Any], message: str) -> None:
    root = tree("1.png", "2.png")
    with pytest.raises(DataError, match=rf"a\.json: .*{message}"):
        read_catalog(write(root / "a.json", document("1.png", "2.png", **changes)))


def test_list_of_results_is_refused(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"found no object.*a list of results alone"):
        read_catalog(write(tree() / "a.json", [{"image_id": 1, "score": 0.5}]))


def test_broken_json_names_the_line(tree: Tree) -> None:
    path = tree() / "a.json"
    path.write_text('{"images": [],\n "annotations": [}\n')
    with pytest.raises(DataError, match=r"a\.json:2: not valid JSON"):
        read_catalog(path)


def test_missing_image_is_refused(tree: Tree) -> None:
    root = tree("1.png", "2.png")
    with pytest.raises(DataError, match=r"there is no image .*gone\.png"):
        read_catalog(write(root / "a.json", document("1.png", "2.png", "gone.png")))


@pytest.mark.parametrize("bbox", [[0, 0, 0, 2], [0, 0, 9, 2], [0, 0, "a", 2], [0, 0, 1], [-3, 0, 3, 2]])
def test_wrong_box_names_file_and_annotation(tree: Tree, bbox: list[Any]) -> None:
    root = tree("1.png", "2.png")
    content = document("1.png", "2.png")
    content["annotations"][1]["bbox"] = bbox
    catalog = read_catalog(write(root / "a.json", content))
    with pytest.raises(DataError, match=r"a\.json: annotation 12: "):
        read_truth(catalog, "train")
