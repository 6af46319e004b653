from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

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


Clip = Callable[..., Path]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """Writes a tiny video at a path below a folder, and gives the folder; frames go to a cache of the test's own."""
    av = pytest.importorskip("av")
    monkeypatch.setenv("BOXLESS_CACHE", str(tmp_path / "cache"))

    def write(
        name: str, pictures: list[Any], times: list[float] | None = None, *, rotation: int = 0, folder: str = "clips"
    ) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "10", "g": "5", "preset": "ultrafast"})
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
            stream.codec_context.thread_count = 1
            if rotation:
                stream.set_display_rotation(rotation)
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = round(1000 * (times[number] if times else number / 10))
                frame.time_base = Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return tmp_path / folder

    return write
