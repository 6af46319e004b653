"""A review of pictures whose boxes and confidences are known by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests of this folder share

from app_tools import SIZE, ColourEngine

from boxless.app.desk import Desk
from boxless.predict.localizer import Localizer

Paint = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def paint(photos: Path) -> Paint:
    """Save a black image with a rectangle of one colour, and around it a dimmer one."""

    def save(
        name: str,
        colour: tuple[int, int, int] = (255, 0, 0),
        box: tuple[int, int, int, int] = (16, 16, 32, 48),
        dimmer: tuple[int, int, int, int] | None = None,
        size: tuple[int, int] = (SIZE, SIZE),
    ) -> Path:
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", size)
        if dimmer is not None:
            image.paste((0, 160, 0), dimmer)
        image.paste(colour, box)
        image.save(path)
        return path

    return save


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def desk(engine: ColourEngine, paint: Paint, photos: Path, tmp_path: Path) -> Desk:
    """Three images, of which the network is the less sure the later they come, and which it has seen."""
    paint("a.png", (255, 0, 0), dimmer=(8, 8, 40, 56))
    paint("deep/b.png", (0, 0, 180))
    paint("c <i>.png", (255, 0, 150))
    desk = Desk(Localizer(engine), photos, tmp_path / "review")
    desk.see_all()
    return desk
