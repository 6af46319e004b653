"""What a report's page keeps of each image: the boxes of every threshold and a small map, so that the page can redraw.

A box changes at few of the 1,000 thresholds. So the boxes of an image are rows ``since, x0, y0, x1, y1``: this box, in
cells of the map, from the threshold ``since / 1000`` on.
"""

from __future__ import annotations

import heapq
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from PIL import Image

from boxless.maps.sanity import Warnings, kinds_of
from boxless.ops.components import largest_boxes, sweep_boxes
from boxless.ops.otsu import otsu_thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.passes import Mapped
    from boxless.types import Boxes, FloatMap, Prediction

MAP_SIDE = 48  # of a map as it is shown: 3 KB of text, and smooth when it is drawn larger


@dataclass(frozen=True, slots=True)
class View:
    """What one map of an image says."""

    runs: NDArray[np.uint16]  # (n, 5) as above
    own: tuple[float, ...]  # the run's own threshold of this map, and its box there: x0, y0, x1, y1
    grid: tuple[int, int]  # (width, height) of the map
    map: NDArray[np.uint8]  # (MAP_SIDE, MAP_SIDE), of 255 its highest value

    def to_dict(self) -> dict[str, Any]:
        """As the page reads it."""
        return {"runs": _text(self.runs.astype("<u2")), "own": self.own, "grid": self.grid, "map": _text(self.map)}


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of the gallery, and what a run says of it."""

    path: Path
    name: str
    size: tuple[int, int]  # (width, height) of the upright original
    labels: tuple[int, ...]  # the true classes; empty if unknown
    truth: Boxes
    first: int  # the class that was named
    score: float  # its probability
    warning: str | None  # of the named class's map: a name in `boxless.maps.sanity.KINDS`
    views: tuple[View, ...]  # of the true class, and of the named class if that is another

    def answer(self) -> dict[str, Any]:
        """What the run says, as the page reads it."""
        views = [view.to_dict() for view in self.views]
        return {"first": self.first, "score": round(self.score, 4), "warning": self.warning, "views": views}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture, as the page reads it."""
        truth = [[round(edge, 2) for edge in box] for box in self.truth.tolist()]
        return {"name": self.name, "size": self.size, "labels": self.labels, "truth": truth, "answers": [self.answer()]}


@final
class Gallery:
    """Watches an evaluation; of however many images it keeps ``count``, drawn by their names.

    Args:
        threshold: The run's rule: ``otsu``, or a fraction of each map's maximum.
        count: Images that are kept.
        multi_label: Whether classes are scored each on its own.
    """

    def __init__(self, threshold: str | float, count: int, *, multi_label: bool = False) -> None:
        self.threshold, self.count, self.multi_label = threshold, count, multi_label
        self.seen = 0
        self.confusion: Counter[tuple[int, int]] = Counter()  # (true, named) of images with one class
        self.warnings = Warnings()
        self._kept: list[tuple[int, int, Shown]] = []  # a heap: the last that would be drawn comes first

    def __call__(self, mapped: Mapped, truth: Sequence[Boxes]) -> None:
        """A batch of an evaluation, with the true boxes of its images."""
        first = mapped.logits.argmax(1)
        scores = _probabilities(mapped.logits, self.multi_label)[np.arange(len(first)), first]
        warnings = kinds_of(mapped.named.maps, None if isinstance(self.threshold, str) else self.threshold)
        for i, item in enumerate(mapped.items):
            if len(item.labels) == 1:
                self.confusion[item.labels[0], int(first[i])] += 1
            maps = [mapped.maps[i]]
            if not np.array_equal(mapped.maps[i], mapped.named.maps[i]):
                maps.append(mapped.named.maps[i])
            self._add(
                maps,
                path=item.path,
                name=item.name,
                size=mapped.sizes[i],
                labels=item.labels,
                truth=truth[i],
                first=int(first[i]),
                score=float(scores[i]),
                warning=warnings[i],
            )

    def add(self, prediction: Prediction) -> None:
        """An image of which no class is known, predicted with its map."""
        maps = [np.zeros((1, 1), np.float32) if prediction.map is None else prediction.map]
        self._add(
            maps,
            path=prediction.path,
            name=prediction.name,
            size=prediction.size,
            labels=(),
            truth=np.zeros((0, 4)),
            first=prediction.label_index,
            score=prediction.score,
            warning=prediction.warning,
        )

    def images(self) -> list[Shown]:
        """What was kept, in the order in which it was drawn."""
        return [shown for *_, shown in sorted(self._kept, key=lambda kept: (-kept[0], -kept[1]))]

    def _add(self, maps: Sequence[FloatMap], name: str, warning: str | None, **facts: Any) -> None:
        """Keep the image if it is drawn; a name alone decides, so that two runs keep the same."""
        self.seen += 1
        self.warnings.add(name, warning)
        place = (-_draw(name), -self.seen)
        if len(self._kept) >= self.count and place < self._kept[0][:2]:
            return
        views = tuple(_view(each, self.threshold) for each in maps)
        heapq.heappush(self._kept, (*place, Shown(name=name, warning=warning, views=views, **facts)))
        if len(self._kept) > self.count:
            heapq.heappop(self._kept)


def _view(values: FloatMap, threshold: str | float) -> View:
    swept = sweep_boxes(values)
    changed = np.flatnonzero(np.r_[True, (np.diff(swept.boxes, axis=0) != 0).any(axis=1)])
    runs = np.concatenate([changed[:, None], swept.boxes[changed]], axis=1).astype(np.uint16)
    own = otsu_thresholds(values[None]) if isinstance(threshold, str) else np.array([threshold])
    box = largest_boxes(values[None], own)[0][0]
    small = Image.fromarray(values.astype(np.float32)).resize((MAP_SIDE, MAP_SIDE), Image.Resampling.BOX)
    levels = np.rint(np.asarray(small) * (255 / max(float(values.max()), 1e-6))).astype(np.uint8)
    return View(runs, (round(float(own[0]), 4), *map(int, box)), (values.shape[1], values.shape[0]), levels)


def _probabilities(logits: NDArray[np.float64], multi_label: bool) -> NDArray[np.float64]:
    if multi_label:
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _draw(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _text(values: NDArray[Any]) -> str:
    return b64encode(values.tobytes()).decode()
