"""``boxes.csv`` of videos, and folders of frames: what val and test are given, and what is true there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxless.data.catalog import Catalog, read_catalog, read_truth
from boxless.data.images import read_image
from boxless.errors import DataError, MissingTruthError
from boxless.types import Shot

Clip = Any
Tree = Any

HEADER = "path,frame,x0,y0,x1,y1"


def film(count: int, colour: tuple[int, int, int]) -> list[np.ndarray]:
    return [np.full((16, 32, 3), colour, np.uint8) for _ in range(count)]


@pytest.fixture
def clips(clip: Clip) -> Path:
    """Two clips of 30 frames in train and two in test; of the latter 15 are kept."""
    for split in ("train", "test"):
        clip(f"{split}/a/1.mp4", film(30, (160, 0, 0)))
        root: Path = clip(f"{split}/b/1.mp4", film(30, (0, 0, 160)))
    return root


def write(root: Path, *lines: str, header: str = HEADER) -> Path:
    (root / "boxes.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root


def names(catalog: Catalog, split: str, video: str) -> list[str]:
    return [item.name.removeprefix(video + "/") for item in catalog.splits[split] if item.name.startswith(video + "/")]


def refused(root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_catalog(root, **settings)
    return str(caught.value)


def test_without_boxes_test_has_eight_frames_of_a_shot_and_train_all(clips: Path) -> None:
    catalog = read_catalog(clips)
    assert names(catalog, "train", "train/a/1.mp4") == [f"{2 * number:06d}.jpg" for number in range(15)]
    assert names(catalog, "test", "test/a/1.mp4") == [f"{2 * number:06d}.jpg" for number in (0, 2, 4, 6, 8, 10, 12, 14)]
    with pytest.raises(MissingTruthError, match="path,frame,x0,y0,x1,y1"):
        read_truth(catalog, "test")


def test_with_boxes_test_has_the_frames_that_they_name_and_those_of_other_videos(clips: Path) -> None:
    write(clips, "test/a/1.mp4,7,1,2,9,8.5", "test/a/1.mp4,7,3,3,5,5", "test/a/1.mp4,4,,,,", "train/b/1.mp4,5,1,2,3,4")
    catalog = read_catalog(clips)
    assert names(catalog, "test", "test/a/1.mp4") == ["000004.jpg", "000007.jpg"]
    assert len(names(catalog, "test", "test/b/1.mp4")) == 8
    assert "train/b/1.mp4/000005.jpg" not in {item.name for item in catalog.splits["train"]}
    assert len(names(catalog, "train", "train/b/1.mp4")) == 15
    assert all(item.path.is_file() for item in catalog.items)
    truth = read_truth(catalog, "test")
    assert {name: boxes.tolist() for name, boxes in truth.boxes.items()} == {
        "test/a/1.mp4/000007.jpg": [[1, 2, 9, 8.5], [3, 3, 5, 5]]
    }
    assert truth.absent == {"test/a/1.mp4/000004.jpg"}
    assert truth.source == str(clips / "boxes.csv")


def test_without_split_folders_the_same_holds_of_what_is_held_out(clip: Clip) -> None:
    lines = []
    for label, colour in (("a", (160, 0, 0)), ("b", (0, 0, 160))):
        for number in range(5):
            root = clip(f"{label}/{number}.mp4", film(30, colour))
            lines.append(f"{label}/{number}.mp4,9,1,2,3,4")
    catalog = read_catalog(write(root, *lines))
    held = [item for split in ("val", "test") for item in catalog.splits[split]]
    assert held
    assert {Path(item.name).name for item in held} == {"000009.jpg"}
    assert len(catalog.splits["train"]) == 15 * (10 - len(held))
    assert "000009.jpg" not in {Path(item.name).name for item in catalog.splits["train"]}
    assert read_truth(catalog, "val").boxes.keys() == {item.name for item in catalog.splits["val"]}


def test_frames_may_be_named_as_items_are_called(clips: Path) -> None:
    write(clips, "test/a/1.mp4/000007.jpg,1,2,9,8", header="path,x0,y0,x1,y1")
    catalog = read_catalog(clips)
    assert names(catalog, "test", "test/a/1.mp4") == ["000007.jpg"]
    assert read_truth(catalog, "test").boxes.keys() == {"test/a/1.mp4/000007.jpg"}


def test_boxes_are_upright_as_the_frames_are(clip: Clip) -> None:
    turned = film(3, (0, 0, 0))
    for picture in turned:
        picture[:8, 16:] = 255  # the upper right, which is the upper left once it is turned against the clock
    for split in ("train", "test"):
        clip(f"{split}/a/1.mp4", turned, rotation=90)
        root = clip(f"{split}/b/1.mp4", film(3, (90, 90, 90)))
    catalog = read_catalog(write(root, "test/a/1.mp4,1,0,0,8,16"))
    ((name, boxes),) = read_truth(catalog, "test").boxes.items()
    (item,) = [item for item in catalog.items if item.name == name]
    picture, size = read_image(item.path)
    assert size == (16, 32)
    left, top, right, bottom = boxes[0].astype(int)
    light = np.asarray(picture.convert("L")) > 128
    assert light[top:bottom, left:right].mean() > 0.9
    assert light.sum() < 1.2 * (right - left) * (bottom - top)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "test/a/1.mp4,30,1,2,3,4",
            "a box for frame 30 of 'test/a/1.mp4', which has 30 frames that can be decoded, 0 to",
        ),
        ("test/a/2.mp4,3,1,2,3,4", "'test/a/2.mp4', which is no video of these data; give the path relative to"),
        ("test/a/1.mp4,,1,2,3,4", "which is a video of these data; say which frame of it in a column 'frame'"),
        ("test/a/x.jpg,,1,2,3,4", "which is no frame of these data"),
        ("test/a/1.mp4,x,1,2,3,4", "the frame is 'x'; expected its number, a whole one from 0"),
        ("test/a/1.mp4,-1,1,2,3,4", "the frame is '-1'"),
        ("test/a/1.mp4,1.0,1,2,3,4", "the frame is '1.0'"),
    ],
)
def test_lines_that_name_no_frame_are_refused_by_their_number(line: str, said: str, clips: Path) -> None:
    message = refused(write(clips, "test/a/1.mp4,0,1,2,3,4", line))
    assert message.startswith(f"{clips / 'boxes.csv'}:3: ")
    assert said in message


def test_boxes_are_looked_at_only_when_they_are_asked_for(clips: Path) -> None:
    catalog = read_catalog(write(clips, "test/a/1.mp4,3,9,9,1,1", "train/b/1.mp4,3,,2,3,4"))
    with pytest.raises(DataError, match=r"boxes\.csv:2: the box 9,9,1,1 is inverted"):
        read_truth(catalog, "test")
    write(clips, "train/b/1.mp4,3,,2,3,4")
    with pytest.raises(DataError, match=r"boxes\.csv:2: a box must be four numbers"):
        read_truth(catalog, "test")


def test_boxes_beyond_the_break_of_a_damaged_video_say_so(clip: Clip) -> None:
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        clip(f"{split}/a/1.mkv", [draws.integers(0, 60, (16, 32, 3), dtype=np.uint8) for _ in range(60)])
        root = clip(f"{split}/b/1.mkv", film(3, (90, 90, 90)))
    path = root / "test" / "a" / "1.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(write(root, "test/a/1.mkv,55,1,2,3,4"))
    assert "frame 55 of 'test/a/1.mkv', which has" in message
    assert "(it ends at" in message


def test_boxes_of_a_video_that_is_left_out_are_left_out_with_it(clips: Path) -> None:
    (clips / "test" / "a" / "no.mp4").touch()
    catalog = read_catalog(write(clips, "test/a/no.mp4,3,1,2,3,4", "test/a/1.mp4,3,1,2,3,4"))
    assert "videos are left out: " in "\n".join(catalog.problems)
    assert read_truth(catalog, "test").boxes.keys() == {"test/a/1.mp4/000003.jpg"}


def test_folders_of_frames_are_shots_in_the_order_of_their_numbers(tree: Tree) -> None:
    frames = [f"cat/c/{number}.png" for number in (10, 9, 2, 1)]
    root = tree(*frames, "dog/d/shot-10/1.png", "dog/d/shot-9/1.png", "dog/e/001.png", "dog/e/1/001.png")
    catalog = read_catalog(root, format="video")
    assert catalog.problems[0] == (
        "classes with one video only can hardly be learned, and none can be held out for val and test: 'cat'"
    )
    found = {(item.name, item.shot) for item in catalog.items}
    order = [item.name for item in catalog.items if item.name.startswith("cat")]
    assert order == ["cat/c/1.png", "cat/c/2.png", "cat/c/9.png", "cat/c/10.png"]
    assert found == {(name, Shot("cat/c", 0)) for name in frames} | {
        ("dog/d/shot-9/1.png", Shot("dog/d", 0)),
        ("dog/d/shot-10/1.png", Shot("dog/d", 1)),
        ("dog/e/001.png", Shot("dog/e", 0)),
        ("dog/e/1/001.png", Shot("dog/e", 1)),
    }
    assert all(item.path == root / item.name for item in catalog.items)


def test_folders_of_frames_and_files_may_be_mixed_and_have_boxes_of_both_kinds(clips: Path, tree: Tree) -> None:
    tree(*(f"test/a/frames/{number:04d}.png" for number in range(20)), folder="clips")
    catalog = read_catalog(clips)
    assert catalog.format == "video"
    assert len(names(catalog, "test", "test/a/frames")) == 8
    write(clips, "test/a/1.mp4,3,1,2,3,4", "test/a/frames/0011.png,,0,0,2,2", "test/a/frames/0003.png,,,,,")
    catalog = read_catalog(clips)
    assert names(catalog, "test", "test/a/frames") == ["0003.png", "0011.png"]
    truth = read_truth(catalog, "test")
    assert truth.boxes.keys() == {"test/a/1.mp4/000003.jpg", "test/a/frames/0011.png"}
    assert truth.absent == {"test/a/frames/0003.png"}
    message = refused(write(clips, "test/a/frames,3,0,0,2,2"))
    assert "which is a folder of frames of these data; give the file of the frame as the path, and no number" in message
    assert "which is no frame of these data" in refused(write(clips, "test/a/frames/0020.png,,0,0,2,2"))


def test_pseudo_boxes_of_frames_need_no_sizes(clips: Path) -> None:
    from boxless.data.box_files import read_box_file

    catalog = read_catalog(clips)
    name = catalog.splits["test"][3].name
    file = clips.parent / "pseudo.csv"
    file.write_text(f"path,x0,y0,x1,y1\n{name},1,2,9,8\n")
    pictures = {item.name: item.path for item in catalog.splits["test"]}
    given = read_box_file(file, images=clips, pseudo=True, pictures=pictures)
    assert given.sizes == {name: (32, 16)}
    with pytest.raises(DataError, match="there is no image"):
        read_box_file(file, images=clips, pseudo=True)


def test_masks_are_no_class_and_are_found_by_the_frames_names(clips: Path, tree: Tree) -> None:
    from boxless.data.masks import read_masks

    tree("masks/test/a/1.mp4/000004.png", folder="clips")
    catalog = read_catalog(clips)
    assert catalog.classes == ("a", "b")
    masks = read_masks(catalog, "test")
    assert masks is not None
    assert masks.names == ("test/a/1.mp4/000004.jpg",)


def test_images_that_lie_in_no_folder_of_frames_are_no_videos(tree: Tree) -> None:
    root = tree("cat/1.png", "dog/1.png", "dog/2.png")
    message = refused(root, format="video")
    assert "no video was found, but 3 images that lie directly in class folders (cat/1.png, dog/1.png, dog/2" in message
    assert "leave out --format video" in message
    assert "no class folders, but files that lie in none (1.png)" in refused(tree("1.png", folder="x"), format="video")
    assert "no video was found, no files" in refused(tree(folder="nothing"), format="video")


def test_images_that_look_like_frames_are_said_to_be_so_by_the_folder_format(tree: Tree) -> None:
    frames = [f"{label}/clip {clip}/{number:04d}.png" for label in "ab" for clip in range(6) for number in range(3)]
    catalog = read_catalog(tree(*frames))
    assert catalog.format == "folder"
    (said,) = [each for each in catalog.problems if "--format video" in each]
    assert (
        "such as a/clip 0/0000.png: if these are frames of videos, --format video treats each folder as a shot" in said
    )
    assert not any("--format video" in each for each in read_catalog(tree("a/x.png")).problems)
    named = tree(
        *(f"{label}/{place}/{name}.png" for label in "ab" for place in "xy" for name in "pqrs"), folder="named"
    )
    assert not any("--format video" in each for each in read_catalog(named).problems)
