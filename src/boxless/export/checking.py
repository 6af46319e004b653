"""Whether an exported model says what the run says: the same pixels through both, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.export.onnx_engine import OnnxEngine
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.engine import Engine, Said
from boxless.stream import batched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.types import FloatMap

TOLERANCE = 1e-4  # between maps, which lie in [0, 1], and between class scores relative to the largest
ONE_PIXEL = 1.0  # of the map: a pixel that lies at the threshold may fall on either side of it
CLASSES = 8  # of which maps are compared, where a model has those of all
BATCH = 8

Square = tuple[str, "NDArray[np.uint8]"]  # a name, and the image (size, size, 3)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the model is from the run on one image."""

    name: str
    classes: tuple[str, str]  # of the run and of the model
    scores: float  # largest difference of class scores, relative to the largest score or 1
    map: float  # largest difference of maps
    box: float  # largest difference of a side of the box, in pixels of the map

    @property
    def none(self) -> bool:
        """Whether they say the same."""
        same = self.classes[0] == self.classes[1] and self.box <= ONE_PIXEL
        return same and self.scores <= TOLERANCE and self.map <= TOLERANCE  # false for nan

    def row(self) -> tuple[str, ...]:
        """A line of a table; see `Parity.HEADER`."""
        return self.name, *self.classes, f"{self.scores:.1e}", f"{self.map:.1e}", f"{self.box:g} px"


@dataclass(frozen=True, slots=True)
class Parity:
    """What the comparison of a model with its run found."""

    differences: tuple[Difference, ...]  # one for each image

    HEADER = ("image", "class of the run", "of the model", "scores off by", "map off by", "box off by")

    @property
    def wrong(self) -> tuple[Difference, ...]:
        """The images on which they differ."""
        return tuple(each for each in self.differences if not each.none)

    @property
    def largest_map(self) -> float:
        """The largest difference of maps; nan if one is."""
        return float(np.max([each.map for each in self.differences]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        images = self.differences
        return {
            "images": len(images),
            "largest_map_difference": self.largest_map,
            "largest_score_difference": float(np.max([each.scores for each in images])),
            "same_class": sum(each.classes[0] == each.classes[1] for each in images),
            "same_box": sum(each.box <= ONE_PIXEL for each in images),
            "same_box_to_the_pixel": sum(each.box == 0 for each in images),
            "tolerance": TOLERANCE,
        }


def compare(run: Engine, model: OnnxEngine, squares: Iterable[Square]) -> Parity:
    """Both on the same images, in batches, of which the last may be smaller; a model's box is that of its own mask."""
    return Parity(tuple(each for batch in batched(iter(squares), BATCH) for each in _compared(run, model, batch)))


def _compared(run: Engine, model: OnnxEngine, batch: Sequence[Square]) -> list[Difference]:
    images = np.stack([image for _, image in batch])
    ours, outputs = run.forward(images), model.outputs(images)
    labels = outputs["label"]
    distances = np.abs(ours.maps[:, 0] - _of_label(outputs["maps"], labels)).max((1, 2))
    if model.facts.maps == "all":
        distances = np.maximum(distances, _of_several(run, model, images))
    theirs = _boxes_of_masks(_of_label(outputs["mask"], labels))
    boxes = boxes_of(run, ours)
    scale = np.maximum(np.abs(ours.logits).max(1), 1)
    scores = np.abs(ours.logits - outputs["logits"]).max(1) / scale
    return [
        Difference(
            name,
            (run.classes[int(ours.classes[i, 0])], run.classes[int(labels[i])]),
            float(scores[i]),
            float(distances[i]),
            float(np.abs(boxes[i] - theirs[i]).max()),
        )
        for i, (name, _) in enumerate(batch)
    ]


def _of_several(run: Engine, model: OnnxEngine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The largest difference (b,) between maps of the first classes, predicted or not."""
    count = min(len(run.classes), CLASSES)
    classes = np.tile(np.arange(count), (len(images), 1))
    ours, theirs = run.forward(images, classes).maps, model.forward(images, classes).maps
    return np.asarray(np.abs(ours - theirs).max((1, 2, 3)))


def boxes_of(engine: Engine, said: Said) -> NDArray[np.float64]:
    """The box (b, 4) of each image's first map, in pixels of the map, as prediction finds it."""
    maps: NDArray[np.float32] = said.maps[:, 0]
    fixed = engine.threshold
    thresholds = otsu_thresholds(maps) if isinstance(fixed, str) else np.full(len(maps), fixed)
    return largest_boxes(maps, thresholds)[0]


def _of_label(given: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    """The map or mask (b, h, w) of the predicted class, out of (b, n, h, w)."""
    if given.shape[1] == 1:
        return given[:, 0]
    return given[np.arange(len(given)), labels]


def _boxes_of_masks(masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    maps: FloatMap = masks.astype(np.float32)
    return largest_boxes(maps, np.full(len(maps), 0.5))[0]


def noise(size: int, count: int = 5) -> list[Square]:
    """Images of nothing, for where there are none: blotches of every size, from a fixed seed."""
    draws = np.random.default_rng(0)
    images: list[Square] = []
    for index in range(count):
        image = np.zeros((size, size, 3))
        for cells in (3, 9, 27):
            rough = draws.random((cells, cells, 3))
            places = np.arange(size) * cells // size
            image += rough[places][:, places]
        images.append((f"noise {index}", (image / 3 * 255).astype(np.uint8)))
    return images
