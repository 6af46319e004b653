"""A network whose word is known by hand: its classes are colours, its map is where the image has the colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxless.predict.engine import Engine, Said

SIDE = 32


class Colours(Engine):
    """Classes red, green and blue. A map is how far the colour stands out, a logit 10 times the part it fills."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.classes, self.threshold, self.multi_label = ("red", "green", "blue"), threshold, False
        self.size, self.any_size, self.digest = SIDE, False, "colours"
        self.selected_by, self.threshold_from, self.presence = "", "", None
        self.batch_size, self.beside = 2, False

    def forward(self, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None) -> Said:
        values = images.astype(np.float64) / 255
        maps = np.clip(values - values.min(3, keepdims=True), 0, 1).transpose(0, 3, 1, 2).astype(np.float32)
        logits = 10.0 * maps.mean((2, 3))
        chosen = logits.argmax(1)[:, None] if classes is None else classes
        picked = np.take_along_axis(maps, chosen[:, :, None, None], 1)
        return Said(logits, chosen, picked, np.ones(len(images), np.bool_))
