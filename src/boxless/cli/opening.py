"""Showing a page that was written, where there is somebody to see it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_page(path: Path) -> None:
    """Show a page in the user's browser; where there is none nothing happens."""
    import webbrowser

    webbrowser.open(path.resolve().as_uri())


def is_watched() -> bool:
    """Whether somebody sits before this terminal and its screen: not in CI, not in a pipe, not over a plain SSH."""
    if os.environ.get("CI") or not sys.stdout.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return has_screen or sys.platform in ("darwin", "win32")
