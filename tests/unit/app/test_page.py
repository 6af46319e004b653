"""The review page in a real browser: seen, clicked, dragged, typed; and what it exports, read back."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from app_tools import CLASSES, ColourEngine

from boxless.app.desk import Desk
from boxless.predict.localizer import Localizer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from browser import Heard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, which Gradio keeps statistics with


@pytest.fixture
def address(desk: Desk) -> Iterator[str]:
    """The review of three images, served."""
    pytest.importorskip("gradio")
    from boxless.app.page import serve

    served, address = serve(desk, host="127.0.0.1", port=None, max_mb=1, opens=False)
    yield address
    served.close(verbose=False)
    desk.close()


@pytest.fixture
def opened(page: Page, address: str) -> Page:
    """The page, with the first image on it."""
    page.goto(address)
    expect(page.locator(".bx-name")).to_have_text("c <i>.png")
    return page


def expect(found: Locator) -> Any:
    from playwright.sync_api import expect as expected

    expected.set_options(timeout=30_000)  # milliseconds; on a machine with other work Gradio takes its time
    return expected(found)


def is_shown(page: Page, name: str) -> None:
    expect(page.locator(".bx-name")).to_have_text(name)


def pull(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of the image to another, in its pixels (it has 64 x 64)."""
    frame = page.locator(".bx-stage").bounding_box()
    assert frame is not None
    (x0, y0), (x1, y1) = (
        (frame["x"] + x / 64 * frame["width"], frame["y"] + y / 64 * frame["height"]) for x, y in (start, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up()


def kept(desk: Desk, name: str) -> list[tuple[float, ...]]:
    """The boxes of a decision, to the nearest pixel."""
    decision = desk.review.decision(name)
    assert decision is not None
    return [tuple(round(edge) for edge in box.xyxy) for box in decision.prediction.boxes]


def test_a_person_looks_moves_the_slider_decides_and_exports(opened: Page, desk: Desk, heard: Heard) -> None:
    page = opened
    expect(page.locator(".bx-tag")).to_contain_text(CLASSES[1])  # names are text, and never markup
    assert page.locator(".bx b b, .bx-name i, .bx-row b").count() == 0
    expect(page.locator(".bx-count")).to_have_text("0 of 3 images · 0 accepted · 0 rejected")
    page.keyboard.press("s")  # later
    is_shown(page, "deep/b.png")
    page.keyboard.press("s")
    is_shown(page, "a.png")

    slider = page.get_by_label("range slider for Threshold")
    before = page.locator(".bx-box").bounding_box()
    slider.fill("0.9")
    expect(page.locator(".bx-facts")).to_contain_text("threshold 0.90")
    after = page.locator(".bx-box").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] / before["width"] == pytest.approx(16 / 32, abs=0.02)

    page.keyboard.press("a")  # though the slider has the focus
    is_shown(page, "c <i>.png")
    page.get_by_role("button", name="Reject R").click()
    is_shown(page, "deep/b.png")
    page.get_by_role("button", name="Accept A").click()
    expect(page.locator(".bx-empty")).to_contain_text("All 3 images are done")
    expect(page.locator(".bx-count")).to_have_text("3 of 3 images · 2 accepted · 1 rejected")

    page.get_by_label("yolo").check()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_text("2 images with 2 boxes are in:")).to_be_visible()
    written = json.loads((desk.save_to / "export" / "coco" / "predictions.json").read_text())
    assert [each["file_name"] for each in written["images"]] == ["a.png", "deep/b.png"]
    assert [each["bbox"] for each in written["annotations"]] == [[16, 16, 16, 32], [16, 16, 16, 32]]
    assert (desk.save_to / "export" / "yolo" / "data.yaml").is_file()
    assert heard.remote() == []
    assert heard.errors == []


def test_a_box_is_moved_resized_drawn_removed_and_given_a_class(opened: Page, desk: Desk) -> None:
    page = opened
    pull(page, (24, 32), (34, 22))  # moved by (10, -10): 26, 6, 42, 38
    pull(page, (42, 38), (50, 44))  # its lower right corner
    pull(page, (26, 25), (20, 25))  # its left edge
    page.get_by_label("class of box 1").select_option("0")
    pull(page, (2, 50), (12, 62))  # a new one
    expect(page.locator(".bx-box")).to_have_count(2)
    page.keyboard.press("2")  # of class 2
    pull(page, (55, 2), (62, 9))
    page.keyboard.press("Delete")
    expect(page.locator(".bx-box")).to_have_count(2)
    page.keyboard.press("n")  # and one over another, which is thrown away
    pull(page, (25, 15), (30, 30))
    expect(page.locator(".bx-box")).to_have_count(3)
    page.get_by_role("button", name="remove box 3").click()
    page.keyboard.press("a")
    is_shown(page, "deep/b.png")
    assert kept(desk, "c <i>.png") == [(20, 6, 50, 44), (2, 50, 12, 62)]
    decision = desk.review.decision("c <i>.png")
    assert decision is not None
    assert [box.label for box in decision.prediction.boxes] == list(CLASSES)
    assert [box.score for box in decision.prediction.boxes] == [1, 1]


def test_all_of_it_goes_by_keys_alone_and_on_where_it_was_left(opened: Page, desk: Desk) -> None:
    page = opened
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "Shift+ArrowDown", "Alt+ArrowLeft", "Alt+Shift+ArrowUp", "1"):
        page.keyboard.press(key)  # 17, 26, 33, 58, then 17, 26, 32, 48
    page.keyboard.press("Enter")  # means nothing
    page.keyboard.press("a")
    is_shown(page, "deep/b.png")
    assert kept(desk, "c <i>.png") == [(17, 26, 32, 48)]
    page.keyboard.press("r")
    is_shown(page, "a.png")
    page.keyboard.press("z")
    is_shown(page, "deep/b.png")
    page.keyboard.press("z")
    is_shown(page, "c <i>.png")
    expect(page.locator(".bx-count")).to_have_text("0 of 3 images · 0 accepted · 0 rejected")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    expect(page.locator(".bx-box")).to_have_count(0)
    page.keyboard.press("z")
    page.keyboard.press("z")
    page.keyboard.press("a")
    is_shown(page, "deep/b.png")
    decision = desk.review.decision("c <i>.png")
    assert decision is not None
    assert not decision.corrected
    page.keyboard.press("b")
    is_shown(page, "c <i>.png")
    expect(page.locator(".bx-verdict")).to_have_text("accepted")
    page.reload()
    is_shown(page, "deep/b.png")
    expect(page.locator(".bx-count")).to_have_text("1 of 3 images · 1 accepted · 0 rejected")


def test_dropped_images_are_shown_and_bad_ones_named(opened: Page, photos: Path, tmp_path: Path, desk: Desk) -> None:
    good, bad = tmp_path / "new <b>.png", tmp_path / "bad.png"
    good.write_bytes((photos / "a.png").read_bytes())
    bad.write_text("no image")
    opened.locator("input[type=file]").set_input_files([good, bad])
    expect(opened.get_by_text("1 added.")).to_be_visible()
    expect(opened.get_by_text("bad.png: this is not an image that boxless reads")).to_be_visible()
    expect(opened.locator(".bx-name")).to_have_text(re.compile("^dropped/new"))
    expect(opened.locator(".bx-box")).to_have_count(1)
    assert len(list((desk.save_to / "dropped").iterdir())) == 1


def test_errors_are_sentences_on_the_page(
    opened: Page, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/home/me/secret")

    large = tmp_path / "large.png"
    large.write_bytes(bytes(1024**2 + 1))
    opened.locator("input[type=file]").set_input_files(large)
    expect(opened.get_by_text(re.compile("maximum|exceeds", re.IGNORECASE)).first).to_be_visible()
    assert not (desk.save_to / "dropped").exists()
    opened.get_by_role("button", name="Export", exact=True).click()
    expect(opened.get_by_text("nothing was accepted yet")).to_be_visible()
    monkeypatch.setattr(desk.review, "decide", fail)
    opened.keyboard.press("a")
    told = "boxless failed (RuntimeError); the terminal that it runs in says more."
    expect(opened.locator(".bx-trouble")).to_have_text(told)
    is_shown(opened, "c <i>.png")
    assert "/home/me/secret" in caplog.text


def status(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, str(answer.headers.get("content-security-policy"))
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_files_are_not_served_and_other_sites_names_not_answered(address: str, photos: Path) -> None:
    assert status(address)[0] == 200
    assert status(address)[1].startswith("default-src 'self'")
    for path in (photos / "a.png", Path("/etc/passwd"), photos / ".." / "review" / "review.jsonl"):
        assert status(f"{address}gradio_api/file={path}")[0] in (403, 404)
    assert status(address, Host="evil.example")[0] == 400
    assert status(address, Origin="https://evil.example")[0] == 403
    assert status(address, Origin="null")[0] == 403
    assert status(address, Origin=address.rstrip("/"))[0] == 200


def test_with_nothing_to_look_at_the_page_says_what_to_do(page: Page, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from boxless.app.page import serve

    folder = tmp_path / "<b> & c"
    folder.mkdir()
    desk = Desk(Localizer(ColourEngine()), folder, tmp_path / "review")
    served, address = serve(desk, host="127.0.0.1", port=None, max_mb=1, opens=False)
    try:
        page.goto(address)
        expect(page.locator(".bx-empty")).to_contain_text("No image yet: drop some")
        assert page.title() == "<b> & c – boxless"
    finally:
        served.close(verbose=False)
