"""Videos sorted by class, made here: which frames are taken from them, once, and what each split is given."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxless.data import frames
from boxless.data.catalog import Catalog, read_catalog
from boxless.data.checks import Footage, inspect
from boxless.data.frames import spread
from boxless.data.images import read_image
from boxless.data.splits import hold_out
from boxless.errors import ConfigError, DataError, MissingExtraError
from boxless.listener import Listener
from boxless.types import Item, Shot

Clip = Any
Tree = Any


def scene(count: int, *colours: tuple[int, int, int], size: tuple[int, int] = (32, 16)) -> list[np.ndarray]:
    """So many frames of each colour, with a small light square that wanders."""
    pictures = []
    for number in range(count * len(colours)):
        picture = np.full((size[1], size[0], 3), colours[number // count], np.uint8)
        picture[2:6, number % 16 : number % 16 + 4] = 230
        pictures.append(picture)
    return pictures


GREEN, RED, BLUE = (0, 120, 0), (160, 0, 0), (0, 0, 160)


def tree_of(clip: Clip, count: int = 4, suffix: str = ".mp4") -> Path:
    for name, colour in (("dog", GREEN), ("cat", RED)):
        for number in range(count):
            root = clip(f"{name}/{number}{suffix}", scene(9, colour))
    return root


def numbers(catalog: Catalog, split: str, video: str) -> list[int]:
    return [int(Path(item.name).stem) for item in catalog.splits[split] if item.shot and item.shot.video == video]


def problems(root: Path, **settings: Any) -> str:
    return "\n".join(read_catalog(root, **settings).problems)


class Heard(Listener):
    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.steps = 0

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.begun.append((task, total))

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.steps += steps


def test_folders_of_videos_are_recognised_and_their_frames_have_stable_names(clip: Clip, tmp_path: Path) -> None:
    root = tree_of(clip)
    heard = Heard()
    catalog = read_catalog(root, listener=heard)
    assert (catalog.format, catalog.reason) == ("video", "it is a folder with one folder of videos per class")
    assert catalog.classes == ("cat", "dog")
    assert "by a hash of each video's name" in catalog.split_rule
    assert catalog.problems == ()
    assert (heard.begun, heard.steps) == ([("taking frames from videos", 8)], 8)
    for item in catalog.items:
        assert item.shot == Shot(item.name.rpartition("/")[0], 0)
        assert catalog.classes[item.labels[0]] == item.name.split("/")[0]
        assert item.path.is_relative_to(tmp_path / "cache" / "frames")
        assert read_image(item.path)[1] == (32, 16)
    assert [item.name for item in catalog.items if item.shot == Shot("dog/1.mp4")] == [
        f"dog/1.mp4/00000{number}.jpg" for number in (0, 2, 4, 6, 8)
    ]


def test_splits_are_as_given_or_part_no_video(clip: Clip) -> None:
    catalog = read_catalog(tree_of(clip, 6))
    places: dict[str, set[str]] = {}
    for split, items in catalog.splits.items():
        for item in items:
            places.setdefault(item.shot.video if item.shot else "", set()).add(split)
    assert len(places) == 12
    assert all(len(splits) == 1 for splits in places.values())
    assert {split for splits in places.values() for split in splits} == {"train", "val", "test"}
    for split, name, colour in (("train", "a", RED), ("train", "b", BLUE), ("valid", "a", RED), ("test", "b", BLUE)):
        root = clip(f"{split}/{name}/x.mov", scene(3, colour), folder="given")
    catalog = read_catalog(root)
    assert catalog.reason == "it is a folder with one folder of videos per class in each of test, train, valid"
    assert {split: items[0].shot.video for split, items in catalog.splits.items() if items[0].shot} == {
        "train": "train/a/x.mov",
        "val": "valid/a/x.mov",
        "test": "test/b/x.mov",
    }


def test_a_video_is_held_out_as_one_image_of_its_name_would_be() -> None:
    names = [f"{label}/{number}.mp4" for label in "ab" for number in range(40)]
    plain = [Item(Path(name), name, (name > "b",)) for name in names]
    filmed = [
        Item(Path(name), f"{name}/{frame:06d}.jpg", item.labels, Shot(name, frame // 2))
        for name, item in zip(names, plain, strict=True)
        for frame in (3, 1, 2)
    ]
    for missing in ([], ["val"], ["val", "test"]):
        expected, found = hold_out(plain, missing), hold_out(filmed, missing)
        for split, items in found.items():
            assert list(dict.fromkeys(item.shot.video for item in items if item.shot)) == [
                item.name for item in expected[split]
            ]
            assert [item.name[-8:] for item in items] == ["0003.jpg", "0001.jpg", "0002.jpg"] * len(expected[split])


def test_a_cut_begins_a_shot(clip: Clip) -> None:
    clip("dog/1.mp4", scene(6, GREEN, RED, BLUE))
    root = clip("cat/1.mp4", scene(6, RED))
    items = [item for item in read_catalog(root).items if item.name.startswith("dog")]
    shots = {(int(Path(item.name).stem), item.shot.number) for item in items if item.shot}
    assert shots == {(first + frame, shot) for shot, first in enumerate((0, 6, 12)) for frame in (0, 2, 4)}


def test_frames_are_apart_in_seconds_whatever_the_frame_rate(clip: Clip) -> None:
    times = [0, 0.03, 0.06, 0.1, 0.19, 0.2, 0.25, 0.6, 0.7, 0.79, 0.81, 1.5]
    clip("dog/1.mkv", scene(12, GREEN), times)
    root = clip("cat/1.mkv", scene(3, RED))
    assert numbers(read_catalog(root), "train", "dog/1.mkv") == [0, 5, 7, 10, 11]


def test_of_a_long_shot_frames_are_kept_at_even_distances(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST", 5)
    monkeypatch.setattr(frames, "_WAITING", 20)
    clip("dog/1.mp4", scene(110, GREEN) + scene(4, BLUE))  # 55 frames apart by 0.2 seconds, then another shot
    catalog = read_catalog(clip("cat/1.mp4", scene(3, RED)))
    *long, second, last = numbers(catalog, "train", "dog/1.mp4")
    assert len(long) == 5
    assert np.diff(long).min() >= 16
    assert np.diff(long).max() <= 28
    assert long[0] < 20 < 90 < long[-1]
    assert (second, last) == (110, 112)
    folder = catalog.splits["train"][-1].path.parent
    assert len(list(folder.glob("*.jpg"))) == 7


def test_values_are_spread_as_the_middles_of_equal_parts() -> None:
    assert spread(range(3), 3) == [0, 1, 2]
    assert spread(range(9), 3) == [1, 4, 7]
    assert spread(range(100), 2) == [25, 75]
    assert spread([], 2) == []


def test_frames_are_taken_once_and_anew_when_the_video_changes(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree_of(clip, 1)
    first = read_catalog(root)
    opened = []
    video = frames.Video
    monkeypatch.setattr(frames, "Video", lambda path: opened.append(path.name) or video(path))
    assert read_catalog(root) == first
    assert opened == []
    clip("dog/0.mp4", scene(3, BLUE))
    os.utime(root / "dog" / "0.mp4", ns=(1, 10**18))
    again = read_catalog(root)
    assert opened == ["0.mp4"]
    assert numbers(again, "train", "dog/0.mp4") == [0, 2]
    again.splits["train"][0].path.unlink()  # as a cleaner of caches does
    assert read_catalog(root) == again
    assert again.splits["train"][0].path.is_file()


@pytest.mark.parametrize("rotation", [90, -90])
def test_frames_lie_upright(rotation: int, clip: Clip) -> None:
    clip("dog/1.mp4", scene(3, GREEN), rotation=rotation)
    root = clip("cat/1.mp4", scene(3, RED))
    item = next(item for item in read_catalog(root).items if item.name.startswith("dog"))
    picture, size = read_image(item.path)
    assert size == picture.size == (16, 32)
    light = np.argwhere(np.asarray(picture.convert("L")) > 160).mean(0)
    # the square is at the upper left of what is stored, and the file has it turned against the clock by so much
    expected = (30, 4) if rotation == 90 else (2, 12)
    np.testing.assert_allclose(light, expected, atol=3)


def test_an_interrupt_leaves_nothing_half_made(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree_of(clip, 1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(frames._Taking, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            read_catalog(root)
    assert list((tmp_path / "cache" / "frames").iterdir()) == []
    assert len(read_catalog(root).items) == 10


def test_what_decodes_of_a_damaged_video_is_used_and_said(clip: Clip) -> None:
    root = tree_of(clip, 2, ".mkv")
    draws = np.random.default_rng(0)
    noise = [draws.integers(0, 60, (16, 32, 3), dtype=np.uint8) for _ in range(60)]
    clip("dog/broken.mkv", noise)
    path = root / "dog" / "broken.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    catalog = read_catalog(root)
    (said,) = [each for each in catalog.problems if "only a part" in each]
    assert "dog/broken.mkv (it ends at " in said
    taken = [item for item in catalog.items if item.shot and item.shot.video == "dog/broken.mkv"]
    assert 8 <= len(taken) <= 25


def test_what_gives_no_frame_is_left_out_and_said(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree_of(clip, 2)
    (root / "dog" / "text.mp4").write_text("this is no video")
    (root / "dog" / "notes.txt").touch()
    clip("loose.mp4", scene(2, RED))
    shutil.copy(root / "loose.mp4", root / "dog" / "none.mp4")
    real = frames.Video.__iter__
    monkeypatch.setattr(frames.Video, "__iter__", lambda self: real(self) if self.path.name != "none.mp4" else iter(()))
    said = problems(root)
    assert f"videos are left out: {root / 'dog' / 'none.mp4'}: no frame of it can be decoded" in said
    assert "text.mp4: this is not a video that can be read" in said
    assert "left out, lying in no class folder: loose.mp4" in said
    assert "being no images by their names: dog/notes.txt" in said
    for name in ("a/1.mp4", "b/1.mp4"):
        (root.parent / "bad" / name).parent.mkdir(parents=True)
        (root.parent / "bad" / name).touch()
    with pytest.raises(DataError, match=r"bad: no video in it can be read: .*1\.mp4: this is not a video"):
        read_catalog(root.parent / "bad")


def test_a_class_of_one_video_is_said(clip: Clip) -> None:
    tree_of(clip, 3)
    root = clip("emu/only.mp4", scene(9, BLUE))
    assert "classes with one video only can hardly be learned, and none can be held out for val and test: 'emu'" in (
        problems(root)
    )
    shutil.rmtree(root / "cat")
    shutil.rmtree(root / "emu")
    with pytest.raises(DataError, match=r"every video \(3\) is of one class, 'dog'"):
        read_catalog(root)


def test_a_class_that_train_lacks_is_refused_by_its_videos(clip: Clip) -> None:
    for name, colour in (("train/a/1.mp4", RED), ("train/b/1.mp4", BLUE), ("test/c/1.mp4", GREEN)):
        root = clip(name, scene(9, colour))
    with pytest.raises(DataError, match=r"'c' is in test but not in train \(test/c/1\.mp4\); add videos of it"):
        read_catalog(root)


def test_names_of_any_script_and_equal_stems_are_told_apart(clip: Clip) -> None:
    clip("собака/à 1, x.mp4", scene(3, GREEN))
    clip("собака/à 1, x.mov", scene(5, BLUE))
    root = clip("図/a#1.mp4", scene(3, RED))
    catalog = read_catalog(root)
    assert catalog.classes == ("собака", "図")
    found = {shot: numbers(catalog, "train", shot) for shot in ("собака/à 1, x.mp4", "собака/à 1, x.mov", "図/a#1.mp4")}
    everything = [item.shot.video for item in catalog.items if item.shot]
    assert sorted(set(everything)) == sorted(found)
    assert (everything.count("собака/à 1, x.mp4"), everything.count("собака/à 1, x.mov")) == (2, 3)


def test_a_cache_that_cannot_be_written_is_named(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree_of(clip, 1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be kept there \(.*\); .*BOXLESS_CACHE"):
        read_catalog(root)


def test_without_pyav_the_extra_is_named_unless_all_frames_are_there(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree_of(clip, 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"boxless\[video\]"):
        read_catalog(root)
    monkeypatch.undo()
    monkeypatch.setenv("BOXLESS_CACHE", str(root.parent / "cache"))
    catalog = read_catalog(root)
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_catalog(root) == catalog


def test_videos_beside_images_leave_the_data_a_folder_of_images(clip: Clip, tree: Tree) -> None:
    clip("cat/1.mp4", scene(3, RED), folder="data")
    root = tree("cat/1.png", "dog/1.png", "dog/2.png")
    catalog = read_catalog(root)
    assert (catalog.format, len(catalog.items)) == ("folder", 3)
    assert "--format video learns from videos alone: cat/1.mp4" in "\n".join(catalog.problems)
    clip("dog/1.mp4", scene(3, BLUE), folder="data")
    assert "left out, lying in no folder of frames: cat/1.png, dog/1.png, dog/2.png" in problems(root, format="video")
    with pytest.raises(DataError, match=r"no images were found, but videos .* --format video"):
        read_catalog(tree_of(clip, 1), format="folder")
    with pytest.raises(ConfigError, match="has its images inside"):
        read_catalog(root, format="video", images=root)


def test_inspect_counts_videos_shots_and_frames(clip: Clip) -> None:
    for name, colour in (("train/a/1.mp4", RED), ("train/b/1.mp4", BLUE), ("test/a/2.mp4", RED)):
        root = clip(name, scene(4, colour, GREEN))
    found = inspect(root)
    assert found.footage == {"train": Footage(2, 4, 8), "val": Footage(0, 0, 0), "test": Footage(1, 2, 4)}
    assert found.counts == {"a": {"train": 4, "val": 0, "test": 4}, "b": {"train": 4, "val": 0, "test": 0}}
    assert (found.few, found.equal_names) == (("a", "b"), ())
    assert any("2 classes have fewer than 10 videos" in warning for warning in found.warnings)
