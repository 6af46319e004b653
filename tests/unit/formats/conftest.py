"""Predictions as small as a promise allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from boxless.types import Box, Prediction

CLASSES = ("cat", 'a & <b> "c"; d', "чайка")

Make = Callable[..., Prediction]


@pytest.fixture
def classes() -> tuple[str, ...]:
    return CLASSES


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, size, boxes)`` with boxes as ``(x0, y0, x1, y1, class index, score)``."""

    def build(
        name: str = "a.jpg", size: tuple[int, int] = (333, 77), boxes: Sequence[tuple[float, ...]] = (), label: int = 0
    ) -> Prediction:
        made = tuple(Box((x0, y0, x1, y1), CLASSES[int(k)], int(k), score) for x0, y0, x1, y1, k, score in boxes)
        return Prediction(tmp_path / "images" / name, name, size, CLASSES[label], label, 0.75, made, 0.4)

    return build


@pytest.fixture
def make_file(make: Make) -> Make:
    """Like ``make``, with the image file there."""

    def build(name: str = "a.png", size: tuple[int, int] = (33, 7), **rest: object) -> Prediction:
        prediction = make(name, size, **rest)
        prediction.path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10, 200, 30)).save(prediction.path)
        return prediction

    return build
