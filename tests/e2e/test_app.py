"""``boxless app`` as a user types it; what the page does is tested in ``tests/unit/app``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from boxless.app.desk import Desk


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page as it was served, until it would wait for the user's Ctrl-C."""
    pages: list[str] = []

    def look(desk: Desk) -> None:
        desk.see_all()
        name = desk.look()["name"]
        pages.append(name)
        desk.decide({"name": name, "verdict": "accepted"})

    monkeypatch.setattr(Desk, "wait", look)
    return pages


def test_the_page_is_served_and_goes_on_the_next_time(
    boxless: Any, run: Path, shapes: Path, tmp_path: Path, stopped: list[str]
) -> None:
    pytest.importorskip("gradio")
    arguments = ("app", run, shapes / "test", "--save-to", tmp_path / "review", "--no-open")
    first = boxless(*arguments)
    assert first.code == 0, first.err
    assert "http://127.0.0.1:" in first.out
    assert "1 accepted (0 corrected), 0 rejected, 8 left." in first.out
    assert "WARNING" not in first.err
    second = boxless(*arguments, "--json")
    assert second.json["images"] == 9
    assert Path(second.json["decisions"]).read_text().count('"accepted"') == 2
    assert len(set(stopped)) == 2


def test_an_address_that_others_reach_is_warned_of(
    boxless: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setattr(Desk, "wait", lambda desk: None)
    done = boxless("app", run, "--save-to", tmp_path / "review", "--no-open", "--host", "127.0.0.2")
    assert done.code == 0, done.err
    assert "WARNING: --host 127.0.0.2 lets EVERYONE" in done.err


def test_a_port_that_is_taken_is_said(boxless: Any, run: Path, tmp_path: Path) -> None:
    import socket

    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = boxless("app", run, "--save-to", tmp_path / "review", "--no-open", "--port", port)
    assert done.code == 2
    assert f"127.0.0.1, port {port}: cannot listen there" in done.err


def test_a_folder_that_is_not_there_and_gradio_that_is_not_there_are_said(
    boxless: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = boxless("app", run, tmp_path / "nothing", "--save-to", tmp_path / "review", "--no-open")
    assert done.code == 2
    assert "there is no such folder of images" in done.err
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = boxless("app", run, "--save-to", tmp_path / "review", "--no-open")
    assert done.code == 2
    assert "pip install 'boxless[app]'" in done.err
