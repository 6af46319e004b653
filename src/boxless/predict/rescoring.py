"""Class and score of each box from the network's second look, at the box alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from boxless.data.resizing import squared
from boxless.ops.boxes import suppress
from boxless.predict.engine import Engine
from boxless.predict.multi import Found

if TYPE_CHECKING:
    from PIL import Image

    from boxless.predict.options import Options

MARGIN = 0.15  # of the box's sides, on each side: chosen on val's scenes


def rescore(engine: Engine, image: Image.Image, found: list[Found], options: Options) -> list[Found]:
    """The same objects with the class that the network sees in each alone, highest score first.

    The first look is at all objects at once: it names one class for a run that knows one class an image. The second
    is at each box with a margin around it. The score is the geometric mean of the new class's probability and the
    first look's score.

    Args:
        engine: What looks.
        image: RGB, as decoded; of any scale, since boxes are carried over from their map to it.
        found: What the first look found.
        options: ``nms`` says which of those that now have one class are left.
    """
    if not found:
        return []
    views = [np.asarray(squared(image, engine.size, view(each, image.size))) for each in found]
    looks = []
    for start in range(0, len(views), engine.batch_size):
        looks.append(engine.probabilities(engine.forward(np.stack(views[start : start + engine.batch_size])).logits))
    probabilities = np.concatenate(looks)
    again = [
        replace(each, index=int(row.argmax()), score=float(np.sqrt(row.max() * each.score)))
        for each, row in zip(found, probabilities, strict=True)
    ]
    kept = suppress(
        [each.xyxy for each in again], [each.score for each in again], options.nms, [each.index for each in again]
    )
    return [again[place] for place in kept]


def view(found: Found, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box and its margin, as far as inside the image, in pixels of an image of ``size`` (width, height)."""
    height, width = found.cells.shape
    x0, y0, x1, y1 = found.xyxy
    across, down = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    u, v = size[0] / width, size[1] / height
    return max(x0 - across, 0) * u, max(y0 - down, 0) * v, min(x1 + across, width) * u, min(y1 + down, height) * v
