"""Where boxless keeps what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for files that can be made again; ``BOXLESS_CACHE`` moves it. It need not exist yet."""
    if chosen := os.environ.get("BOXLESS_CACHE"):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "boxless" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "boxless"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "boxless"
