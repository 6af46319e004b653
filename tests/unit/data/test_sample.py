import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from boxless.data.catalog import read_catalog
from boxless.data.sample import write_sample
from boxless.data.sample.assets import FOLDER, load_assets, silhouettes
from boxless.data.sample.pixels import Pose, Window, blur, sample
from boxless.data.sample.scene import MOST_COVERED, MOST_KEPT, _Painter, render
from boxless.data.truth import read_truth
from boxless.errors import ConfigError, RunError, UnknownNameError

FEW = {"train": 1, "val": 1, "test": 1}
GOLDEN_BOX = (2, 10, 72, 92)
GOLDEN_MEANS = [
    [59.7, 108.4, 68.6, 61.5],
    [111.2, 126.6, 88.2, 75.5],
    [71.9, 107.3, 101.4, 85.4],
    [39.5, 53.2, 102.3, 108.3],
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample") / "sample", counts=FEW)


def contents(folder: Path):
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_two_renders_are_equal_byte_for_byte(written, tmp_path):
    assert contents(write_sample(tmp_path / "again", counts=FEW)) == contents(written)


def test_another_seed_gives_other_images(written, tmp_path):
    other = contents(write_sample(tmp_path / "other", seed=1, counts={"val": 1}))
    assert other["val/bag/0000.jpg"] != contents(written)["val/bag/0000.jpg"]


def test_an_image_does_not_depend_on_how_many_are_rendered(written, tmp_path):
    alone = contents(write_sample(tmp_path / "alone", counts={"test": 1}))
    assert alone["test/dress/0000.jpg"] == contents(written)["test/dress/0000.jpg"]


def test_boxes_are_the_bounds_of_the_masks(written):
    with (written / "boxes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    for row in rows:
        with Image.open(written / "masks" / Path(row["path"]).with_suffix(".png")) as opened:
            mask = np.asarray(opened)
        assert set(np.unique(mask)) == {0, 255}
        rows_of_mask, columns = ndimage.find_objects((mask == 255).astype(int))[0]
        expected = (columns.start, rows_of_mask.start, columns.stop, rows_of_mask.stop)
        assert tuple(int(row[key]) for key in ("x0", "y0", "x1", "y1")) == expected


def test_training_images_have_no_truth(written):
    assert not (written / "masks" / "train").exists()
    assert "train/" not in (written / "boxes.csv").read_text(encoding="utf-8")


def test_the_folder_reader_takes_it_as_ten_classes_and_three_splits(written):
    catalog = read_catalog(written)
    assert sorted(catalog.classes) == sorted(load_assets().classes)
    assert {split: len(items) for split, items in catalog.splits.items()} == {"train": 10, "val": 10, "test": 10}
    assert not catalog.problems
    assert len(read_truth(catalog, "val").boxes) == len(read_truth(catalog, "test").boxes) == 10


def test_test_photographs_lie_behind_test_images_only():
    assets = load_assets()
    digests = {split: {each.tobytes() for each in assets.photographs[split]} for split in assets.photographs}
    assert digests["train"] == digests["val"]
    assert len(digests["test"]) >= 5
    assert not digests["train"] & digests["test"]


def test_no_item_is_in_two_splits_and_training_has_200_of_each_class():
    assets = load_assets()
    assert {split: part.shape[:2] for split, part in assets.gray.items()} == {
        "train": (10, 240),
        "val": (10, 40),
        "test": (10, 60),
    }
    every = [item.tobytes() for part in assets.gray.values() for item in part.reshape(-1, 28, 28)]
    assert len(every) - len(set(every)) == 0


def test_assets_are_small_and_every_file_is_named_in_the_notice():
    files = sorted(FOLDER.iterdir())
    assert sum(each.stat().st_size for each in files) <= 4_000_000
    photographs = {
        each["file"]: each for each in json.loads((FOLDER / "assets.json").read_text("utf-8"))["photographs"]
    }
    notice = (FOLDER.parent / "NOTICE.md").read_text(encoding="utf-8")
    assert {each.name for each in files} == {*photographs, "items.png", "assets.json"}
    for name, photograph in photographs.items():
        row = next(line for line in notice.splitlines() if line.startswith(f"| `{name}`"))
        assert all(photograph[key] in row for key in ("group", "title", "author", "licence", "source"))
        assert f"**{photograph['licence']}**" in notice
    assert "MIT License" in notice


def test_a_scene_keeps_its_object_whole_and_in_sight():
    assets = load_assets()
    for label in range(10):
        scene = render(assets, "val", label, 3, seed=0, size=128)
        x0, y0, x1, y1 = scene.box
        assert 0 <= x0 < x1 <= 128
        assert 0 <= y0 < y1 <= 128
        assert max(x1 - x0, y1 - y0) >= 0.48 * 128 * (1 - 2 * MOST_COVERED)
        assert max(x1 - x0, y1 - y0) <= 0.78 * 128 + 2


def test_a_fragment_is_never_most_of_a_garment():
    assets = load_assets()
    painter = _Painter(assets, "train", 128, np.random.default_rng(0))
    for coverage in assets.coverage["train"][:, :8].reshape(-1, 28, 28):
        left = painter.cut(coverage)
        assert (left >= 0.5).sum() <= (MOST_KEPT + 0.06) * (coverage >= 0.5).sum()  # a cut falls between whole pixels


def test_a_dark_part_inside_belongs_to_the_item_and_a_black_gap_does_not():
    tile = np.zeros((1, 28, 28), dtype=np.float32)
    tile[0, 4:24, 4:24] = 200
    tile[0, 6:10, 6:10] = 3  # a dark print
    tile[0, 14:20, 14:20] = 0  # what is seen through a handle
    expected = np.zeros((28, 28), dtype=bool)
    expected[4:24, 4:24] = True
    expected[14:20, 14:20] = False
    np.testing.assert_array_equal(silhouettes(tile)[0], expected)


def test_sampling_a_picture_at_its_own_pixels_gives_it_back_and_a_quarter_turn_turns_it():
    picture = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    u, v = Pose(2, 1.5, 1, 0).picture_points(Window(0, 0, 4, 3))
    np.testing.assert_allclose(sample(picture, u, v), picture, atol=1e-5)
    u, v = Pose(1.5, 2, 1, np.pi / 2).picture_points(Window(0, 0, 3, 4))
    np.testing.assert_allclose(sample(picture, u, v), np.rot90(picture, -1), atol=1e-4)  # clockwise, as y points down


def test_blur_equals_scipys_gaussian():
    picture = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    expected = ndimage.gaussian_filter(picture, 1.2, mode="nearest", radius=3)
    np.testing.assert_allclose(blur(picture, 1.2), expected, atol=1e-5)


def test_a_rendered_image_stays_what_it_was():
    scene = render(load_assets(), "test", 4, 7, seed=0, size=128)
    assert scene.box == GOLDEN_BOX
    means = scene.image.reshape(4, 32, 4, 32, 3).mean(axis=(1, 3, 4))
    np.testing.assert_allclose(means, GOLDEN_MEANS, atol=1.0)  # JPEG decoders may differ by a gray level


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="holds other files"):
        write_sample(tmp_path, counts=FEW)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_a_sample_that_is_there_is_not_rendered_again_and_another_one_is_refused(written):
    before = (written / "boxes.csv").stat().st_mtime_ns
    assert write_sample(written, counts=FEW) == written
    assert (written / "boxes.csv").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="holds another sample"):
        write_sample(written, counts=FEW, seed=5)


def test_an_interrupt_leaves_nothing(tmp_path):
    def stop(done, total):
        assert total == 10
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "sample", counts={"val": 1}, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"counts": {"train": 241}}, ConfigError),
        ({"counts": {"tests": 1}}, UnknownNameError),
        ({"size": 32}, ConfigError),
    ],
)
def test_what_cannot_be_had_is_refused(tmp_path, wrong, error):
    with pytest.raises(error):
        write_sample(tmp_path / "sample", **wrong)
    assert not list(tmp_path.iterdir())
