from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes tiny images at the given paths below a folder, and gives the folder."""

    def write(*names: str, folder: str = "data") -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 3), (200, 30, 30)).save(path)
        (tmp_path / folder).mkdir(exist_ok=True)
        return tmp_path / folder

    return write
