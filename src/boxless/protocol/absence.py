"""How well a run tells that there is nothing to find, where some images were looked at and show no object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.metrics.drawn import draw
from boxless.metrics.ranking import auroc
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.presence import Presence
from boxless.protocol.figures import ABSENT_GIVEN_BOX, AUROC_CLASS, AUROC_PRESENCE, OBJECT_KEPT_BOX
from boxless.protocol.inputs import drawn_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.engine import Engine
    from boxless.protocol.passes import Mapped

    Floats = NDArray[np.float64]

UNCALIBRATED = (
    "the run is not calibrated to tell when there is nothing to find, so that every image gets a box; see "
    "boxless.predict.presence.calibrate_run"
)


class Absence:
    """Compares images with a true box to those that were looked at and show no object; others take no part.

    A run that is calibrated (`boxless.predict.presence`) gives each image the probability that it shows anything, and
    with ``--abstain`` no box from a least one on downwards. What it does so is measured: the part of images without an
    object that get a box all the same, and that of images with one that keep theirs. How well the probability
    ranks the two kinds, whatever the least one, is its AUROC; of the predicted class's probability, which every run
    has, too.

    Args:
        absent: Names of the images without an object.
        engine: The run, which decides as in prediction.
        note: Why it is not calibrated, if it is not.
    """

    def __init__(self, absent: frozenset[str], engine: Engine, note: str = "") -> None:
        self.absent, self.engine, self.note = absent, engine, note or UNCALIBRATED
        self.presence = Presence.of(engine.presence) if engine.presence else None
        self._clusters: list[str] = []
        self._shown: list[bool] = []
        self._presence: list[float] = []
        self._probability: list[float] = []

    def update(self, mapped: Mapped, boxes: Sequence[Floats]) -> dict[str, Floats]:
        """Add a batch: its fields for the tally of all figures, in per cent, nan where an image takes no part."""
        shown = np.array([len(each) > 0 for each in boxes], np.bool_)
        absent = np.array([item.name in self.absent for item in mapped.items], np.bool_) & ~shown
        known = np.flatnonzero(shown | absent).tolist()
        self._clusters += drawn_by([mapped.items[i] for i in known])
        self._shown += shown[known].tolist()
        self._probability += self.engine.probabilities(mapped.logits[known]).max(axis=1).tolist() if known else []
        if self.presence is None:
            return {}
        maps, rule = mapped.named.maps, self.engine.threshold
        thresholds = otsu_thresholds(maps) if isinstance(rule, str) else np.full(len(maps), float(rule))
        presence = self.presence.probability(mapped.logits, maps, thresholds)
        self._presence += presence[known].tolist()
        given = 100.0 * ((presence >= self.presence.least) & (largest_boxes(maps, thresholds)[1] > 0))
        return {ABSENT_GIVEN_BOX: np.where(absent, given, np.nan), OBJECT_KEPT_BOX: np.where(shown, given, np.nan)}

    def drawn(self, replicates: int, seed: int) -> dict[str, Floats]:
        """The AUROC of each score, (1 + replicates,): of all images, then of each bootstrap replicate."""
        weights = draw(self._clusters, replicates, seed)
        scores = {AUROC_PRESENCE: self._presence if self.presence else None, AUROC_CLASS: self._probability}
        return {key: auroc(each, self._shown, weights) for key, each in scores.items() if each is not None}

    def to_dict(self) -> dict[str, Any]:
        """What the figures are of."""
        return {
            "absent": len(self._shown) - sum(self._shown),
            "with_box": sum(self._shown),
            "least_presence": self.presence.least if self.presence else None,
            "note": None if self.presence else self.note,
        }
