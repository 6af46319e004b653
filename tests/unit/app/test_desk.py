"""What the page is answered, without a page."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from app_tools import CLASSES, ColourEngine

from boxless.app.desk import Desk
from boxless.errors import ConfigError
from boxless.predict.localizer import Localizer


def bomb(path: Path) -> Path:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b""))
    return path


def test_a_review_goes_from_the_least_sure_to_the_most(desk: Desk) -> None:
    assert desk.begin()["classes"] == list(CLASSES)
    shown = desk.look({})
    seen = []
    while shown["name"] is not None:
        seen.append((shown["name"], shown["boxes"][0]["score"]))
        shown = desk.decide({"name": shown["name"], "verdict": "accepted", "boxes": shown["boxes"]})
    assert [name for name, _ in seen] == ["c <i>.png", "deep/b.png", "a.png"]
    assert [score for _, score in seen] == sorted(score for _, score in seen)
    assert shown["progress"]["accepted"] == 3
    assert shown["progress"]["corrected"] == 0


def test_an_image_comes_with_pixels_map_and_boxes_of_the_original(desk: Desk) -> None:
    shown = desk.look({"name": "deep/b.png"})
    assert shown["image"].startswith("data:image/jpeg;base64,")
    assert shown["map"].startswith("data:image/png;base64,")
    assert shown["size"] == (64, 64)
    assert [(each["xyxy"], each["label"]) for each in shown["boxes"]] == [((16, 16, 32, 48), 0)]


def test_the_threshold_moves_boxes_without_another_look(desk: Desk, engine: ColourEngine) -> None:
    before = desk.look({"name": "a.png"})
    looks = engine.seen
    desk.set_options(threshold=0.9)
    after = desk.look({"name": "a.png", "boxes_only": True})
    assert before["boxes"][0]["xyxy"] == (8, 8, 40, 56)
    assert after["boxes"][0]["xyxy"] == (16, 16, 32, 48)
    assert engine.seen == looks
    assert "image" not in after
    assert "map" not in after
    with pytest.raises(ConfigError, match="threshold is 2"):
        desk.set_options(threshold=2)


def test_a_decision_is_shown_again_with_the_boxes_it_was_left_with(desk: Desk) -> None:
    desk.decide({"name": "a.png", "verdict": "accepted", "boxes": [{"xyxy": [1, 2, 30, 40], "label": 0}]})
    again = desk.look({"name": "a.png"})
    assert again["verdict"] == "accepted"
    assert [each["xyxy"] for each in again["boxes"]] == [(1, 2, 30, 40)]
    taken_back = desk.undo()
    assert (taken_back["name"], taken_back["verdict"]) == ("a.png", None)
    assert taken_back["boxes"][0]["xyxy"] == (8, 8, 40, 56)
    assert desk.undo() == {"error": "There is no decision to take back."}


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "nothing.png", "", 3, ["a.png"]])
def test_what_is_no_image_of_the_review_is_not_shown(desk: Desk, photos: Path, name: object) -> None:
    (photos.parent / "secret.png").write_bytes((photos / "a.png").read_bytes())
    for answer in (desk.look({"name": name}), desk.decide({"name": name, "verdict": "accepted"})):
        assert list(answer) == ["error"]
        assert "no image of this review" in answer["error"]


def test_requests_that_are_none_are_answered(desk: Desk) -> None:
    assert desk.look("rubbish")["name"] == "c <i>.png"
    assert desk.look({"passed": 7})["name"] == "c <i>.png"
    assert "expected one of" in desk.decide({"name": "a.png", "verdict": ["x"]})["error"]
    assert "no box" in desk.decide({"name": "a.png", "verdict": "accepted", "boxes": [7]})["error"]


def test_an_error_of_ours_shows_nothing_of_the_inside(desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/home/me/secret")

    monkeypatch.setattr(desk.review, "next", fail)
    assert desk.look({}) == {"error": "boxless failed (RuntimeError); the terminal that it runs in says more."}
    assert "/home/me/secret" in caplog.text


def test_images_that_cannot_be_read_are_passed_and_said(
    engine: ColourEngine, paint, photos: Path, tmp_path: Path
) -> None:
    paint("good.png")
    bomb(photos / "bomb.png")
    (photos / "empty.jpg").touch()
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").write_bytes((photos / "good.png").read_bytes())
    desk = Desk(Localizer(engine), photos, tmp_path / "review")
    desk.see_all()
    shown = desk.look()
    assert shown["name"] == "good.png"
    assert shown["progress"]["refused"] == 3
    reasons = "\n".join(shown["progress"]["reasons"])
    assert "60000 x 60000 pixels, more than the" in reasons
    assert "the file is empty" in reasons
    assert "leads out of the folder given" in reasons


def test_an_image_that_changed_since_it_was_seen_does_not_stop_the_review(desk: Desk, photos: Path) -> None:
    bomb(photos / "c <i>.png")
    shown = desk.look()
    assert shown["name"] == "deep/b.png"
    assert shown["progress"]["refused"] == 1
    assert "60000 x 60000" in desk.look({"name": "c <i>.png"})["error"]


def test_dropped_images_join_the_review_and_others_are_named(desk: Desk, photos: Path, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "new.png").write_bytes((photos / "a.png").read_bytes())
    names, refused = desk.take([uploads / "new.png", bomb(uploads / "bomb.png")])
    desk.close()
    assert names == ["dropped/new.png"]
    assert len(refused) == 1
    assert refused[0].startswith("bomb.png: the image has 60000 x 60000 pixels")
    assert desk.look({"name": "dropped/new.png"})["boxes"][0]["xyxy"] == (8, 8, 40, 56)
    assert list(uploads.iterdir()) == []


def test_a_network_that_fails_is_said_on_the_page(
    engine: ColourEngine, paint, photos: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    paint("a.png")
    monkeypatch.setattr(engine, "forward", fail)
    desk = Desk(Localizer(engine), photos, tmp_path / "review")
    desk.see_all()
    assert desk.progress()["progress"]["trouble"].startswith("The network failed (RuntimeError)")
    assert "out of memory" in caplog.text


def test_the_same_command_goes_on_and_looks_at_nothing_twice(desk: Desk, photos: Path, tmp_path: Path) -> None:
    shown = desk.look()
    desk.decide({"name": shown["name"], "verdict": "rejected", "boxes": []})
    engine = ColourEngine()
    again = Desk(Localizer(engine), photos, tmp_path / "review")
    again.see_all()
    assert engine.seen == 0
    assert again.look()["name"] == "deep/b.png"
    assert again.progress()["progress"]["rejected"] == 1
