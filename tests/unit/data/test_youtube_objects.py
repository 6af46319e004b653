"""YouTube-Objects in the layouts of its two releases, by small folders made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.sources.youtube_objects import VALIDATION
from boxless.data.truth import read_truth
from boxless.errors import DataError
from boxless.types import Shot

WIDTH, HEIGHT = 40, 30
Corners = tuple[float, float, float, float]


def frame(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(path)


def sticks(path: Path, *boxes: Sequence[float]) -> None:
    """The boxes of a frame of v1."""
    cells = np.empty((1, len(boxes)), dtype=object)
    for place, box in enumerate(boxes):
        cells[0, place] = np.array([box], dtype=np.float64)
    savemat(path.with_name(path.name + "_sticks.mat"), {"coor": cells}, appendmat=False)


def names(catalog: Catalog, split: str) -> list[str]:
    return [item.name for item in catalog.splits[split]]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """v1 with two classes; boat has three videos to learn from, 3 and 6 of which are of the published val."""
    root = tmp_path / "v1"
    lists = {"boat": (("0001", "0003", "0006"), ("0002",)), "cow": (("0002", "0005"), ("0001",))}
    for label, (train, test) in lists.items():
        (root / label / "sets").mkdir(parents=True)
        (root / label / "sets" / "train.txt").write_text("".join(f"{each}\n" for each in train))
        (root / label / "sets" / "test.txt").write_text("# comment\n" + "".join(f"{each}\n" for each in test))
        for video in (*train, *test):
            for shot in ("001", "010"):
                for number in (1, 2, 11):
                    frame(root / label / "data" / video / "shots" / shot / f"frame{number:04d}.jpg")
            sticks(root / label / "data" / video / "shots" / "010" / "frame0002.jpg", (1.5, 2.25, 20.5, 12.75))
    (root / "boat/data/0001/shots/005").mkdir()
    (root / "code").mkdir()
    return root


def test_v1_is_recognised_and_split_by_its_lists_and_the_published_val(first: Path) -> None:
    catalog = read_catalog(first)
    assert (catalog.format, catalog.reason) == (
        "youtube_objects",
        "it is YouTube-Objects v1, by its sets/train.txt",
    )
    assert catalog.classes == ("boat", "cow")
    assert names(catalog, "val") == [f"{each}/shots/010/frame0002.jpg" for each in VAL_OF_V1]
    assert names(catalog, "test") == [f"{each}/shots/010/frame0002.jpg" for each in ("boat/data/0002", "cow/data/0001")]
    assert [item.labels for item in catalog.splits["test"]] == [(0,), (1,)]


VAL_OF_V1 = ("boat/data/0003", "boat/data/0006", "cow/data/0005")


def test_v1_trains_on_whole_shots_in_time(first: Path) -> None:
    items = read_catalog(first).splits["train"]
    assert [(item.name, item.shot) for item in items[:6]] == [
        (f"boat/data/0001/shots/{shot}/frame{number:04d}.jpg", Shot("boat/0001", place))
        for place, shot in enumerate(("001", "010"))
        for number in (1, 2, 11)
    ]
    assert len(items) == 12
    assert items[-1].shot == Shot("cow/0002", 1)


def test_v1_boxes_are_as_written_and_several_of_a_frame_are_kept(first: Path) -> None:
    sticks(first / "boat/data/0002/shots/010/frame0002.jpg", (1.5, 2.25, 20.5, 12.75), (5, 6, 7, 8))
    truth = read_truth(read_catalog(first), "test")
    boxes = truth.boxes["boat/data/0002/shots/010/frame0002.jpg"]
    np.testing.assert_array_equal(boxes, [[1.5, 2.25, 20.5, 12.75], [5, 6, 7, 8]])
    assert len(truth.boxes) == 2
    assert not truth.absent


def test_v1_sides_that_are_exchanged_or_outside_of_the_frame_are_mended(first: Path) -> None:
    path = first / "boat/data/0002/shots/010/frame0002.jpg"
    sticks(path, (30, 4, 10, 9), (-3, -1.5, WIDTH + 5, HEIGHT + 2.5))
    boxes = read_truth(read_catalog(first), "test").boxes["boat/data/0002/shots/010/frame0002.jpg"]
    np.testing.assert_array_equal(boxes, [[10, 4, 30, 9], [0, 0, WIDTH, HEIGHT]])


def test_val_never_takes_the_only_video_of_a_class_and_says_that_it_is_small(first: Path) -> None:
    (first / "cow/sets/train.txt").write_text("0005\n")
    catalog = read_catalog(first)
    assert not any(name.startswith("cow") for name in names(catalog, "val"))
    assert any(name.startswith("cow/data/0005") for name in names(catalog, "train"))
    assert any("val has fewer videos" in each and "cow (0 of 5)" in each for each in catalog.problems)
    assert any("standing in neither train.txt nor test.txt" in each and "0002" in each for each in catalog.problems)


def test_the_published_val_of_v1_has_five_videos_of_each_of_ten_classes() -> None:
    assert len(VALIDATION) == 10
    assert all(len(set(videos)) == 5 for videos in VALIDATION.values())


def remove_shots(root: Path) -> None:
    (root / "boat/data/0003").rename(root / "boat/data/0099")


def remove_list(root: Path) -> None:
    (root / "cow/sets/test.txt").unlink()


def list_twice(root: Path) -> None:
    (root / "cow/sets/test.txt").write_text("0001\n0002\n")


def list_a_word(root: Path) -> None:
    (root / "cow/sets/test.txt").write_text("# cows\nvideo1\n")


def remove_frame(root: Path) -> None:
    (root / "cow/data/0001/shots/010/frame0002.jpg").unlink()


def only_test(root: Path) -> None:
    (root / "cow/sets/train.txt").write_text("")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_shots, r"train\.txt:2: there is no folder .*boat/data/0003/shots; unpack boat\.tar\.gz"),
        (remove_list, r"cow/sets/test\.txt: cannot be read"),
        (list_twice, r"test\.txt:2: video 0002 stands in .*train\.txt:1 too"),
        (list_a_word, r"test\.txt:2: expected the number of a video, such as 0001, got 'video1'"),
        (remove_frame, r"frame0002\.jpg_sticks\.mat: boxes of a frame that is not there"),
        (only_test, r"class 'cow' is in test but not in train"),
    ],
)
def test_v1_that_is_not_whole_is_refused_with_its_place(
    first: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(first)
    with pytest.raises(DataError, match=message):
        read_catalog(first)


def test_v1_boxes_that_are_damaged_are_refused_with_their_place(first: Path) -> None:
    catalog = read_catalog(first)
    path = first / "cow/data/0001/shots/010/frame0002.jpg"
    file = path.with_name(path.name + "_sticks.mat")
    for boxes, message in (
        (((1, 2, 3),), "box 1: expected rows of 4 numbers"),
        (((1, 2, 9, 9), (1, 2, float("nan"), 4)), "box 2: a box must be four numbers"),
        (((-9, 2, -1, 9),), "box 1: the box .* is inverted or empty"),
    ):
        sticks(path, *boxes)
        with pytest.raises(DataError, match=rf"sticks\.mat: {message}"):
            read_truth(catalog, "test")
    savemat(file, {"other": np.ones(4)}, appendmat=False)
    with pytest.raises(DataError, match="has no variable 'coor'"):
        read_truth(catalog, "test")
    file.write_bytes(file.read_bytes()[:150])
    with pytest.raises(DataError, match=r"sticks\.mat: the variable 'coor' cannot be read"):
        read_truth(catalog, "test")


def truth_of(root: Path, label: str, split: str, boxes: dict[str, Sequence[Corners]]) -> None:
    """A ground truth of v2.2, whose numbers are small integers of any kind there."""
    structs = np.empty((1, len(boxes)), dtype=[("im", object), ("boxes", object)])
    for place, (name, rows) in enumerate(boxes.items()):
        structs[0, place] = (name, np.array(rows, dtype=np.uint16))
    variable = {"train": "bb_gtTraining", "test": "bb_gtTest"}[split]
    path = root / "GroundTruth" / label / f"{variable}_{label}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {variable: structs})


def ranges_of(root: Path, label: str, *shots: tuple[int, int, int]) -> None:
    (root / "Ranges").mkdir(exist_ok=True)
    savemat(root / "Ranges" / f"ranges_{label}.mat", {"ranges": np.array(shots, dtype=np.int32).reshape(-1, 3).T})


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """v2.2 with two classes of 12 frames: videos 1 to 5 of car, 1 and 2 of dog."""
    root = tmp_path / "v2"
    for label in ("car", "dog"):
        for number in range(1, 13):
            frame(root / label / f"{number:08d}.jpg")
    ranges_of(root, "car", (1, 3, 1), (4, 5, 2), (6, 7, 3), (8, 9, 4), (10, 10, 4), (11, 12, 5))
    truth_of(root, "car", "test", {"car00000004": [(1, 1, WIDTH, HEIGHT), (3, 4, 10, 9)]})
    truth_of(root, "car", "train", {f"car{number:08d}": [(2, 3, 20, 10)] for number in (2, 6, 9, 12)})
    ranges_of(root, "dog", (1, 6, 1), (7, 12, 2))
    truth_of(root, "dog", "train", {"dog00000002": [(5, 5, 5, 9)]})
    truth_of(root, "dog", "test", {"dog00000008": [(5, 5, 8, 9)], "dog00000007": [(1, 2, 3, 4)]})
    return root


def test_v2_is_recognised_and_its_first_three_labelled_videos_make_val(second: Path) -> None:
    catalog = read_catalog(second)
    assert catalog.reason == "it is YouTube-Objects v2.2, by its Ranges and GroundTruth"
    assert names(catalog, "val") == ["car/00000002.jpg", "car/00000006.jpg", "car/00000009.jpg"]
    assert names(catalog, "test") == ["car/00000004.jpg", "dog/00000007.jpg", "dog/00000008.jpg"]
    train = [(item.name, item.shot) for item in catalog.splits["train"]]
    assert train[:2] == [(f"car/000000{number}.jpg", Shot("car/0005", 0)) for number in (11, 12)]
    assert train[2:] == [(f"dog/0000000{number}.jpg", Shot("dog/0001", 0)) for number in range(1, 7)]
    assert [item.shot for item in catalog.splits["val"]] == [Shot(f"car/000{video}", 0) for video in (1, 3, 4)]
    assert any("dog (0 of 3)" in each and "car" not in each for each in catalog.problems)


def test_v2_boxes_count_from_one_and_the_last_pixel_in(second: Path) -> None:
    truth = read_truth(read_catalog(second), "test")
    np.testing.assert_array_equal(truth.boxes["car/00000004.jpg"], [[0, 0, WIDTH, HEIGHT], [2, 3, 10, 9]])
    np.testing.assert_array_equal(truth.boxes["dog/00000008.jpg"], [[4, 4, 8, 9]])
    assert set(read_truth(read_catalog(second), "val").boxes) == {f"car/0000000{number}.jpg" for number in (2, 6, 9)}


def test_v2_frames_that_two_shots_share_belong_to_the_first(second: Path) -> None:
    ranges_of(second, "dog", (1, 6, 1), (5, 12, 2), (7, 12, 2))
    train = {item.name: item.shot for item in read_catalog(second).splits["train"]}
    assert train["dog/00000005.jpg"] == train["dog/00000006.jpg"] == Shot("dog/0001", 0)
    assert "dog/00000009.jpg" not in train


def test_v2_videos_without_boxes_are_learned_from(second: Path) -> None:
    truth_of(second, "car", "train", {"car00000002": [(2, 3, 20, 10)]})
    catalog = read_catalog(second)
    assert names(catalog, "val") == ["car/00000002.jpg"]
    videos = {item.shot.video for item in catalog.splits["train"] if item.shot is not None}
    assert videos == {"car/0003", "car/0004", "car/0005", "dog/0001"}


def test_v2_classes_that_were_not_unpacked_are_told(second: Path) -> None:
    ranges_of(second, "cat", (1, 2, 1))
    assert any("left out: 'cat'" in each for each in read_catalog(second).problems)


def test_v2_that_is_not_whole_is_refused_with_its_place(second: Path) -> None:
    ranges_of(second, "dog", (1, 6, 1), (7, 13, 2))
    with pytest.raises(DataError, match=r"ranges_dog\.mat: shot 2, frames 7 to 13: there is no .*dog/00000013\.jpg"):
        read_catalog(second)
    ranges_of(second, "dog", (1, 6, 1), (9, 8, 2))
    with pytest.raises(DataError, match=r"ranges_dog\.mat: shot 2: expected first frame, last frame and video"):
        read_catalog(second)
    ranges_of(second, "dog", (1, 6, 1))
    with pytest.raises(DataError, match=r"bb_gtTest_dog\.mat: boxes of a frame that is in no shot, dog/00000008\.jpg"):
        read_catalog(second)
    ranges_of(second, "dog", (1, 12, 1))
    with pytest.raises(DataError, match=r"bb_gtTest_dog\.mat: .*dog/00000008\.jpg, whose video 1 .*the other split"):
        read_catalog(second)
    (second / "GroundTruth/car/bb_gtTest_car.mat").unlink()
    with pytest.raises(DataError, match=r"bb_gtTest_car\.mat: cannot be read \(No such file"):
        read_catalog(second)


def test_v2_annotations_that_are_damaged_are_refused_with_their_place(second: Path) -> None:
    file = second / "GroundTruth/dog/bb_gtTest_dog.mat"
    truth_of(second, "dog", "test", {"cat00000008": [(5, 5, 8, 9)]})
    with pytest.raises(DataError, match="expected names that begin with 'dog', got 'cat00000008'"):
        read_catalog(second)
    savemat(file, {"bb_gtTest": np.ones((1, 3))})
    with pytest.raises(DataError, match="element 1 of 'bb_gtTest' is no struct of a text and something else"):
        read_catalog(second)
    truth_of(second, "dog", "test", {"dog00000008": [(5, 5, WIDTH + 4, 9)]})
    with pytest.raises(DataError, match=r"bb_gtTest_dog\.mat: 00000008\.jpg: the box .* outside the image of 40 x 30"):
        read_truth(read_catalog(second), "test")
    file.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(DataError, match="bb_gtTest_dog"):
        read_catalog(second)
    savemat(second / "Ranges/ranges_dog.mat", {"ranges": np.ones((2, 4))})
    with pytest.raises(DataError, match=r"ranges_dog\.mat: shots: expected rows of 3 numbers"):
        read_catalog(second)


def test_another_folder_of_that_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is not YouTube-Objects"):
        read_catalog(tmp_path, format="youtube_objects")
