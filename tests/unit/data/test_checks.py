from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.data import inspect, read_catalog
from boxless.data.checks import NearDuplicate, Spread
from boxless.data.checks import inspect as inspect_directly


def photograph(path: Path, seed: int, size: tuple[int, int] = (96, 64), mode: str = "RGB") -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Twelve images of a and two of b in train, and one of each kind of trouble."""
    root = tmp_path / "data"
    for seed in range(12):
        photograph(root / "train" / "a" / f"{seed}.png", seed)
    for seed in range(100, 102):
        photograph(root / "train" / "b" / f"{seed}.png", seed, mode="L")
    photograph(root / "test" / "b" / "wide.png", 200, (300, 20))
    shutil.copy(root / "train" / "a" / "0.png", root / "test" / "b" / "copy.png")
    (root / "test" / "a").mkdir()
    with Image.open(root / "train" / "a" / "1.png") as image:
        image.resize((80, 60)).save(root / "test" / "a" / "11.jpg", quality=80)
    shutil.copy(root / "train" / "a" / "11.png", root / "test" / "a" / "11.png")
    (root / "train" / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff rubbish")
    return root


def test_findings_name_every_trouble(messy: Path) -> None:
    catalog = read_catalog(messy)
    found = inspect(catalog)
    assert found.format == "folder"
    assert found.counts["b"] == {"train": 2, "val": 0, "test": 2}
    assert sum(found.counts["a"].values()) == 15
    assert (found.width, found.height) == (Spread(80, 96, 300), Spread(20, 64, 64))
    assert found.modes == {"RGB": 16, "L": 2}
    (broken,) = found.broken
    assert broken.name == "train/a/broken.jpg"
    assert "damaged or incomplete" in broken.reason
    assert set(found.duplicates) == {("train/a/0.png", "test/b/copy.png"), ("train/a/11.png", "test/a/11.png")}
    assert found.duplicates_across_classes == (("train/a/0.png", "test/b/copy.png"),)
    splits = {item.name: split for split, items in catalog.splits.items() for item in items}
    assert set(found.duplicates_across_splits) == {
        (f"{splits[first]}: {first}", f"test: {second}") for first, second in found.duplicates
    }
    assert found.near_duplicates == (
        NearDuplicate("train/a/1.png", splits["train/a/1.png"], "test/a/11.jpg", "test", found.near_duplicates[0].bits),
    )
    assert found.equal_names == (("train/a/11.png", "test/a/11.png"),)
    assert found.small == ("test/b/wide.png",)
    assert found.few == ("b",)


def test_warnings_say_in_words_what_to_do(messy: Path) -> None:
    text = "\n".join(inspect(messy).warnings)
    for part in (
        "1 files cannot be read and would be skipped; mend or remove them: train/a/broken.jpg",
        "2 images lie in more than one split",
        "look alike",
        "1 images lie under different classes",
        "1 images have a side shorter than 32 pixels",
        "1 classes have fewer than 10 images",
    ):
        assert part in text


def test_clean_data_have_no_warning(tmp_path: Path) -> None:
    for index, name in enumerate(("a", "b")):
        for seed in range(20):
            photograph(tmp_path / name / f"{name}{seed}.png", 1000 * index + seed)
    found = inspect(tmp_path)
    assert found.warnings == ()
    assert (found.broken, found.duplicates, found.near_duplicates, found.equal_names) == ((), (), (), ())


def test_result_is_plain_enough_for_json_and_does_not_depend_on_threads(messy: Path) -> None:
    one, many = inspect(messy, workers=0), inspect(messy, workers=4)
    assert one == many
    assert json.loads(json.dumps(one.to_dict()))["broken"][0]["name"] == "train/a/broken.jpg"


def test_progress_counts_every_image(messy: Path) -> None:
    calls: list[tuple[int, int]] = []
    inspect(messy, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 19) for done in range(1, 20)]


def test_data_that_are_all_broken_are_still_reported(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = inspect_directly(tmp_path)
    assert (len(found.broken), found.width, found.modes) == (2, None, {})
