"""The state of a review: order, decisions, the file that keeps them, and what is exported."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from app_tools import CLASSES, said, source

from boxless.app.review import Review, confidence_of, export
from boxless.errors import DataError, RunError, UnknownNameError
from boxless.formats import FORMATS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "saved" / "review.jsonl"


@pytest.fixture
def open_review(file: Path, tmp_path: Path):
    """Opens the review as a new process would, with the images a, b and c."""

    def opened(by: str = "d1", classes: tuple[str, ...] = CLASSES, folder: str = "/photos") -> Review:
        review = Review(file, classes, folder, by)
        review.add(source(tmp_path / "images", name) for name in ("a.png", "b.png", "c.png"))
        return review

    return opened


def test_the_least_sure_come_first_and_those_passed_over_last(open_review) -> None:
    review = open_review()
    review.saw({"a.png": 0.9, "b.png": 0.4, "c.png": 0.4})
    assert review.next() == "b.png"
    assert review.next(["b.png"]) == "c.png"
    assert review.next(["b.png", "c.png"]) == "a.png"
    assert review.next(["c.png", "b.png", "a.png"]) == "b.png"
    review.decide(said("b.png"), "rejected")
    review.refuse("c.png", "damaged")
    assert review.next() == "a.png"
    review.decide(said("a.png"), "accepted")
    assert review.next() is None


def test_confidence_is_the_least_of_what_was_said() -> None:
    assert confidence_of(said("a.png", (0, 0, 9, 9), (1, 1, 9, 9), score=0.75)) == 0.75
    sure = said("a.png", (0, 0, 9, 9), score=0.6)
    assert confidence_of(replace(sure, score=0.9)) == 0.6
    assert confidence_of(replace(sure, score=0.5)) == 0.5
    assert confidence_of(replace(sure, warning="flat")) == 0
    assert confidence_of(said("a.png")) == 0
    assert confidence_of(replace(said("a.png"), absent=True, presence=0.125)) == 0.875


def test_accepted_as_shown_keeps_boxes_scores_and_masks(open_review) -> None:
    shown = said("a.png", (1.25, 2, 30, 40), (5, 5, 9, 9.5))
    page = json.loads(json.dumps([{"xyxy": box.xyxy, "label": box.label_index} for box in shown.boxes]))
    decision = open_review().decide(shown, "accepted", page)
    assert not decision.corrected
    assert decision.prediction.boxes == shown.boxes


def test_a_corrected_box_is_the_persons_own(open_review) -> None:
    review, shown = open_review(), said("a.png", (1, 2, 30, 40), (5, 5, 9, 9))
    moved = [
        {"xyxy": [2, 2, 31, 40], "label": 0},
        {"xyxy": [5, 5, 9, 9], "label": 0},
        {"xyxy": [-3, 40, 99, 99], "label": 1},
    ]
    decision = review.decide(shown, "accepted", moved)
    assert decision.corrected
    first, second, third = decision.prediction.boxes
    assert (first.xyxy, first.score, first.mask) == ((2, 2, 31, 40), 1, None)
    assert second == shown.boxes[1]
    assert (third.xyxy, third.label, third.label_index) == ((0, 40, 64, 48), CLASSES[1], 1)  # inside the image
    progress = review.progress()
    assert (progress.accepted, progress.corrected, progress.rejected, progress.left) == (1, 1, 0, 2)


def test_the_images_class_follows_its_boxes(open_review) -> None:
    review, shown = open_review(), said("a.png", (1, 2, 30, 40))
    other = review.decide(shown, "accepted", [{"xyxy": [1, 2, 30, 40], "label": 1}]).prediction
    assert (other.label, other.label_index, other.score) == (CLASSES[1], 1, 1)
    assert review.decide(shown, "accepted", []).prediction.label_index == 0


@pytest.mark.parametrize(
    "boxes",
    [
        "no list",
        [{"xyxy": [1, 2, 3], "label": 0}],
        [{"xyxy": [1, 2, 30, 40]}],
        [{"xyxy": [1, 2, 30, 40], "label": 2}],
        [{"xyxy": [1, 2, 30, 40], "label": -1}],
        [{"xyxy": [1, 2, float("nan"), 40], "label": 0}],
        [{"xyxy": [1, 2, 1e999, float("inf")], "label": 0}],
        [{"xyxy": [1, 2, 1.5, 40], "label": 0}],
        [{"xyxy": [30, 2, 1, 40], "label": 0}],
        [{"xyxy": [70, 2, 90, 40], "label": 0}],
        [{"xyxy": [1, 2, 30, 40], "label": None}],
        [None],
        [{"xyxy": [1, 2, 30, 40], "label": 0}] * 1001,
    ],
)
def test_boxes_that_cannot_be_are_refused_and_nothing_is_kept(open_review, file: Path, boxes) -> None:
    review = open_review()
    with pytest.raises(DataError, match=r"^a\.png: "):
        review.decide(said("a.png"), "accepted", boxes)
    assert review.progress().accepted == 0
    assert not file.exists()


def test_images_and_verdicts_that_are_none_are_refused(open_review) -> None:
    with pytest.raises(DataError, match="no image of this review"):
        open_review().decide(said("../a.png"), "accepted")
    with pytest.raises(DataError, match="expected one of accepted, rejected"):
        open_review().decide(said("a.png"), "perhaps")


def test_a_page_that_is_closed_loses_nothing(open_review) -> None:
    review = open_review()
    review.saw({"a.png": 0.9, "b.png": 0.5, "c.png": 0.7})
    review.decide(said("a.png", (1, 2, 30, 40)), "accepted", [{"xyxy": [1, 2, 33, 40], "label": 1}])
    review.decide(said("b.png"), "rejected")
    again = open_review()
    assert again.progress() == review.progress()
    assert again.decision("a.png").corrected
    assert list(again.accepted()) == list(review.accepted())
    assert again.next() == "c.png"
    assert again.unseen() == []


def test_undo_takes_back_one_decision_after_the_other_also_of_an_earlier_day(open_review) -> None:
    review = open_review()
    review.decide(said("a.png"), "accepted")
    review.decide(said("b.png"), "accepted")
    review.decide(said("a.png"), "rejected")
    assert review.undo() == "a.png"
    again = open_review()
    assert again.decision("a.png").verdict == "accepted"
    assert again.undo() == "b.png"
    assert again.undo() == "a.png"
    assert again.undo() is None
    assert open_review().progress().left == 3


def test_another_run_looks_anew_and_decisions_stay(open_review) -> None:
    review = open_review()
    review.saw({"a.png": 0.9, "b.png": 0.5})
    review.decide(said("a.png"), "accepted")
    other = open_review(by="d2")
    assert other.progress().accepted == 1
    assert [each.name for each in other.unseen()] == ["b.png", "c.png"]
    assert other.confidence("b.png") is None


def test_a_torn_line_costs_that_decision_alone(open_review, file: Path) -> None:
    review = open_review()
    review.decide(said("a.png"), "accepted")
    review.decide(said("b.png"), "accepted")
    file.write_bytes(file.read_bytes()[:-5])
    again = open_review()
    assert (again.decision("a.png").verdict, again.decision("b.png")) == ("accepted", None)
    again.decide(said("c.png"), "rejected")
    assert open_review().progress().left == 1


def test_a_record_killed_within_its_first_line_starts_afresh(open_review, file: Path) -> None:
    open_review().decide(said("a.png"), "accepted")
    file.write_bytes(file.read_bytes()[:20])
    review = open_review()
    review.decide(said("b.png"), "accepted")
    assert [each.name for each in open_review().accepted()] == ["b.png"]


def test_a_full_disk_is_said_and_the_decision_does_not_count(open_review, monkeypatch: pytest.MonkeyPatch) -> None:
    review = open_review()
    review.decide(said("a.png"), "accepted")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(RunError, match=r"No space left.*Decisions made before are safe"):
            review.decide(said("b.png"), "accepted")
    assert review.decision("b.png") is None
    review.decide(said("c.png"), "rejected")
    again = open_review()
    assert [again.decision(name) is not None for name in ("a.png", "b.png", "c.png")] == [True, False, True]


@pytest.mark.parametrize(
    ("other", "word"), [({"classes": ("x", "y")}, "classes"), ({"folder": "/elsewhere"}, "folder of images")]
)
def test_the_review_of_other_classes_or_another_folder_is_left_alone(open_review, file: Path, other, word: str) -> None:
    open_review().decide(said("a.png"), "accepted")
    before = file.read_bytes()
    with pytest.raises(RunError, match=f"another {word}.*--save-to"):
        open_review(**other)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "rubbish",
        "[]",
        '{"name": "a.png"}',
        '{"undo": "a.png"}',
        '{"seen": 3, "by": "d1"}',
        '{"name":"a.png","verdict":"perhaps","corrected":false,"size":[1,1],"label":0,"score":1,"threshold":1,"boxes":[]}',
        '{"name":"a.png","verdict":"accepted","corrected":false,"size":[1],"label":0,"score":1,"threshold":1,"boxes":[]}',
        '{"name":"a.png","verdict":"accepted","corrected":false,"size":[1,1],"label":7,"score":1,"threshold":1,"boxes":[]}',
        '{"name":[],"verdict":"accepted","corrected":false,"size":[1,1],"label":0,"score":1,"threshold":1,"boxes":[[1]]}',
    ],
)
def test_a_line_that_is_none_is_named(open_review, file: Path, line: str) -> None:
    open_review().saw({"a.png": 0.5})
    with file.open("a") as record:
        record.write(line + "\n")
    with pytest.raises(RunError, match=r"review\.jsonl, line 3: not a line of a review"):
        open_review()


def test_a_file_that_is_no_record_is_left_alone(open_review, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("my notes\n")
    with pytest.raises(RunError, match="is not the record of a review, got b'my notes"):
        open_review()
    assert file.read_text() == "my notes\n"


@pytest.fixture
def reviewed(open_review) -> Review:
    review = open_review()
    review.decide(
        said("a.png", (1, 2, 30, 40)),
        "accepted",
        [{"xyxy": [1, 2, 33.5, 40], "label": 1}, {"xyxy": [1, 2, 30, 40], "label": 0}],
    )
    review.decide(said("b.png", (1, 2, 30, 40)), "rejected")
    return review


def test_pycocotools_reads_the_accepted_boxes_as_corrected(reviewed: Review, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    done = export(reviewed, ["coco"], tmp_path / "out")
    read = coco.COCO(done.files["coco"])
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["a.png"]
    found = read.loadAnns(read.getAnnIds())
    assert [each["bbox"] for each in found] == [[1, 2, 32.5, 38], [1, 2, 29, 38]]
    assert [read.cats[each["category_id"]]["name"] for each in found] == [CLASSES[1], CLASSES[0]]
    assert [each["score"] for each in found] == [1, 0.75]
    assert (done.images, done.boxes, done.missing) == (1, 2, 0)


def test_every_format_takes_what_was_accepted(reviewed: Review, tmp_path: Path) -> None:
    done = export(reviewed, list(FORMATS), tmp_path / "out")
    assert list(done.files) == list(FORMATS)
    assert all(path.exists() for path in done.files.values())
    first, second = (tmp_path / "out" / "yolo" / "labels" / "a.txt").read_text().splitlines()
    assert np.allclose([float(each) for each in first.split()], [1, 17.25 / 64, 21 / 48, 32.5 / 64, 38 / 48])
    assert second.startswith("0 ")
    assert not (tmp_path / "out" / "yolo" / "labels" / "b.txt").exists()
    assert (tmp_path / "out" / "yolo" / "images" / "a.png").is_file()


def test_an_export_without_anything_in_it_is_refused(open_review, reviewed: Review, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no format was chosen"):
        export(reviewed, [], tmp_path / "out")
    with pytest.raises(UnknownNameError, match="did you mean 'coco'"):
        export(reviewed, ["cocoo"], tmp_path / "out")
    reviewed.undo()
    reviewed.undo()
    with pytest.raises(DataError, match="nothing was accepted yet"):
        export(reviewed, ["coco"], tmp_path / "out")


def test_images_that_are_gone_are_left_out_and_counted(reviewed: Review, tmp_path: Path) -> None:
    reviewed.decide(said("c.png"), "accepted")
    (tmp_path / "images" / "a.png").unlink()
    done = export(reviewed, ["coco"], tmp_path / "out")
    assert (done.images, done.boxes, done.missing) == (1, 0, 1)
