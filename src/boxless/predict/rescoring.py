"""Class, score and edges of each box from the network's second look, at the box alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from boxless.data.resizing import squared
from boxless.ops.boxes import suppress
from boxless.ops.otsu import otsu_thresholds
from boxless.ops.peaks import basins
from boxless.predict.engine import Engine, Said
from boxless.predict.multi import Found
from boxless.predict.presence import Presence

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from boxless.predict.options import Options

_WHOLE = 1.0  # prominence at which no component is parted


def rescore(engine: Engine, image: Image.Image, found: list[Found], options: Options) -> list[Found]:
    """The same objects as the network sees each alone, highest score first.

    The first look is at all objects at once: of a run that knows one class an image it names one class for all, and
    what is small in the image is small in the map. The second is at each box, cut out and enlarged as training's
    images are. Its class is the object's; its map gives the box its edges; its score is the class's probability, times
    the probability that there is anything at all where the run is calibrated to tell (`boxless.predict.presence`).
    An object whose own map is empty keeps its edges, and one that is not finite stays as it was.

    Args:
        engine: What looks.
        image: RGB, as decoded; of any scale, since boxes are carried over from their map to it.
        found: What the first look found.
        options: ``threshold`` cuts the new maps; ``min_area`` and ``nms`` say which boxes are left.
    """
    looks = _Looks(engine, options)
    again: list[Found] = []
    for start in range(0, len(found), engine.batch_size):
        chunk = found[start : start + engine.batch_size]
        views = [np.asarray(squared(image, engine.size, _view(each, image.size))) for each in chunk]
        again += looks(chunk, engine.forward(np.stack(views)))
    again = [each for each in again if _area(each) >= options.min_area * each.cells.size]
    boxes, scores = [each.xyxy for each in again], [each.score for each in again]
    return [again[place] for place in suppress(boxes, scores, options.nms, [each.index for each in again])]


@dataclass(frozen=True, slots=True)
class _Looks:
    """What second looks make of what was found."""

    engine: Engine
    options: Options

    def __call__(self, found: list[Found], said: Said) -> list[Found]:
        """Each object of a batch, with what the network said of its box alone."""
        maps, cut = said.maps[:, 0], self.options.threshold
        cut = self.engine.threshold if cut is None else cut
        cuts = otsu_thresholds(maps) if cut == "otsu" else np.full(len(maps), float(cut))
        probabilities = self.engine.probabilities(said.logits)
        indices = said.classes[:, 0]
        scores = probabilities[np.arange(len(indices)), indices]
        if self.engine.presence:
            scores = scores * Presence.of(self.engine.presence).probability(said.logits, maps, cuts)
        return [
            _seen_alone(each, int(indices[i]), float(scores[i]), maps[i], float(cuts[i])) if said.finite[i] else each
            for i, each in enumerate(found)
        ]


def _seen_alone(found: Found, index: int, score: float, values: NDArray[np.float32], threshold: float) -> Found:
    """An object with the class, score and largest component of its own map (s, s)."""
    parts = basins(values, threshold, _WHOLE)
    if not len(parts.areas):
        return replace(found, index=index, score=score)
    largest = int(parts.areas.argmax())
    x0, y0, x1, y1 = found.xyxy
    sides = np.array([x1 - x0, y1 - y0] * 2) / np.array([*values.shape[::-1]] * 2)
    box = parts.boxes[largest] * sides + np.array([x0, y0, x0, y0])
    cells = np.zeros_like(found.cells)
    rows = np.floor((np.arange(cells.shape[0]) + 0.5 - y0) / sides[1]).astype(np.int64)
    columns = np.floor((np.arange(cells.shape[1]) + 0.5 - x0) / sides[0]).astype(np.int64)
    down = (rows >= 0) & (rows < values.shape[0])
    across = (columns >= 0) & (columns < values.shape[1])
    cells[np.ix_(down, across)] = (parts.labels == largest + 1)[np.ix_(rows[down], columns[across])]
    if not cells.any():  # thinner than a pixel of the first map
        return replace(found, index=index, score=score)
    left, top, right, bottom = box.tolist()
    return Found((left, top, right, bottom), index, score, cells)


def _view(found: Found, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box in pixels of an image of ``size`` (width, height)."""
    height, width = found.cells.shape
    x0, y0, x1, y1 = found.xyxy
    across, down = size[0] / width, size[1] / height
    return x0 * across, y0 * down, min(x1 * across, size[0]), min(y1 * down, size[1])


def _area(found: Found) -> float:
    x0, y0, x1, y1 = found.xyxy
    return (x1 - x0) * (y1 - y0)
