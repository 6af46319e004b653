import csv
import json
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.data.catalog import read_catalog
from boxless.data.sample import CLIPS_VERSION, write_clips
from boxless.data.sample.assets import load_assets
from boxless.data.sample.moving import AWAY, LEAST_SEEN, Course, _Stage, render_clip
from boxless.data.sample.scene import MOST_COVERED
from boxless.data.truth import read_truth
from boxless.errors import ConfigError, RunError, UnknownNameError
from boxless.listener import Listener
from boxless.predict.video_io import Video

FEW = {"train": 1, "val": 1, "test": 1}
FRAMES, SIZE = 3, 64
GOLDEN_BOXES = [(53, 17, 85, 47), (59, 5, 93, 36), (60, 0, 96, 31), (57, 1, 95, 34)]
GOLDEN_COLOUR = [111.3, 113.3, 85.9]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips") / "clips", counts=FEW, frames=FRAMES, size=SIZE)


def contents(folder: Path):
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def rows_of(folder: Path):
    with (folder / "boxes.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def clip_of(label: int, index: int, *, split: str = "val", size: int = SIZE, frames: int = 7, seed: int = 0):
    return list(render_clip(load_assets(), split, label, index, seed=seed, size=size, frames=frames))


def test_two_renders_are_equal_byte_for_byte_and_another_seed_gives_other_clips(written, tmp_path):
    assert contents(write_clips(tmp_path / "again", counts=FEW, frames=FRAMES, size=SIZE)) == contents(written)
    other = contents(write_clips(tmp_path / "other", seed=1, counts={"val": 1}, frames=FRAMES, size=SIZE))
    assert other["val/bag/0000/0000.jpg"] != contents(written)["val/bag/0000/0000.jpg"]


def test_folders_of_frames_and_a_card(written):
    frames = [f"{number:04d}.jpg" for number in range(FRAMES)]
    for split in FEW:
        for name in load_assets().classes:
            assert sorted(each.name for each in (written / split / name / "0000").iterdir()) == frames
    card = json.loads((written / "clips.json").read_text("utf-8"))
    assert (card["version"], card["counts"], card["frames"]) == (CLIPS_VERSION, FEW, FRAMES)
    with Image.open(written / "test/bag/0000/0002.jpg") as opened:
        assert opened.size == (SIZE, SIZE)


def test_every_frame_of_val_and_test_has_its_line_and_none_of_train(written):
    expected = [
        f"{split}/{name}/0000/{frame:04d}.jpg"
        for split in ("val", "test")
        for name in load_assets().classes
        for frame in range(FRAMES)
    ]
    assert [row["path"] for row in rows_of(written)] == expected


def test_boxes_are_the_bounds_of_what_is_seen_and_empty_where_nothing_is(written):
    assets = load_assets()
    rows = {row["path"]: tuple(row[key] for key in ("x0", "y0", "x1", "y1")) for row in rows_of(written)}
    found = defaultdict(int)
    for label, name in enumerate(assets.classes):
        for frame, scene in enumerate(clip_of(label, 0, frames=FRAMES)):
            row = rows[f"val/{name}/0000/{frame:04d}.jpg"]
            if not scene.mask.any():
                assert row == ("", "", "", "")
                found["absent"] += 1
                continue
            high, wide = np.nonzero(scene.mask)
            assert tuple(map(int, row)) == (wide.min(), high.min(), wide.max() + 1, high.max() + 1)
            found["there"] += 1
    assert found["absent"] > 0
    assert found["there"] > 20


def test_a_box_is_tight_around_the_pixels_that_show_the_object(monkeypatch):
    """The same clip with the object's colours turned about differs where the object is seen, and nowhere else."""
    plain = {label: clip_of(label, 1, size=128, frames=5) for label in range(0, 10, 3)}
    thing = _Stage.thing

    def turned(stage, label, index):
        mover = thing(stage, label, index)
        mover.picture[..., :3] = 1 - mover.picture[..., :3]
        return mover

    monkeypatch.setattr(_Stage, "thing", turned)
    checked = 0
    for label, scenes in plain.items():
        for scene, other in zip(scenes, clip_of(label, 1, size=128, frames=5), strict=True):
            np.testing.assert_array_equal(scene.mask, other.mask)
            differs = np.abs(np.int16(scene.image) - np.int16(other.image)).max(axis=2) > 24
            if scene.mask.any():
                rows, columns = np.nonzero(differs)
                bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert np.abs(np.subtract(bounds, scene.box)).max() <= 2
                checked += 1
    assert checked >= 12


def test_the_object_leaves_some_clips_for_a_while_and_stays_gone_or_comes_back():
    seen = [[bool(scene.mask.any()) for scene in clip_of(label, index)] for label in range(10) for index in range(3)]
    leaving = [clip for clip in seen if not all(clip)]
    assert 0.1 < len(leaving) / len(seen) < 2 * AWAY
    assert all(sum(clip) >= 2 for clip in seen)
    assert any(clip[0] and clip[-1] for clip in leaving)
    assert any(not clip[0] for clip in leaving)
    assert any(not clip[-1] for clip in leaving)


def test_little_of_an_object_counts_as_gone_and_clutter_hides_little(monkeypatch):
    monkeypatch.setattr("boxless.data.sample.moving.AWAY", 1.0)
    monkeypatch.setattr("boxless.data.sample.moving.BEFORE", (2, 3))
    clip = clip_of(8, 2, frames=24)
    monkeypatch.setattr("boxless.data.sample.moving.LEAST_SEEN", 0.0)
    every = clip_of(8, 2, frames=24)
    monkeypatch.setattr("boxless.data.sample.moving.MOST_COVERED", -1.0)  # no clutter before it at all
    bare = clip_of(8, 2, frames=24)
    whole = max(scene.mask.sum() for scene in bare)
    slivers = [scene.mask.sum() for scene, kept in zip(every, clip, strict=True) if not kept.mask.any()]
    assert 0 < max(slivers) < LEAST_SEEN * whole
    for scene, free in zip(every, bare, strict=True):
        assert not (scene.mask & ~free.mask).any()
        assert scene.mask.sum() >= (1 - MOST_COVERED) * free.mask.sum()


def test_a_course_has_constant_acceleration_and_meets_its_points():
    course = Course(np.array([[0.0, 0], [10, 4], [12, 20]]), (1, 4), (0, 1))
    poses = [course.pose(time) for time in (0, 0.25, 0.5, 0.75, 1)]
    places = np.array([(pose.x, pose.y) for pose in poses])
    np.testing.assert_allclose(places[::2], course.points)
    np.testing.assert_allclose(np.diff(places, n=3, axis=0), 0, atol=1e-12)
    assert [pose.scale for pose in poses[::2]] == pytest.approx([1, 2, 4])
    assert [pose.angle for pose in poses[::2]] == pytest.approx([0, 0.5, 1])


def test_other_things_move_than_the_object_and_the_camera():
    """Motion alone does not tell the object: most of what changes from frame to frame lies outside of its box."""
    outside = []
    for label in range(5):
        first, last = clip_of(label, 3, frames=3)[:2]
        changed = np.abs(np.int16(first.image) - np.int16(last.image)).max(axis=2) > 24
        outside.append(changed[~(first.mask | last.mask)].mean())
    assert min(outside) > 0.1


def test_garments_of_a_split_are_those_of_the_sample(monkeypatch):
    asked = []
    thing = _Stage.thing

    def listen(stage, label, index):
        asked.append(stage.cutter.gray[label, index])
        return thing(stage, label, index)

    monkeypatch.setattr(_Stage, "thing", listen)
    assets = load_assets()
    for split in ("train", "val", "test"):
        clip_of(2, 1, split=split, frames=2)
        np.testing.assert_array_equal(asked[-1], assets.gray[split][2, 1])


def test_clips_do_not_change():
    scenes = clip_of(9, 1, split="test", size=96, frames=4)
    assert [scene.box for scene in scenes] == GOLDEN_BOXES
    np.testing.assert_allclose(scenes[-1].image.mean(axis=(0, 1)), GOLDEN_COLOUR, atol=0.5)


def test_videos_show_the_frames_and_their_boxes_have_numbers(written, tmp_path):
    pytest.importorskip("av")
    made = write_clips(tmp_path / "videos", counts=FEW, frames=FRAMES, size=SIZE, videos=True)
    assert sorted(each.name for each in (made / "val/bag").iterdir()) == ["0000.mp4"]
    numbered = [(row.pop("path"), int(row.pop("frame")), *row.values()) for row in rows_of(made)]
    files = [(row.pop("path"), *row.values()) for row in rows_of(written)]
    assert [(f"{path[:-4]}/{frame:04d}.jpg", *box) for path, frame, *box in numbered] == files
    with Video(made / "val/bag/0000.mp4") as video:
        pictures = [frame.picture for frame in video]
    assert len(pictures) == FRAMES
    with Image.open(written / "val/bag/0000/0002.jpg") as opened:
        difference = np.abs(np.asarray(opened, dtype=np.float32) - pictures[2])
    assert difference.mean() < 6


def test_what_cannot_be_had_is_refused(tmp_path, written):
    with pytest.raises(ConfigError, match="1 frames a clip were asked for; give 2 or more"):
        write_clips(tmp_path / "a", frames=1)
    with pytest.raises(ConfigError, match="clips: 41 items a class were asked for in val; give 0 to 40"):
        write_clips(tmp_path / "a", counts={"val": 41})
    with pytest.raises(UnknownNameError, match="split"):
        write_clips(tmp_path / "a", counts={"dev": 1})
    with pytest.raises(RunError, match="holds another sample"):
        write_clips(written, counts=FEW, frames=FRAMES, size=SIZE, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_clips_that_fail(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("boxless.data.sample.clips._keep_frames", fail)
    with pytest.raises(RunError, match="No space left on device"):
        write_clips(tmp_path / "clips", counts={"val": 1}, frames=2)
    assert list(tmp_path.iterdir()) == []


class Telling(Listener):
    def __init__(self):
        self.tasks = []

    def begin(self, task, total, done=0):
        self.tasks.append((task, total))


def test_the_name_clips_renders_into_the_cache_once_and_reads_it_as_video(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path))
    monkeypatch.setattr("boxless.data.sample.write_clips", partial(write_clips, counts=FEW, frames=FRAMES, size=SIZE))
    listener = Telling()
    catalog = read_catalog("clips", listener=listener)
    assert catalog.root == tmp_path / f"clips-v{CLIPS_VERSION}"
    assert "bundled clips" in catalog.reason
    assert (catalog.format, len(catalog.classes), catalog.problems) == ("video", 10, ())
    assert {split: len(items) for split, items in catalog.splits.items()} == dict.fromkeys(FEW, 10 * FRAMES)
    assert all(item.shot is not None for item in catalog.items)
    truth = read_truth(catalog, "test")
    assert len(truth.boxes) + len(truth.absent) == 10 * FRAMES
    assert truth.absent
    assert ("rendering the clips", 30) in listener.tasks
    assert read_catalog("clips", listener=listener).items == catalog.items
    assert [task for task, _ in listener.tasks].count("rendering the clips") == 1
