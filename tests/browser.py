"""A real browser for tests of pages: the fixtures ``browser``, ``page`` and ``heard``.

The browser is Chromium of the system, or what BOXLESS_CHROMIUM names. Where there is none, tests that ask for it are
skipped; under CI they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # no page reaches the network
)
WAIT = 30_000  # milliseconds that a test waits for what it expects of a page; machines may be busy


@dataclass
class Heard:
    """What a page did that nobody sees."""

    requests: list[str] = field(default_factory=list)  # addresses, those of files and data among them
    errors: list[str] = field(default_factory=list)  # exceptions that nothing caught, and errors on the console

    def remote(self) -> list[str]:
        """The addresses that are outside of this machine."""
        own = ("file:", "data:", "blob:", "about:", "http://127.0.0.1", "http://localhost", "ws://127.0.0.1")
        return [each for each in self.requests if not each.startswith(own)]


@pytest.fixture(scope="module")  # and not for the session: while it runs no other test could use asyncio
def browser() -> Iterator[Browser]:
    """Chromium, without a window and without a network."""
    api = pytest.importorskip("playwright.sync_api", exc_type=ImportError)
    path = os.environ.get("BOXLESS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        lack = f"no browser: none of {', '.join(NAMES)} is on the PATH, and BOXLESS_CHROMIUM is not set"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lack)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def heard() -> Heard:
    """What ``page`` asks for and complains of."""
    return Heard()


@pytest.fixture
def page(browser: Browser, heard: Heard) -> Iterator[Page]:
    """An empty page of 1280 x 800 pixels, whose clipboard may be used."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on("request", lambda request: heard.requests.append(request.url))
    page.on("pageerror", lambda error: heard.errors.append(str(error)))
    page.on("console", lambda line: heard.errors.append(line.text) if line.type == "error" else None)
    yield page
    context.close()
