"""What a network says of a batch, with the maps of all classes that boxes are wanted of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from PIL import Image

from boxless.data.resizing import squared
from boxless.predict.augment import forward
from boxless.predict.engine import Engine, Said
from boxless.predict.naming import Names
from boxless.predict.refine import refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.decoding import Decoded
    from boxless.predict.options import Options
    from boxless.predict.steady import Steady


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen in one image."""

    finite: bool
    logits: NDArray[np.float64]  # (k,) of the network's own classes
    probabilities: NDArray[np.float64]  # (k',) of the classes as they are called in the output
    classes: NDArray[np.int64]  # (n,) the network's classes whose maps these are; the first is the predicted one
    maps: NDArray[np.float32]  # (n, h, w) in [0, 1]


@final
class Look:
    """A network's look at images, as the options want it.

    Args:
        engine: The network.
        options: Which classes, how many views, and what becomes of the maps.
        names: What its classes are called in the output.
        steady: Averages over the frames of a video, before classes are chosen and maps refined.
    """

    def __init__(self, engine: Engine, options: Options, names: Names, steady: Steady | None = None) -> None:
        self.engine, self.options, self.names, self.steady = engine, options, names, steady
        self.threshold = engine.threshold if options.threshold is None else options.threshold

    def __call__(self, batch: Sequence[Decoded]) -> list[Looked]:
        """What is seen in each image."""
        squares = [np.stack(views) for views in zip(*(each.squares for each in batch), strict=True)]
        said = self._said(squares, self.steady)
        return [self._looked(said, i, squares[0][i]) for i in range(len(batch))]

    def _said(self, squares: list[NDArray[np.uint8]], steady: Steady | None) -> Said:
        if steady is None:
            return forward(self.engine, squares, self.options, self._choose)
        scores: list[NDArray[np.float64]] = []

        def choose(logits: NDArray[np.float64]) -> NDArray[np.int64]:
            scores.append(steady.scores(logits))
            return self._choose(scores[0])

        return steady.maps(forward(self.engine, squares, self.options, choose), scores[0])

    def _choose(self, logits: NDArray[np.float64]) -> NDArray[np.int64]:
        """The classes (b, n) whose maps are wanted; rows are filled up with their first."""
        probabilities = self.engine.probabilities(logits)
        rows = [self._wanted(each) for each in probabilities]
        longest = max(map(len, rows))
        return np.array([[*row, *[row[0]] * (longest - len(row))] for row in rows], np.int64)

    def _wanted(self, fine: NDArray[np.float64]) -> list[int]:
        """The network's class that stands for each class of the output that is wanted, most probable first."""
        coarse = self.names.merged(fine, multi_label=self.engine.multi_label)
        order = np.argsort(-coarse, kind="stable")
        wanted = [order[0]]
        if self.options.multi:
            wanted += [each for each in order[1:] if coarse[each] >= self.options.label_score]
        return [self.names.foremost(int(each), fine) for each in wanted]

    def _looked(self, said: Said, i: int, square: NDArray[np.uint8]) -> Looked:
        classes, first = np.unique(said.classes[i], return_index=True)
        order = np.argsort(first)
        maps = said.maps[i, first[order]]
        if self.options.refine != "none" and said.finite[i]:
            guide = np.asarray(squared(Image.fromarray(square), maps.shape[-1]))
            maps = refine(maps, guide, self.options.refine, self.threshold)
        fine = self.engine.probabilities(said.logits[i : i + 1])[0]
        return Looked(
            bool(said.finite[i]),
            said.logits[i],
            self.names.merged(fine, multi_label=self.engine.multi_label),
            classes[order],
            maps,
        )
