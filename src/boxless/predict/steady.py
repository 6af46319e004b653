"""What a network sees in the frames of a video, steadied over time: exponential averages of scores and maps."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np

from boxless.data.shots import Cuts
from boxless.predict.engine import Said

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]


@final
class Steady:
    """Averages over time, in which what was seen ``seconds`` ago counts e times less; forgotten where the scene cuts.

    The mean is that of the frames so far, so the first frames are not drawn to zero. A map is averaged with those of
    its own class, as long as that was wanted in the frame before.

    Args:
        seconds: Above 0.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cuts = 0  # so far
        self._shares: deque[float] = deque()  # of the past in the average, of the frames that are still to be seen
        self._batch: list[float] = []  # of those being seen
        self._scene = Cuts()
        self._last: float | None = None  # time
        self._weight = 0.0  # of the past frames together
        self._scores: Scores | None = None
        self._maps: dict[int, tuple[float, NDArray[np.float32]]] = {}  # of each class: weight and average

    def expect(self, time: float, frame: NDArray[np.uint8]) -> None:
        """Tell of the next frame (h, w, 3), at its time in seconds, before it is looked at."""
        cut, share = self._scene.before(frame), 0.0
        self.cuts += cut
        if self._last is not None and not cut:
            share = float(np.exp(-max(time - self._last, 0.0) / self.seconds))
        self._last = time
        self._shares.append(share)

    def scores(self, logits: Scores) -> Scores:
        """Class scores (b, k) of the next frames, steadied."""
        self._batch = [self._shares.popleft() for _ in logits]
        steadied = np.empty_like(logits)
        for i, share in enumerate(self._batch):
            self._weight *= share
            past = logits[i] if self._scores is None else self._scores
            steadied[i] = self._scores = (self._weight * past + logits[i]) / (self._weight + 1)
            self._weight += 1
        return steadied

    def maps(self, said: Said, scores: Scores) -> Said:
        """The maps of the same frames steadied, beside their steadied scores."""
        steadied = said.maps.copy()
        for i, share in enumerate(self._batch):
            kept = {}
            for place, index in enumerate(said.classes[i].tolist()):
                weight, past = self._maps.get(index, (0.0, said.maps[i, place]))
                weight *= share
                mean = (weight * past + said.maps[i, place]) / (weight + 1)
                steadied[i, place] = np.minimum(mean, 1)  # but for the last digit it is not above
                kept[index] = weight + 1, steadied[i, place].copy()
            self._maps = kept
        return replace(said, logits=scores, maps=steadied)
