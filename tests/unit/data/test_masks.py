from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.masks import read_masks, resize_nearest
from boxless.errors import DataError, UnknownNameError

Tree = Any
SIZE = (4, 3)  # of the images that tree writes

LEFT = np.tile([1, 1, 0, 0], (3, 1))
TOP = np.repeat([[1], [0], [0]], 4, axis=1)


def save(path: Path, values: Any, mode: str = "L", factor: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.asarray(values) * factor).astype(np.uint8)).convert(mode).save(path)


@pytest.fixture
def folder(tree: Tree) -> Catalog:
    root = tree("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.x.jpg", "val/b/3.jpg", "test/a/4.jpg")
    save(root / "masks/val/a/2.png", LEFT)
    save(root / "masks/val/b/2.x.png", TOP)
    return read_catalog(root)


def test_masks_repeat_the_paths_of_the_images_and_some_images_have_none(folder: Catalog) -> None:
    masks = read_masks(folder, "val")
    assert masks is not None
    assert masks.names == ("val/a/2.jpg", "val/b/2.x.jpg")
    assert masks.source == str(folder.root / "masks")
    mask, ignore = masks.of("val/b/2.x.jpg", SIZE)
    assert (mask.dtype, mask.tolist(), ignore) == (np.bool_, TOP.astype(bool).tolist(), None)
    with pytest.raises(UnknownNameError, match=r"image with a mask 'val/b/3\.jpg'"):
        masks.of("val/b/3.jpg", SIZE)


def test_a_split_without_a_mask_has_none_and_the_masks_are_no_split(folder: Catalog) -> None:
    assert read_masks(folder, "test") is None
    assert [each for each in folder.problems if "masks" in each] == []
    assert folder.classes == ("a", "b")
    with pytest.raises(UnknownNameError, match="split 'dev'"):
        read_masks(folder, "dev")


def test_masks_may_lie_in_another_folder(folder: Catalog, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere/test/a/4.png", LEFT)
    masks = read_masks(folder, "test", tmp_path / "elsewhere")
    assert masks is not None
    assert masks.of("test/a/4.jpg", SIZE)[0].tolist() == LEFT.astype(bool).tolist()
    with pytest.raises(DataError, match=r"no mask of any of the 3 images of the split 'val'.*elsewhere/val/a/2\.png"):
        read_masks(folder, "val", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="there is no such folder of masks"):
        read_masks(folder, "val", tmp_path / "nowhere")


def test_files_are_read_when_they_are_asked_for_and_no_sooner(folder: Catalog) -> None:
    masks = read_masks(folder, "val")
    assert masks is not None
    save(folder.root / "masks/val/a/2.png", TOP)
    assert masks.of("val/a/2.jpg", SIZE)[0].tolist() == TOP.astype(bool).tolist()
    (folder.root / "masks/val/a/2.png").unlink()
    with pytest.raises(DataError, match=r"masks/val/a/2\.png: cannot be read"):
        masks.of("val/a/2.jpg", SIZE)


def test_one_mask_for_two_images_is_refused(tree: Tree) -> None:
    root = tree("train/a/1.png", "train/b/1.png", "test/a/4.png", "test/a/4.jpg")
    save(root / "masks/test/a/4.png", LEFT)
    with pytest.raises(DataError, match=r"may be meant for test/a/4\.jpg, test/a/4\.png; give"):
        read_masks(read_catalog(root), "test")


@pytest.mark.parametrize(
    ("values", "mode", "factor"),
    [(LEFT, "L", 255), (LEFT, "L", 1), (LEFT, "1", 255), (LEFT, "P", 255), (LEFT, "RGB", 9)],
)
def test_whatever_is_not_black_is_on_the_object(folder: Catalog, values: Any, mode: str, factor: int) -> None:
    save(folder.root / "masks/val/a/2.png", values, mode, factor)
    masks = read_masks(folder, "val")
    assert masks is not None
    assert masks.of("val/a/2.jpg", SIZE)[0].tolist() == LEFT.astype(bool).tolist()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Image.new("RGBA", SIZE), "stored as RGBA"),
        (Image.new("I;16", SIZE), "stored as I;16"),
        (Image.new("P", SIZE), "stored as P with transparency"),
        (Image.new("L", (3, 4)), r"the mask has 3 x 4 pixels and its image .*2\.jpg has 4 x 3"),
        (Image.new("L", (8, 8)), "of the same proportions"),
    ],
)
def test_masks_that_may_not_be_meant_so_are_refused(folder: Catalog, stored: Image.Image, message: str) -> None:
    options = {"transparency": 0} if stored.mode == "P" else {}
    stored.save(folder.root / "masks/val/a/2.png", **options)
    masks = read_masks(folder, "val")
    assert masks is not None
    with pytest.raises(DataError, match=rf"masks/val/a/2\.png: .*{message}"):
        masks.of("val/a/2.jpg", SIZE)


def test_a_mask_may_be_larger_or_smaller_than_its_image_and_comes_at_the_size_of_the_map(folder: Catalog) -> None:
    path = folder.root / "masks/val/a/2.png"
    Image.new("RGB", (1024, 683)).save(folder.root / "val/a/2.jpg")
    half = np.zeros((427, 640))  # 426.9 rows would be just right
    half[:, :320] = 1
    save(path, half)
    masks = read_masks(folder, "val")
    assert masks is not None
    mask, _ = masks.of("val/a/2.jpg", (6, 2))
    assert mask.tolist() == [[True, True, True, False, False, False]] * 2


def test_of_a_long_image_a_small_mask_has_few_rows_and_its_proportions_only_within_one(folder: Catalog) -> None:
    Image.new("RGB", (1000, 33)).save(folder.root / "val/a/2.jpg")
    masks = read_masks(folder, "val")
    assert masks is not None
    save(folder.root / "masks/val/a/2.png", np.ones((3, 100)))  # 3.3 rows; of 3 rows there would be 91 columns
    assert masks.of("val/a/2.jpg", (2, 2))[0].all()


@pytest.mark.parametrize(("old", "new"), [(4, 2), (3, 7), (36, 224), (58, 224), (300, 224), (21, 300), (501, 224)])
def test_masks_are_resized_as_opencv_does(old: int, new: int) -> None:
    mask = np.random.default_rng(old).random((old, old + 1)) < 0.5
    if (old, new) == (4, 2):
        assert resize_nearest(mask, (2, 2)).tolist() == mask[::2, [0, 2]].tolist()
        return
    cv2 = pytest.importorskip("cv2")
    expected = cv2.resize(mask.astype(np.float32), (new, new), interpolation=cv2.INTER_NEAREST) > 0.5
    assert np.array_equal(resize_nearest(mask, (new, new)), expected)


def test_where_rounding_decides_the_pixel_before_is_taken() -> None:
    """Pixel 168 of 224 is 27 of 36 (168 * 36 / 224 = 27), but 168 * (1 / (224 / 36)) rounds to less."""
    columns = (np.arange(36) >= 27)[None]
    first = int(resize_nearest(columns, (224, 1))[0].argmax())
    assert (168 * (1 / (224 / 36)) < 27, first) == (True, 169)


@pytest.fixture
def metadata(tree: Tree, tmp_path: Path) -> Path:
    tree("train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png", "test/a/3.png", folder="dataset/OpenImages")
    folder = tmp_path / "metadata" / "OpenImages"
    for split, names in {"train": "ab", "val": "ab", "test": "a"}.items():
        (folder / split).mkdir(parents=True)
        number = {"train": 1, "val": 2, "test": 3}[split]
        paths = [f"{split}/{name}/{number}.png" for name in names]
        (folder / split / "image_ids.txt").write_text("\n".join(paths))
        (folder / split / "class_labels.txt").write_text("\n".join(f"{path},{'ab'.index(path[-7])}" for path in paths))
    (folder / "val" / "localization.txt").write_text(
        "val/a/2.png,val/a/2_m1.png,val/a/2_ignore.png\nval/a/2.png,val/a/2_m2.png,\nval/b/2.png,val/b/2_m1.png,"
    )
    write_masks(tmp_path / "dataset" / "OpenImages")
    return folder


def write_masks(root: Path) -> None:
    save(root / "val/a/2_m1.png", LEFT)
    save(root / "val/a/2_m2.png", np.kron(TOP, np.ones((2, 2))))  # an instance mask may have a size of its own
    save(root / "val/a/2_ignore.png", np.eye(4)[1:])
    save(root / "val/b/2_m1.png", TOP)


def test_instances_of_the_metadata_are_united_and_the_object_wins_over_what_to_ignore(metadata: Path) -> None:
    masks = read_masks(read_catalog(metadata), "val")
    assert masks is not None
    assert masks.names == ("val/a/2.png", "val/b/2.png")
    mask, ignore = masks.of("val/a/2.png", SIZE)
    assert mask.tolist() == (LEFT | TOP).astype(bool).tolist()
    assert ignore is not None
    assert ignore.astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert masks.of("val/b/2.png", SIZE)[1] is None


def test_metadata_without_masks_have_none(metadata: Path) -> None:
    assert read_masks(read_catalog(metadata), "test") is None


def test_masks_of_the_metadata_may_lie_in_a_folder_that_is_named(metadata: Path, tmp_path: Path) -> None:
    write_masks(tmp_path / "far")
    for path in (tmp_path / "dataset").rglob("*_*.png"):
        path.unlink()
    catalog = read_catalog(metadata)
    with pytest.raises(DataError, match=r"the mask val/a/2_m1\.png is in none of .*say where \(masks\)"):
        read_masks(catalog, "val")
    masks = read_masks(catalog, "val", tmp_path / "far")
    assert masks is not None
    assert masks.of("val/b/2.png", SIZE)[0].tolist() == TOP.astype(bool).tolist()


def test_a_mask_that_the_metadata_name_must_be_there(metadata: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset/OpenImages/val/b/2_m1.png").unlink()
    with pytest.raises(DataError, match=r"there is no mask .*val/b/2_m1\.png, which the split 'val' names \(1 missing"):
        read_masks(read_catalog(metadata), "val")


def test_an_image_of_the_metadata_with_nothing_but_an_ignore_mask_is_refused(metadata: Path) -> None:
    with (metadata / "val" / "localization.txt").open("w") as file:
        file.write("val/a/2.png,,val/a/2_ignore.png")
    with pytest.raises(DataError, match=r"val/a/2\.png has a mask to ignore but none of the object"):
        read_masks(read_catalog(metadata), "val")


def test_masks_beside_classes_are_no_class(tree: Tree) -> None:
    root = tree(*(f"{name}/{number}.jpg" for name in "ab" for number in range(12)))
    save(root / "masks/a/3.png", LEFT)
    catalog = read_catalog(root)
    assert (catalog.classes, catalog.problems) == (("a", "b"), ())
    found = [masks for split in catalog.splits if (masks := read_masks(catalog, split))]
    assert [each.names for each in found] == [("a/3.jpg",)]


@pytest.mark.parametrize("own", ["masks/1.jpg", "masks/carnival/1.jpg"])
def test_a_class_may_be_called_masks(tree: Tree, own: str) -> None:
    root = tree("a/1.jpg", "b/1.jpg", "masks/a/1.png", own)
    catalog = read_catalog(root)
    assert catalog.classes == ("a", "b", "masks")
    assert all(read_masks(catalog, split) is None for split in catalog.splits)


def test_where_a_class_is_called_masks_they_may_lie_in_another_folder(tree: Tree, tmp_path: Path) -> None:
    catalog = read_catalog(tree("a/1.jpg", "masks/1.jpg"))
    save(tmp_path / "truth/a/1.png", LEFT)
    save(tmp_path / "truth/masks/1.png", TOP)
    split = next(split for split, items in catalog.splits.items() if items)
    masks = read_masks(catalog, split, tmp_path / "truth")
    assert masks is not None
    assert masks.names == tuple(item.name for item in catalog.splits[split])
