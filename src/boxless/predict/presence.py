"""Whether there is anything to find: a calibrated probability, from what the network says of an image.

A classifier names one of its classes whatever it is shown. What it says of an image without any of them is less sure
and less local, so a logistic regression on a few figures of its class scores and its map tells the two apart. It learns
from val without a true box: an image in which the run's box agrees with the pseudo-box shows something, and what lies
outside of pseudo-boxes, with some room, shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import RunError
from boxless.ops.components import largest_boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEATURES = (
    "highest class score",
    "energy",  # log of the sum of the exponentials of class scores (Liu et al., NeurIPS 2020)
    "lead over the second class",
    "entropy of the classes",
    "map's peak",
    "map's mean",
    "contrast of foreground and background",
    "area of the foreground",
    "part of it in one piece",
)


def measure(logits: Floats, maps: NDArray[np.float32], thresholds: Floats) -> Floats:
    """The figures of `FEATURES` for each image, (b, f).

    Args:
        logits: (b, k) class scores.
        maps: (b, h, w) of the predicted class, finite, in [0, 1].
        thresholds: (b,) fractions of each map's maximum.
    """
    scores = np.sort(np.asarray(logits, np.float64), axis=1)
    top = scores[:, -1]
    shifted = scores - top[:, None]
    total = np.exp(shifted).sum(1)
    shares = np.exp(shifted) / total[:, None]
    entropy = np.log(total) - (shares * shifted).sum(1)
    lead = top - scores[:, -2] if scores.shape[1] > 1 else np.zeros_like(top)
    flat = np.asarray(maps, np.float64).reshape(len(maps), -1)
    peak = flat.max(1)
    above = flat > (thresholds * peak)[:, None]
    area = above.mean(1)
    inner = np.where(above, flat, 0).sum(1) / np.maximum(above.sum(1), 1)
    outer = np.where(above, 0, flat).sum(1) / np.maximum((~above).sum(1), 1)
    _, largest = largest_boxes(maps, thresholds)
    one = largest / np.maximum(above.sum(1), 1)
    return np.stack([top, top + np.log(total), lead, entropy, peak, flat.mean(1), inner - outer, area, one], 1)


@dataclass(frozen=True, slots=True)
class Presence:
    """What tells whether there is anything to find, as the card of a run keeps it."""

    features: tuple[str, ...]
    mean: tuple[float, ...]  # of each feature in what it was learnt from
    scale: tuple[float, ...]  # standard deviation of each; 1 where it does not vary
    weights: tuple[float, ...]  # of the standardised features
    bias: float
    least: float  # the probability that `recall` of val's found objects reach
    recall: float
    positives: int  # views with an object that it was learnt from
    negatives: int  # views without
    false: float  # part of these negatives that reach `least`

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Presence:
        """From a card's mapping.

        Raises:
            RunError: It is of another version, or damaged.
        """
        try:
            row = ("features", "mean", "scale", "weights")
            made = cls(**{name: tuple(value) if name in row else value for name, value in card.items()})
            sound = made.features == FEATURES and all(len(getattr(made, name)) == len(FEATURES) for name in row)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise RunError(
                "the run's calibration of presence is damaged or of another version of boxless; make it again with "
                "boxless.predict.presence.calibrate_run(RUN)."
            )
        return made

    def to_dict(self) -> dict[str, Any]:
        """As the card keeps it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def probability(self, logits: Floats, maps: NDArray[np.float32], thresholds: Floats) -> Floats:
        """That there is something to find, (b,): arguments as of `measure`."""
        figures = (measure(logits, maps, thresholds) - self.mean) / self.scale
        return np.asarray(np.exp(-np.logaddexp(0, -(figures @ np.array(self.weights) + self.bias))))
