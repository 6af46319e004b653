"""A run whose boxes are known by hand: its map is the brightness of the image, its class the brighter half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from boxless.types import Localization

SIZE = 32


class BrightnessMethod:
    """Map: the mean of the channels. Class 1 if the mean of the map is above 1/2, else class 0, with logits 0 and 1."""

    backbone = SimpleNamespace(any_size=True)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fail_at: BaseException | None = None
        self.fail_after = 10**9  # batches

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        if len(self.batches) >= self.fail_after and self.fail_at is not None:
            raise self.fail_at
        self.batches.append(len(images))
        maps = images.mean(1, keepdim=True)
        bright = maps.mean((1, 2, 3)) > 0.5
        logits = torch.stack([(~bright).float(), bright.float()], 1)
        return Localization(logits, maps, logits.argmax(1, keepdim=True))


class Squash:
    """The network sees the image at SIZE x SIZE, in [0, 1]."""

    size = SIZE
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class FakeRun:
    method: BrightnessMethod
    preprocess: Squash
    classes: tuple[str, ...] = ("dark", "hell – 明るい")
    threshold: str | float = 0.5
    multi_label: bool = False
    digest: str = "d1"
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


@pytest.fixture
def run() -> FakeRun:
    return FakeRun(BrightnessMethod(), Squash())


@pytest.fixture
def paint(tmp_path: Path) -> Callable[..., Path]:
    """Save a black image with one white box under ``tmp_path / "photos"``."""

    def save(
        name: str,
        size: tuple[int, int] = (64, 64),
        box: tuple[int, int, int, int] | None = (16, 16, 32, 48),
        orientation: int | None = None,
    ) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", size)
        if box is not None:
            image.paste((255, 255, 255), box)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
        image.save(path, exif=exif, **options)
        return path

    return save
