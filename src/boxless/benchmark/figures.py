"""Figures of a method's runs: of all seeds together, with intervals, and compared on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError
from boxless.metrics.bootstrap import Difference, Tally, paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TITLES = {
    "box_accuracy": "box accuracy",
    "mean_iou": "mean IoU",
    "class_accuracy": "class accuracy",
    "top1_localization": "top-1 localization",
}
"""Figures at the run's own threshold, by key: accuracies in per cent at IoU 0.5, mean IoU as a fraction."""
FRACTIONS = ("mean_iou",)
ORACLE = "oracle_box_accuracy"
DASH = "–"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What is known of each image, of one run on one split.

    Args:
        names: Of the images, n of them, in any order.
        figures: By the keys of `TITLES`, (n,), in the figure's unit; nan where an image takes no part.
        right: (n, t) 100 where the box is right at a threshold of a sweep and 0 where not; rows of nan without a box.
        videos: Of each image its video, by which the bootstrap draws; none of plain images.
    """

    names: tuple[str, ...]
    figures: Mapping[str, Floats]
    right: Floats
    videos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds, the 95 % interval of the bootstrap (over images, or videos), and how the seeds scatter."""

    value: float
    low: float
    high: float
    deviation: float | None  # standard deviation over seeds; None of one seed
    seeds: int

    def text(self, digits: int) -> str:
        """Mean and standard deviation over seeds where there are several, else the interval."""
        if math.isnan(self.value):
            return DASH
        if self.deviation is not None:
            return f"{self.value:.{digits}f} ± {self.deviation:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; what no image gave is null."""
        plain = {key: None if math.isnan(value) else value for key, value in self._values().items()}
        return {**plain, "deviation_over_seeds": self.deviation, "seeds": self.seeds}

    def _values(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Runs of several seeds as one: each image counts with its mean over seeds.

    So an interval is over images, for just these seeds; how figures scatter over seeds stands beside it.
    """

    scores: tuple[Scores, ...]
    tally: Tally

    def figure(self, key: str) -> Figure:
        """A figure of all seeds."""
        if key == ORACLE:
            each = [_best(np.nanmean(one.right, axis=0)) if _known(one.right) else math.nan for one in self.scores]
        else:
            each = [
                float(np.nanmean(one.figures[key])) if _known(one.figures[key]) else math.nan for one in self.scores
            ]
        found = self.tally.estimate(lambda means: self._statistic(means, key))
        deviation = float(np.std(each, ddof=1)) if len(each) > 1 else None
        return Figure(found.value, found.low, found.high, deviation, len(each))

    def less(self, other: Together, key: str) -> Difference:
        """How much a figure of these runs is above that of others on the same images.

        Raises:
            DataError: The images are not the same.
        """
        return paired(
            other.tally,
            self.tally,
            lambda means: other._statistic(means, key),
            lambda means: self._statistic(means, key),
        )

    def _statistic(self, means: Mapping[str, NDArray[Any]], key: str) -> Any:
        if key != ORACLE:
            return means[key][..., 0]
        return sum(means[f"right {number}"].max(-1) for number in range(len(self.scores))) / len(self.scores)


def put_together(scores: Sequence[Scores], replicates: int = 1000) -> Together:
    """Runs of several seeds as one.

    Raises:
        DataError: They were measured on different images.
    """
    first, *rest = scores
    names = sorted(first.names)
    if any(sorted(each.names) != names for each in rest):
        raise DataError(
            "seeds: the runs were measured on different images; mend what one of them refused, and evaluate again."
        )
    aligned = [_sorted(each) for each in scores]
    tally = Tally(replicates)
    fields = {key: np.mean([each.figures[key] for each in aligned], axis=0)[:, None] for key in TITLES}
    fields |= {f"right {number}": each.right for number, each in enumerate(aligned)}
    tally.update(names, fields, aligned[0].videos or None)
    return Together(tuple(aligned), tally)


def _sorted(scores: Scores) -> Scores:
    order = np.argsort(np.array(scores.names))
    figures = {key: values[order] for key, values in scores.figures.items()}
    videos = tuple(scores.videos[i] for i in order) if scores.videos else ()
    return Scores(tuple(scores.names[i] for i in order), figures, scores.right[order], videos)


def _known(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _best(curve: Floats) -> float:
    return float(curve.max())
