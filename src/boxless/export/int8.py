"""A smaller model: weights of 8 bits, by onnxruntime's dynamic quantisation, and what that costs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxless.export.checking import boxes_of
from boxless.export.onnx_engine import OnnxEngine
from boxless.export.pictures import Seen
from boxless.ops.boxes import iou, scale
from boxless.predict.engine import Engine
from boxless.stream import batched

RIGHT = 0.5  # the IoU from which a box is right
OPERATORS = ("Conv", "MatMul", "Gemm")
FEWEST = 4  # inputs of a convolution whose weights are quantised


def quantize(source: Path, target: Path) -> None:
    """Write the model in ``source`` with weights in 8 bits; activations become so at each pass, from their range.

    Convolutions of few inputs keep their weights: the first of a network, and those of each channel by itself. They are
    a small part of a file, and with them half of what is lost in accuracy and in speed.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    inputs = {each.name: each.dims[1] for each in model.graph.initializer if len(each.dims) == 4}
    kept = [n.name for n in model.graph.node if n.op_type == "Conv" and inputs.get(n.input[1], 0) < FEWEST]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises its own developers
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QUInt8,  # the only one that onnxruntime's integer convolution takes
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=kept,
        )
    finally:
        logging.root.setLevel(level)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model is worth on labelled images; None where nothing is known to compare with."""

    classes_right: float | None  # per cent of the images whose class is known
    boxes_right: float | None  # per cent of those with true boxes: IoU at least 0.5 with one of them
    images_per_second: float  # of the model alone, without decoding
    megabytes: float


@dataclass(frozen=True, slots=True)
class Cost:
    """A model beside the smaller one made of it."""

    images: int
    full: Measured
    small: Measured
    same_class: float  # per cent
    mean_iou: float  # of the boxes of both

    HEADER = ("", "float32", "int8")

    def rows(self) -> list[tuple[str, str, str]]:
        """For a table."""
        pairs = {
            "class right": (self.full.classes_right, self.small.classes_right, " %"),
            "box right (IoU at least 0.5)": (self.full.boxes_right, self.small.boxes_right, " %"),
            "images a second": (self.full.images_per_second, self.small.images_per_second, ""),
            "size": (self.full.megabytes, self.small.megabytes, " MB"),
        }
        rows = [
            (name, f"{full:.1f}{unit}", f"{small:.1f}{unit}")
            for name, (full, small, unit) in pairs.items()
            if full is not None and small is not None
        ]
        return [
            *rows,
            ("same class as float32", "", f"{self.same_class:.1f} %"),
            ("IoU with its boxes, mean", "", f"{self.mean_iou:.3f}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def cost(full: OnnxEngine, small: OnnxEngine, seen: Sequence[Seen]) -> Cost:
    """Both models on the same images, in turns."""
    first, second = _Run(full), _Run(small)
    for batch in batched(seen, full.batch_size):
        images = np.stack([each.square for each in batch])
        first.take(images)
        second.take(images)
    same = np.array(first.labels) == np.array(second.labels)
    overlaps = [float(iou(a[None], b[None])[0, 0]) for a, b in zip(first.boxes, second.boxes, strict=True)]
    return Cost(
        len(seen), first.measured(seen), second.measured(seen), 100 * float(same.mean()), float(np.mean(overlaps))
    )


class _Run:
    """What a model said of the images so far, and how long it took."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.engine: Engine = engine
        self.megabytes = engine.file.stat().st_size / 1e6
        self.labels: list[int] = []
        self.boxes: list[np.ndarray[Any, np.dtype[np.float64]]] = []  # in pixels of the map
        self._seconds: list[float] = []  # for each image
        engine.forward(np.zeros((1, engine.size, engine.size, 3), np.uint8))  # the first pass makes its plans

    def take(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        began = time.perf_counter()
        said = self.engine.forward(images)
        self._seconds.append((time.perf_counter() - began) / len(images))
        self.labels += said.classes[:, 0].tolist()
        self.boxes += list(boxes_of(self.engine, said))

    def measured(self, seen: Sequence[Seen]) -> Measured:
        classes = self.engine.classes
        known = [(classes[label], each.picture.labels) for label, each in zip(self.labels, seen, strict=True)]
        right = [name in labels for name, labels in known if labels]
        found = []
        for box, each in zip(self.boxes, seen, strict=True):
            if each.picture.boxes is not None:
                here = scale(box[None], (self.engine.size, self.engine.size), each.size)
                found.append(bool((iou(here, each.picture.boxes) >= RIGHT).any()))
        return Measured(_per_cent(right), _per_cent(found), 1 / float(np.median(self._seconds)), self.megabytes)


def _per_cent(right: Sequence[bool]) -> float | None:
    return 100 * float(np.mean(right)) if right else None
