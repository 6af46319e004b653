"""Large images, looked at in overlapping tiles: each fills the network's input, and their maps become one.

A tile's map says where in the tile its class is most likely, and its highest value is near 1 in an empty tile too. So
each map counts by how likely its class is in that tile and, where the run was calibrated to tell, that there is
anything at all. And since no threshold for a map of one object suits a map of many, or of none nearly everywhere, the
run's threshold is found for each tile as for any image, and the tile's map is stretched so that it lies at one half:
foreground is where the tiles, as they count, put more than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from boxless.data.large import Large, longest_side, open_large
from boxless.errors import BoxlessError, ConfigError, DataError, MissingExtraError
from boxless.formats.records import check_name
from boxless.maps.sanity import kinds_of
from boxless.ops.boxes import clip, scale, suppress
from boxless.ops.otsu import otsu_thresholds
from boxless.ops.peaks import Basins, basins
from boxless.predict.augment import sides
from boxless.predict.boxing import Boxing
from boxless.predict.decoding import Decoded, Refused
from boxless.predict.looking import Look, Looked
from boxless.predict.masks import mask_of
from boxless.predict.mosaic import CUT, Grid, Mosaic, reduced, stretched
from boxless.predict.multi import PROMINENCE
from boxless.predict.naming import Names
from boxless.predict.sources import Source
from boxless.stream import batched
from boxless.types import Box, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.engine import Engine
    from boxless.predict.options import Options

    Floats = NDArray[np.float32]

MAP_SIDE = 2048  # cells of the longest side of a prediction's map
_WHOLE = 1.0  # prominence at which no component is parted
_DIM = 0.5  # of the highest weight of a tile: below it what a tile shows becomes weaker
_TILE = Source(Path("tile"), "tile")
_LEAST = 1e-6  # weight: above nothing


def wants_tiles(source: Source, options: Options) -> bool:
    """Whether an image is larger than the options' tile, by its header alone; no for one that cannot be read."""
    try:
        return options.tile is not None and longest_side(source.path) > options.tile
    except BoxlessError:
        return False  # what decodes it says what is wrong


def predict_tiles(engine: Engine, source: Source, options: Options) -> Prediction | Refused:
    """The prediction of one large image, with its map, whose longest side has at most `MAP_SIDE` cells.

    Memory is bounded by a tile of the image, the file's own tiles or strips, and a map of `mosaic.MOST_CELLS` cells; an
    image that is no TIFF is held whole. ``options.min_area`` and ``options.max_boxes`` are of what one tile covers.

    Args:
        engine: What looks.
        source: The file.
        options: With a ``tile``.
    """
    tiling = _Tiling(engine, options)
    try:
        check_name(source.name)
        with open_large(source.path) as image:
            return tiling.predict(source, image)
    except (ConfigError, MissingExtraError) as error:
        return Refused(source, DataError(f"{source.path}: {error}"))
    except DataError as error:
        return Refused(source, error)


@dataclass(frozen=True, slots=True)
class _Thing:
    """One object."""

    xyxy: tuple[float, float, float, float]  # pixels of the image
    index: int  # of the class of the output
    score: float
    mask: str | None


@dataclass(slots=True)
class _Tally:
    """What the tiles said in all."""

    weight: float = 0.0  # the highest of any tile
    index: int = 0  # the class of that tile
    score: float = 0.0  # its probability
    presence: float | None = None  # the highest of any tile
    failed: int = 0  # tiles with output that is not finite

    def add(self, index: int, weight: float, score: float, presence: float | None) -> None:
        """Take in what a tile says of its first class."""
        if weight > self.weight:
            self.index, self.weight, self.score = index, weight, score
        if presence is not None:
            self.presence = max(presence, self.presence or 0.0)


@final
class _Tiling:
    """A network and the options of one call."""

    def __init__(self, engine: Engine, options: Options) -> None:
        self.engine, self.options, self.names = engine, options, Names(engine.classes, options.label_map)
        self.tile = options.tile or engine.size
        self.look, self.calibrated = Look(engine, options, self.names), Boxing(engine, options, self.names).presence
        self._sides = sides(engine, options)

    def predict(self, source: Source, image: Large) -> Prediction | Refused:
        """Look at every tile, blend, and find boxes."""
        grid = Grid.of(image.size, self.tile, self.options.overlap, self.engine.size)
        mosaic, tally = Mosaic(grid), _Tally()
        try:
            for (row, column), looked in self._looks(image, grid):
                self._take(mosaic, tally, row, column, looked)
            if tally.failed:
                return Refused(source, _not_finite(source, tally.failed))
            return self._finish(source, image, mosaic, tally)
        finally:
            mosaic.close()

    def _looks(self, image: Large, grid: Grid) -> Iterator[tuple[tuple[int, int], Looked]]:
        for batch in batched(grid.tiles(), self.engine.batch_size):
            yield from zip(batch, self.look([self._view(image, grid.box(*each)) for each in batch]), strict=True)

    def _view(self, image: Large, box: tuple[float, float, float, float]) -> Decoded:
        squares = tuple(np.asarray(image.read(box, (side, side))) for side in self._sides)
        return Decoded(_TILE, image.size, squares)

    def _take(self, mosaic: Mosaic, tally: _Tally, row: int, column: int, looked: Looked) -> None:
        """What a tile says goes to the mosaic; nothing, if the options are to abstain and it shows nothing."""
        if not looked.finite:
            tally.failed += 1
            return
        thresholds = self._thresholds(looked.maps)
        presence = self._presence(looked, thresholds)
        indices = [self.names.index_of(int(each)) for each in looked.classes]
        scores = looked.probabilities[indices]
        weights = np.maximum(scores * (1.0 if presence is None else presence), _LEAST)
        tally.add(indices[0], float(weights[0]), float(scores[0]), presence)
        if self._abstains(presence):
            return
        for index, weight, values, threshold in zip(indices, weights, looked.maps, thresholds, strict=True):
            mosaic.add(row, column, index, float(weight), stretched(values, float(threshold)))

    def _presence(self, looked: Looked, thresholds: NDArray[np.float64]) -> float | None:
        if self.calibrated is None:
            return None
        return float(self.calibrated.probability(looked.logits[None], looked.maps[:1], thresholds[:1])[0])

    def _abstains(self, presence: float | None) -> bool:
        return self.options.abstain and self.calibrated is not None and (presence or 0.0) < self.calibrated.least

    def _thresholds(self, maps: Floats) -> NDArray[np.float64]:
        rule = self.look.threshold
        return otsu_thresholds(maps) if rule == "otsu" else np.full(len(maps), float(rule))

    def _finish(self, source: Source, image: Large, mosaic: Mosaic, tally: _Tally) -> Prediction:
        absent = not mosaic.classes  # each tile abstained
        shown, threshold = np.zeros(mosaic.grid.shape, np.float32), 0.0
        things: list[_Thing] = []
        for classes in [] if absent else self._together(mosaic, tally):
            blended, weights = mosaic.blend(classes), mosaic.weights(classes)
            blended *= np.minimum(weights / (_DIM * tally.weight), 1)
            things += self._things(image, mosaic, classes, blended, weights)
            if tally.index in classes:
                shown, threshold = blended, _fraction(blended)
        if self.options.multi:
            things = self._chosen(image, things)
        small = reduced(shown, MAP_SIDE)
        return Prediction(
            path=source.path,
            name=source.name,
            size=image.size,
            label=self.names.classes[tally.index],
            label_index=tally.index,
            score=tally.score,
            boxes=tuple(
                Box(each.xyxy, self.names.classes[each.index], each.index, each.score, each.mask)
                for each in things
                if each.score >= self.options.min_score
            ),
            threshold=threshold,
            map=small,
            warning=None if absent else kinds_of(small[None], np.array([threshold]))[0],
            presence=tally.presence,
            absent=absent,
        )

    def _together(self, mosaic: Mosaic, tally: _Tally) -> list[list[int]]:
        """Classes whose maps are blended into one.

        Where one class excludes the others, tiles that see an object in part may take it for another class than the
        tile beside them that sees the whole: a map for each class would cut the object in pieces.
        """
        if not self.options.multi:
            return [[tally.index]] if tally.index in mosaic.classes else []
        return [[each] for each in mosaic.classes] if self.engine.multi_label else [mosaic.classes]

    def _things(
        self, image: Large, mosaic: Mosaic, classes: list[int], blended: Floats, weights: Floats
    ) -> list[_Thing]:
        """The objects of a blended map: its parts, or the largest alone."""
        if blended.max() <= CUT:
            return []
        grid, several = mosaic.grid, self.options.multi
        tile_cells = grid.across.side * grid.down.side
        least = math.ceil(self.options.min_area * tile_cells) if several else 1
        parts = basins(blended, _fraction(blended), PROMINENCE if several else _WHOLE, least)
        scores = _means(parts, weights, blended)
        if several:
            areas = (parts.boxes[:, 2:] - parts.boxes[:, :2]).prod(1)
            large = np.flatnonzero(areas >= least)
            places = large[suppress(parts.boxes[large], scores[large], self.options.nms)][: self._most(image)]
        else:
            places = np.array([parts.areas.argmax()])
        named = np.stack([_means(parts, mosaic.weights([each]), blended) for each in classes]).argmax(0)
        corners = clip(scale(parts.boxes, grid.shape[::-1], image.size), image.size)
        found = []
        for place in places.tolist():
            mask = mask_of(blended, CUT, parts.labels == place + 1, image.size) if self.options.masks else None
            x0, y0, x1, y1 = corners[place].tolist()
            found.append(_Thing((x0, y0, x1, y1), classes[named[place]], float(scores[place]), mask))
        return found

    def _chosen(self, image: Large, things: list[_Thing]) -> list[_Thing]:
        """Of several, those that are left when the network has looked at each alone, highest score first."""
        if self.options.rescore:
            again: list[_Thing] = []
            for batch in batched(things, self.engine.batch_size):
                looks = self.look([self._view(image, each.xyxy) for each in batch])
                closer = (self._closer(*each) for each in zip(batch, looks, strict=True))
                again += [each for each in closer if each is not None]
            things = again
        if not things:
            return []
        groups = [each.index for each in things]
        kept = suppress([each.xyxy for each in things], [each.score for each in things], self.options.nms, groups)
        return [things[place] for place in kept[: self._most(image)]]

    def _closer(self, thing: _Thing, looked: Looked) -> _Thing | None:
        """An object as it looks alone, as `boxless.predict.rescoring` has it; one that has a mask keeps its edges.

        None, if the options are to abstain and alone it looks like nothing.
        """
        if not looked.finite:
            return thing
        thresholds = self._thresholds(looked.maps)
        index, presence = self.names.index_of(int(looked.classes[0])), self._presence(looked, thresholds)
        if self._abstains(presence):
            return None
        score = float(looked.probabilities[index]) * (1.0 if presence is None else presence)
        parts = basins(looked.maps[0], float(thresholds[0]), _WHOLE)
        if thing.mask is not None or not len(parts.areas):
            return replace(thing, index=index, score=score)
        x0, y0, x1, y1 = thing.xyxy
        height, width = looked.maps.shape[1:]
        edges = scale(parts.boxes[parts.areas.argmax()][None], (width, height), (x1 - x0, y1 - y0))[0]
        left, top, right, bottom = (edges + np.array([x0, y0, x0, y0])).tolist()
        return _Thing((left, top, right, bottom), index, score, None)

    def _most(self, image: Large) -> int:
        return self.options.max_boxes * math.ceil(image.size[0] / self.tile) * math.ceil(image.size[1] / self.tile)


def _fraction(blended: Floats) -> float:
    """The cut as a fraction of the map's maximum, below 1."""
    highest = float(blended.max())
    return min(CUT / highest, math.nextafter(1, 0)) if highest > 0 else 0.0


def _means(parts: Basins, weights: Floats, blended: Floats) -> NDArray[np.float64]:
    """How much the tiles count in each part, where its map is strongest above all."""
    labels = parts.labels.ravel()
    sums = np.bincount(labels, (blended * weights).ravel()), np.bincount(labels, blended.ravel())
    means: NDArray[np.float64] = sums[0][1:] / sums[1][1:]
    return means


def _not_finite(source: Source, tiles: int) -> DataError:
    return DataError(
        f"{source.path}: the network's output for {tiles} of its tiles is not finite; if this happens to many images "
        "the run's weights are broken (train again), else leave the image out."
    )
