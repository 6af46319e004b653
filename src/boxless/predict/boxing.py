"""From what a network saw in an image to boxes in pixels of the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np

from boxless.errors import ConfigError, DataError
from boxless.maps.sanity import kinds_of
from boxless.ops.boxes import clip, scale, suppress
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.decoding import Decoded, Refused
from boxless.predict.masks import cells_of, mask_of
from boxless.predict.multi import Found, find_several
from boxless.predict.presence import Presence
from boxless.predict.rescoring import rescore
from boxless.types import Box, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.engine import Engine
    from boxless.predict.looking import Looked
    from boxless.predict.naming import Names
    from boxless.predict.options import Options

_NO_CELLS = np.zeros((0, 0), np.bool_)


@final
class Boxing:
    """Makes predictions of what was seen.

    Args:
        engine: The network, which rescoring asks again, and whose threshold is taken if the options name none.
        options: How boxes are found.
        names: What the network's classes are called in the output.

    Raises:
        ConfigError: The options say to abstain, and the network was never calibrated to.
    """

    def __init__(self, engine: Engine, options: Options, names: Names) -> None:
        self.engine, self.options, self.names = engine, options, names
        self.threshold = engine.threshold if options.threshold is None else options.threshold
        self.presence = Presence.of(engine.presence) if engine.presence else None
        if options.abstain and self.presence is None:
            raise ConfigError(
                "abstain: this run was never taught what an image of nothing looks like, for it had too few "
                "pseudo-boxes of validation images; train with a larger val split, or calibrate the run with "
                "boxless.predict.presence.calibrate_run(RUN)."
            )

    def predict(self, decoded: Decoded, looked: Looked, *, keep_maps: bool) -> Prediction | Refused:
        """The prediction of one image."""
        if not looked.finite:
            return _not_finite(decoded)
        thresholds = self._thresholds(looked.maps)
        presence, absent = None, False
        if self.presence is not None:
            presence = float(self.presence.probability(looked.logits[None], looked.maps[:1], thresholds[:1])[0])
            absent = self.options.abstain and presence < self.presence.least
        boxes = () if absent else self._boxes(decoded, looked, thresholds)
        index = self.names.index_of(int(looked.classes[0]))
        kept = [each.copy() for each in looked.maps] if keep_maps else []  # a view would keep the whole batch alive
        labels = [self.names.classes[self.names.index_of(int(each))] for each in looked.classes]
        return Prediction(
            path=decoded.source.path,
            name=decoded.source.name,
            size=decoded.size,
            label=self.names.classes[index],
            label_index=index,
            score=float(looked.probabilities[index]),
            boxes=boxes,
            threshold=float(thresholds[0]),
            map=kept[0] if kept else None,
            label_maps=dict(zip(labels, kept, strict=True)) if len(kept) > 1 else {},
            warning=kinds_of(looked.maps[:1], thresholds[:1])[0],
            presence=presence,
            absent=absent,
        )

    def _thresholds(self, maps: NDArray[np.float32]) -> NDArray[np.float64]:
        return otsu_thresholds(maps) if self.threshold == "otsu" else np.full(len(maps), float(self.threshold))

    def _boxes(self, decoded: Decoded, looked: Looked, thresholds: NDArray[np.float64]) -> tuple[Box, ...]:
        found = self._several(decoded, looked, thresholds) if self.options.multi else self._one(looked, thresholds)
        cuts = thresholds * looked.maps.max((1, 2))
        made = []
        for each in found:
            if each.score >= self.options.min_score:
                index = self.names.index_of(each.index)
                box = original(np.array(each.xyxy), looked.maps.shape[1:], decoded.size)
                mask = _mask(each, looked.maps, cuts, decoded.size) if self.options.masks else None
                made.append(Box(box, self.names.classes[index], index, each.score, mask))
        return tuple(made)

    def _one(self, looked: Looked, thresholds: NDArray[np.float64]) -> list[Found]:
        boxes, areas = largest_boxes(looked.maps[:1], thresholds[:1])
        if not areas[0]:
            return []
        x0, y0, x1, y1 = boxes[0].tolist()
        index = int(looked.classes[0])
        cut = float(thresholds[0]) * float(looked.maps[0].max())
        cells = cells_of(looked.maps[0], cut, boxes[0]) if self.options.masks else _NO_CELLS
        return [Found((x0, y0, x1, y1), index, self._probability(looked, index), cells)]

    def _several(self, decoded: Decoded, looked: Looked, thresholds: NDArray[np.float64]) -> list[Found]:
        probabilities = [self._probability(looked, int(each)) for each in looked.classes]
        found = find_several(looked.maps, looked.classes, probabilities, thresholds, self.options)
        if self.options.rescore and decoded.image is not None:
            found = rescore(self.engine, decoded.image, found, self.options)
        if not found:
            return []
        groups = [self.names.index_of(each.index) for each in found]
        kept = suppress([each.xyxy for each in found], [each.score for each in found], self.options.nms, groups)
        return [found[place] for place in kept]

    def _probability(self, looked: Looked, index: int) -> float:
        return float(looked.probabilities[self.names.index_of(index)])


def _mask(found: Found, maps: NDArray[np.float32], cuts: NDArray[np.float64], size: tuple[int, int]) -> str:
    """The object's mask, from the map that it was found in: the one that is above its cut on all of its cells.

    After a second look there may be none: then the cells themselves are resized.
    """
    above = [values[found.cells].min() - cut for values, cut in zip(maps, cuts, strict=True)]
    which = int(np.argmax(above))
    if above[which] <= 0:
        return mask_of(found.cells.astype(np.float32), 0.5, found.cells, size)
    return mask_of(maps[which], float(cuts[which]), found.cells, size)


def original(
    box: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """From a box in map pixels, of a map of ``shape`` (height, width), to one in pixels of the image."""
    height, width = shape
    x0, y0, x1, y1 = clip(scale(box[None], (width, height), size), size)[0].tolist()
    return x0, y0, x1, y1


def _not_finite(decoded: Decoded) -> Refused:
    reason = (
        f"{decoded.source.path}: the network's output for it is not finite; if this happens to many images the run's "
        "weights are broken (train again), else leave the image out."
    )
    return Refused(decoded.source, DataError(reason))
