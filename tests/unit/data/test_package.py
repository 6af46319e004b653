from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import boxless.data
from boxless.data import cache_folder


def test_every_public_name_can_be_had() -> None:
    for name in boxless.data.__all__:
        assert getattr(boxless.data, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        boxless.data.nothing  # noqa: B018


def test_reading_a_catalog_needs_no_torch() -> None:
    code = (
        "import sys; from boxless.data import read_catalog, inspect; "
        "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cache_goes_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("BOXLESS_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "boxless"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "boxless"
