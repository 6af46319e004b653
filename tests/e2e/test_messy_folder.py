"""A folder as people have them: odd modes, turned photographs, odd names, and files that are no images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import TINY, Boxless, make_shapes, shape

BROKEN = ("truncated.jpg", "empty.jpg", "text.jpg")


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_shapes(tmp_path_factory.mktemp("messy") / "Fotos & Bilder", {"train": 6, "val": 2, "test": 2})
    for split in ("train", "test"):
        folder = root / split / "red"
        image, _ = shape(0, 900)
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying, shown standing
        image.save(folder / "turned.jpg", exif=exif)
        image.convert("CMYK").save(folder / "cmyk.jpg")
        image.convert("RGBA").save(folder / "alpha.png")
        image.convert("P").save(folder / "palette.png")
        image.convert("L").save(folder / "grey.png")
        deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(deep).save(folder / "deep.png")
        image.save(folder / "ünïcode чайка, 1.png")
        image.save(folder / "UPPER.JPEG")
        shape(0, 901, (30_000, 40))[0].save(folder / "wide.png")
        Image.new("RGB", (5, 3), (200, 30, 30)).save(folder / "tiny.png")
        whole = (folder / "turned.jpg").read_bytes()
        (folder / BROKEN[0]).write_bytes(whole[: len(whole) // 2])
        (folder / BROKEN[1]).touch()
        (folder / BROKEN[2]).write_text("this is no photograph")
    return root


@pytest.fixture(scope="module")
def trained(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    from .conftest import call

    folder = tmp_path_factory.mktemp("messy-run") / "run"
    return folder, call("train", messy, "--out", folder, "--epochs", 1, *TINY, "--json")


def names(refused: list[dict[str, str]]) -> set[str]:
    return {each["name"].rpartition("/")[2] for each in refused}


def test_it_is_learned_from_and_what_cannot_be_read_is_listed(trained: tuple[Path, object]) -> None:
    _, done = trained
    assert done.code == 1
    assert names(done.json["refused"]) == set(BROKEN)
    for each in done.json["refused"]:
        assert each["name"] in each["reason"]
    assert "3 images were refused" in done.err


def test_it_is_predicted_with_boxes_in_upright_pixels(
    boxless: Boxless, messy: Path, trained: tuple[Path, object], tmp_path: Path
) -> None:
    done = boxless("predict", trained[0], messy / "test", "--out", tmp_path, "--format", "all", "--overlays", "--json")
    assert done.code == 1
    assert names(done.json["refused"]) == set(BROKEN)
    assert done.json["written"] == 16
    rows = {
        row["name"]: row
        for row in csv.DictReader(Path(done.json["files"]["csv"]).read_text(encoding="utf-8").splitlines())
    }
    assert "red/ünïcode чайка, 1.png" in rows
    assert (rows["red/turned.jpg"]["width"], rows["red/turned.jpg"]["height"]) == ("64", "80")
    for name, side in (("wide.png", 30_000), ("tiny.png", 5)):
        row = rows[f"red/{name}"]
        assert not row["x1"] or float(row["x1"]) <= side


def test_it_is_evaluated_without_what_cannot_be_read(
    boxless: Boxless, messy: Path, trained: tuple[Path, object]
) -> None:
    done = boxless("evaluate", trained[0], messy, "--json")
    assert done.code == 1, done.err
    assert names(done.json["refused"]) <= set(BROKEN)


def test_inspection_names_each_broken_file(boxless: Boxless, messy: Path) -> None:
    done = boxless("inspect", messy)
    assert done.code == 1
    for name in BROKEN:
        assert name in done.err
