"""GlaS as it was released, and histology in wsolevaluation's files as Rony et al. have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import boxless
from boxless.api import inspect
from boxless.data.catalog import read_catalog
from boxless.data.masks import read_masks
from boxless.data.truth import read_truth
from boxless.errors import DataError, MissingTruthError

GRADES = {
    "train_1": (1, "malignant"),
    "train_2": (1, "benign"),
    "train_3": (2, "benign"),
    "train_83": (3, "malignant"),
    "testA_1": (4, "benign"),
    "testA_10": (4, "malignant"),
    "testB_2": (5, "malignant"),
}
HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
SIZE = (12, 8)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Images, annotations with two glands each, and the table with the blanks that it really has."""
    folder = tmp_path / "Warwick QU Dataset (Released 2016_07_08)"
    folder.mkdir()
    generator = np.random.default_rng(0)
    glands = np.zeros((8, 12), dtype=np.uint8)
    glands[1:4, 1:5], glands[5:7, 6:11] = 1, 2
    for number, name in enumerate(GRADES):
        Image.fromarray(generator.integers(0, 255, (8, 12, 3), dtype=np.uint8)).save(folder / f"{name}.bmp")
        Image.fromarray(np.roll(glands, number, axis=1)).save(folder / f"{name}_anno.bmp")
    lines = [f"{name}, {patient}, {grade}, adenomatous" for name, (patient, grade) in GRADES.items()]
    (folder / "Grade.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


def test_the_release_is_recognised_and_split_as_rony_et_al_do(release: Path) -> None:
    catalog = read_catalog(release)
    assert (catalog.format, catalog.reason) == ("glas", "it is the GlaS release, by its Grade.csv")
    assert catalog.classes == ("benign", "malignant")
    assert {split: [item.name for item in items] for split, items in catalog.splits.items()} == {
        "train": ["train_1.bmp", "train_3.bmp"],
        "val": ["train_2.bmp", "train_83.bmp"],
        "test": ["testA_1.bmp", "testA_10.bmp", "testB_2.bmp"],
    }
    assert [item.labels for item in catalog.splits["test"]] == [(0,), (1,), (1,)]
    assert any(
        "patients with images in both train and val" in each and each.endswith(": 1") for each in catalog.problems
    )


def test_inspect_counts_the_release(release: Path) -> None:
    found = inspect(release)
    assert found.format == "glas"
    assert found.counts == {"benign": {"train": 1, "val": 1, "test": 1}, "malignant": {"train": 1, "val": 1, "test": 2}}


def test_every_gland_is_on_the_mask_and_there_are_no_boxes(release: Path) -> None:
    catalog = read_catalog(release)
    masks = read_masks(catalog, "val")
    assert masks is not None
    assert masks.names == ("train_2.bmp", "train_83.bmp")
    mask, ignored = masks.of("train_2.bmp", SIZE)
    assert (mask.sum(), ignored) == (3 * 4 + 2 * 5, None)
    assert mask[2, 3]
    assert mask[6, 8]
    with pytest.raises(MissingTruthError):
        read_truth(catalog, "val")


def test_an_annotation_that_is_missing_is_named(release: Path) -> None:
    (release / "testB_2_anno.bmp").unlink()
    with pytest.raises(DataError, match=r"no mask .*testB_2_anno\.bmp.*1 missing"):
        read_masks(read_catalog(release), "test")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "train_3, 2, benign",
            "train_3, 2, begnin",
            r"Grade\.csv:4: the grade 'begnin' is not known; .* benign, malignant",
        ),
        ("train_3,", "training_3,", r"Grade\.csv:4: the name 'training_3' tells no split"),
        ("train_3,", "train_4,", r"Grade\.csv:4: there is no image .*train_4\.bmp"),
        ("train_3,", "train_1,", r"Grade\.csv: train_1\.bmp stands in more than one line"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(release: Path, old: str, new: str, message: str) -> None:
    table = release / "Grade.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_catalog(release)


def test_images_that_have_no_line_are_told(release: Path) -> None:
    Image.new("RGB", SIZE).save(release / "train_7.bmp")
    assert "left out, having no line in Grade.csv: train_7.bmp" in read_catalog(release).problems


def test_the_format_named_for_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the folder of the GlaS release itself"):
        read_catalog(tmp_path, format="glas")


PATCHES = {
    "train": (
        "metastatic-patches/training/tumor/tumor_009/Patch_a.png",
        "normal-patches/split_0/fold_0/train/Patch_b.png",
    ),
    "valcl": (
        "metastatic-patches/training/tumor/tumor_036/Patch_c.png",
        "normal-patches/split_0/fold_0/valid/Patch_d.png",
    ),
    "test": (
        "metastatic-patches/testing/images/test_048/Patch_e.png",
        "normal-patches/split_0/fold_0/test/Patch_f.png",
    ),
}


@pytest.fixture
def patches(tmp_path: Path) -> tuple[Path, Path]:
    """Lists of CAMELYON16 patches in the files of Rony et al., and the folder of the images."""
    lists, images = tmp_path / "CAMELYON512" / "fold-0", tmp_path / "data"
    metastasis = np.zeros((8, 12), dtype=np.uint8)
    metastasis[:, :6] = 255
    for split, names in {**PATCHES, "valpx": PATCHES["valcl"][:1]}.items():
        folder = lists / split
        folder.mkdir(parents=True)
        for name in names:
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE, (200, 120, 180)).save(images / name)
            Image.fromarray(metastasis).save(images / mask_of(name))
        (folder / "image_ids.txt").write_text("\n".join(names) + "\n")
        (folder / "class_labels.txt").write_text("".join(f"{name},{int('meta' in name)}\n" for name in names))
        (folder / "image_sizes.txt").write_text("".join(f"{name},12,8\n" for name in names))
        located = [f"{name},{mask_of(name) if 'meta' in name else ''},\n" for name in names]
        (folder / "localization.txt").write_text("".join(located))
    (lists.parent / "encoding.yaml").write_text("{normal: 0, tumor: 1}\n")
    return lists, images


def mask_of(name: str) -> str:
    return name.replace("Patch_", "mask_")


def test_lists_of_patches_are_read_with_the_names_of_classes(patches: tuple[Path, Path]) -> None:
    lists, images = patches
    catalog = read_catalog(lists, images=images)
    assert (catalog.format, catalog.classes) == ("wsol", ("normal", "tumor"))
    assert {split: tuple(item.name for item in items) for split, items in catalog.splits.items()} == {
        "train": PATCHES["train"],
        "val": PATCHES["valcl"],
        "test": PATCHES["test"],
    }
    assert "left out, being no splits: the folders valpx" in catalog.problems
    found = inspect(lists, images=images)
    assert found.counts == {name: {"train": 1, "val": 1, "test": 1} for name in ("normal", "tumor")}


def test_a_normal_patch_has_an_empty_mask(patches: tuple[Path, Path]) -> None:
    lists, images = patches
    masks = read_masks(read_catalog(lists, images=images), "val")
    assert masks is not None
    assert masks.names == PATCHES["valcl"]
    assert masks.of(PATCHES["valcl"][0], SIZE)[0].mean() == 0.5
    assert not masks.of(PATCHES["valcl"][1], SIZE)[0].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{normal: 0}", r"class '1' has no name in encoding\.yaml"),
        ("{normal: 0, tumor: 0}", "a number of its own for each name"),
        ("[normal, tumor]", "a number of its own for each name"),
        ("{normal: 0", "cannot be read"),
    ],
)
def test_wrong_names_of_classes_are_refused(patches: tuple[Path, Path], text: str, message: str) -> None:
    lists, images = patches
    (lists.parent / "encoding.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_catalog(lists, images=images)


def test_a_mask_that_is_listed_must_be_there(patches: tuple[Path, Path]) -> None:
    lists, images = patches
    (images / mask_of(PATCHES["test"][0])).unlink()
    with pytest.raises(DataError, match=r"mask_e\.png"):
        read_masks(read_catalog(lists, images=images), "test")


def test_a_run_trained_on_the_release_is_measured_by_pxap(release: Path, tmp_path: Path) -> None:
    settings = {
        "backbone.weights": "random",
        "training.batch_size": 2,
        "protocol.select": "last",
        "protocol.threshold": "otsu",
    }
    done = boxless.train(
        release, tmp_path / "run", backbone="test_resnet", settings=settings, epochs=1, image_size=64, device="cpu"
    )
    report = boxless.evaluate(done.folder, release, protocol="otsu", replicates=0, device="cpu")
    assert 0 < report.figures["pixel_average_precision"].value < 100
    assert np.isnan(report.column("otsu").figures["box_accuracy"].value)
