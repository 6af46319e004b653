"""A network of a few lines, whose boxes and confidences are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from boxless.ops.run_lengths import encode
from boxless.predict.engine import Engine, Said
from boxless.predict.sources import Source
from boxless.types import Box, Prediction

CLASSES = ("blue", "<b>red</b>")
SIZE = 64


class ColourEngine(Engine):
    """Map: the brightest channel. Class: of the most red or most blue pixel, with logits 0 and 4 (red - blue)."""

    classes = CLASSES
    threshold = 0.5
    multi_label = False
    size = SIZE
    any_size = False
    digest = "d1"
    selected_by = "nothing"
    threshold_from = "nothing"
    presence = None
    batch_size = 8
    beside = False

    def __init__(self) -> None:
        self.seen = 0  # images

    def forward(self, images: np.ndarray, classes: np.ndarray | None = None) -> Said:
        self.seen += len(images)
        values = images.astype(np.float64) / 255
        redness = (values[..., 0] - values[..., 2]).reshape(len(images), -1)
        strongest = np.take_along_axis(redness, abs(redness).argmax(1)[:, None], 1)[:, 0]
        logits = np.stack([np.zeros(len(images)), 4 * strongest], 1)
        classes = logits.argmax(1)[:, None] if classes is None else classes
        maps = np.repeat(values.max(3).astype(np.float32)[:, None], classes.shape[1], 1)
        return Said(logits, classes.astype(np.int64), maps, np.ones(len(images), bool))


def said(name: str = "a.png", *boxes: tuple[float, float, float, float], score: float = 0.75) -> Prediction:
    """A prediction of class 0."""
    found = tuple(Box(each, CLASSES[0], 0, score, encode(np.ones((48, 64), bool))) for each in boxes)
    return Prediction(Path(name), name, (64, 48), CLASSES[0], 0, score, found, 0.5)


def source(folder: Path, name: str) -> Source:
    """An image file that is there."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 48)).save(folder / name)
    return Source(folder / name, name)
