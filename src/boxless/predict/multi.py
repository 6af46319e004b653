"""Several boxes in one image: the parts of each class's map, each with a score of its own.

Nothing here imports torch, so that an exported model predicts without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boxless.ops.boxes import suppress
from boxless.ops.peaks import Basins, basins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.options import Options

PROMINENCE = (
    0.1  # of a peak above the valley to a higher one, as a fraction of the map's maximum: chosen on val's scenes
)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One object in a map."""

    xyxy: tuple[float, float, float, float]  # half-open, in pixels of the map
    index: int  # of the class
    score: float  # in [0, 1]
    cells: NDArray[np.bool_]  # (h, w) the pixels of the map that are the object's


def find_several(
    maps: NDArray[np.float32],
    classes: Sequence[int] | NDArray[np.int64],
    probabilities: Sequence[float] | NDArray[np.float64],
    thresholds: Sequence[float] | NDArray[np.float64],
    options: Options,
) -> list[Found]:
    """The objects of one image, highest score first.

    An object is a part of a map's foreground around a peak of its own (`boxless.ops.peaks`). Its score is the class's
    probability times its peak, as a fraction of the map's maximum: what a map shows more weakly is less likely there.

    Args:
        maps: (n, h, w) of n classes, finite, in [0, 1].
        classes: (n,) their indices.
        probabilities: (n,) that the image shows the class.
        thresholds: (n,) fractions of each map's maximum.
        options: ``nms``, ``max_boxes`` and ``min_area`` say which are left.
    """
    cells = maps.shape[1] * maps.shape[2]
    least = int(np.ceil(options.min_area * cells))
    parts = [basins(values, float(cut), PROMINENCE, least) for values, cut in zip(maps, thresholds, strict=True)]
    rows = [
        (which, number, float(probability * part.peaks[number] / part.peaks[0]))
        for which, (part, probability) in enumerate(zip(parts, probabilities, strict=True))
        for number in np.flatnonzero(_areas(part.boxes) >= options.min_area * cells)
    ]
    boxes = np.array([parts[which].boxes[number] for which, number, _ in rows])
    kept = suppress(boxes, [score for *_, score in rows], options.nms, [int(classes[which]) for which, *_ in rows])
    return [
        _found(parts[which], int(number), int(classes[which]), score)
        for which, number, score in (rows[place] for place in kept[: options.max_boxes])
    ]


def _found(part: Basins, number: int, index: int, score: float) -> Found:
    x0, y0, x1, y1 = part.boxes[number].tolist()
    return Found((x0, y0, x1, y1), index, score, part.labels == number + 1)


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
