"""Whether a page is opened at the end of a job: only where somebody sits before a screen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from boxless.cli.opening import is_watched, open_page


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal on a screen."""
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    return monkeypatch


def test_somebody_is_there(desk: pytest.MonkeyPatch) -> None:
    assert is_watched()
    desk.delenv("DISPLAY")
    desk.setattr(sys, "platform", "darwin")
    assert is_watched()


@pytest.mark.parametrize("name", ["CI", "SSH_CONNECTION"])
def test_nobody_watches_ci_or_the_far_end_of_a_connection(desk: pytest.MonkeyPatch, name: str) -> None:
    desk.setenv(name, "1")
    assert not is_watched()


def test_nobody_watches_a_pipe_or_a_machine_without_a_screen(desk: pytest.MonkeyPatch) -> None:
    desk.delenv("DISPLAY")
    assert not is_watched()
    desk.setenv("DISPLAY", ":0")
    desk.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not is_watched()


def test_the_page_is_opened_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    open_page(tmp_path / "a page.html")
    assert opened == [(tmp_path / "a page.html").as_uri()]
