"""What noise in the boxes of val does to the epoch, threshold and run that they select (thesis, figure 4.4).

A run is looked at once in each of its epochs. What is kept of val are the boxes of its maps at each threshold, so that
any other true boxes of val, however wrong, are tried at the cost of overlaps alone; of test, what each epoch and
threshold would be worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from boxless.errors import ConfigError, DataError
from boxless.metrics.boxes import iou_curves
from boxless.ops.boxes import scale
from boxless.ops.components import sweep_batch
from boxless.protocol.noise import BOX_LEVELS, noisy_boxes, paired_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.epochs import EpochMaps
    from boxless.types import Boxes

    Floats = NDArray[np.float64]

Measure = Literal["iou", "box_accuracy"]
FIT = 0.5  # IoU of a box that counts as right
THRESHOLDS = np.arange(0, 1, 0.01)  # a hundred: a tenth of the field's, and as good to choose an epoch by
FIGURES = ("box_accuracy", "mean_iou", "max_box_accuracy")


@dataclass(frozen=True, slots=True)
class Truths:
    """The boxes of a split's images, one after the other; images without one are left out."""

    boxes: Floats  # (k, 4), in original pixels
    sizes: Floats  # (k, 2), the (width, height) of each box's image
    first: NDArray[np.int64]  # (n,), where the boxes of each image begin

    @property
    def owners(self) -> NDArray[np.int64]:
        """(k,): the image of each box."""
        counts = np.diff(np.append(self.first, len(self.boxes)))
        return np.repeat(np.arange(len(self.first)), counts)


@dataclass(frozen=True, slots=True)
class Trace:
    """One run over its epochs: boxes on val, worth on test."""

    name: str
    boxes: NDArray[np.float32]  # (e, n, t, 4): of val's maps, in original pixels
    class_accuracy: Floats  # (e,), on val in per cent
    right: Floats  # (e, t): MaxBoxAcc's curve on test in per cent, at an IoU of 0.5
    overlap: Floats  # (e, t): mean IoU on test

    def part(self, name: str, epochs: slice) -> Self:
        """Some of the epochs, such as those of one of several runs that were looked at together."""
        kept = self.boxes[epochs], self.class_accuracy[epochs], self.right[epochs], self.overlap[epochs]
        return type(self)(name, *kept)


@dataclass(slots=True)
class Tracer:
    """Gathers a trace from the batches of `boxless.protocol.epochs.look`."""

    name: str
    val: Mapping[str, Boxes]  # true boxes by image name
    test: Mapping[str, Boxes]

    def trace(self, val: Iterable[EpochMaps], test: Iterable[EpochMaps]) -> tuple[Trace, Truths]:
        """The trace, and val's true boxes in the order of the trace's images.

        Raises:
            DataError: No image of a split has a box.
        """
        boxes, seen, sizes, hits = [], [], [], []
        for batch in val:
            hits.append(batch.right)
            rows = [i for i, item in enumerate(batch.items) if len(self.val.get(item.name, ()))]
            seen += [batch.items[i].name for i in rows]
            sizes += [batch.sizes[i] for i in rows]
            boxes.append(np.stack([_boxes_of(each[rows], [batch.sizes[i] for i in rows]) for each in batch.maps]))
        right, overlap = self._worth(test)
        truths = truths_of([self.val[name] for name in seen], sizes)
        accuracy = 100.0 * np.concatenate(hits, axis=1).mean(axis=1)
        return Trace(self.name, np.concatenate(boxes, axis=1), accuracy, right, overlap), truths

    def _worth(self, test: Iterable[EpochMaps]) -> tuple[Floats, Floats]:
        curves = []
        for batch in test:
            rows = [i for i, item in enumerate(batch.items) if len(self.test.get(item.name, ()))]
            truth, sizes = [self.test[batch.items[i].name] for i in rows], [batch.sizes[i] for i in rows]
            curves.append(np.stack([iou_curves(each[rows], truth, sizes, THRESHOLDS) for each in batch.maps]))
        every = np.concatenate(curves, axis=1) if curves else np.zeros((0, 0, 0))
        if not every.shape[1]:
            raise DataError("test: no image has a true box, so nothing can be said of what a selection is worth.")
        return 100.0 * (every >= FIT).mean(axis=1), every.mean(axis=1)


def truths_of(boxes: Sequence[Boxes], sizes: Sequence[tuple[float, float]]) -> Truths:
    """Boxes of images, at least one for each, as one row.

    Raises:
        DataError: There is no image.
    """
    if not boxes:
        raise DataError("val: no image has a true box, so no noise can be put on one.")
    counts = [len(each) for each in boxes]
    return Truths(
        np.concatenate(boxes),
        np.repeat(np.array(sizes, dtype=np.float64), counts, axis=0),
        np.cumsum([0, *counts[:-1]]),
    )


def fits(trace: Trace, truths: Truths, boxes: Floats) -> tuple[Floats, Floats]:
    """How val's maps fit boxes (k, 4) that stand for the true ones: mean IoU and MaxBoxAcc's curve, (e, t) each."""
    owners, wanted = truths.owners, boxes.astype(np.float32)[:, None]
    best = [np.maximum.reduceat(paired_iou(each[owners], wanted), truths.first, axis=0) for each in trace.boxes]
    curves = np.stack(best)
    return curves.mean(axis=1, dtype=np.float64), 100.0 * (curves >= FIT).mean(axis=1)


def chosen(curves: Floats) -> tuple[int, int]:
    """The epoch and the threshold of the highest value (e, t): of equal epochs the latest, of thresholds the lowest."""
    best = curves.max(axis=1)
    epoch = len(best) - 1 - int(best[::-1].argmax())
    return epoch, int(curves[epoch].argmax())


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over runs and replicates."""

    mean: float
    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of all values."""
        every = np.asarray(values, dtype=np.float64)
        return cls(float(every.mean()), float(every.min()), float(every.max()), float(every.std()))

    def to_dict(self) -> dict[str, float]:
        """Rounded, as plain values."""
        pairs = (("mean", self.mean), ("low", self.low), ("high", self.high), ("deviation", self.deviation))
        return {name: round(value, 4) for name, value in pairs}


@dataclass(frozen=True, slots=True)
class Selected:
    """What boxes of one degree of noise select, and what that is worth on test's true boxes."""

    level: float
    overlap: float  # mean IoU of these boxes with the true ones
    accuracy: float  # per cent of them that have an IoU of 0.5 or more
    distances: tuple[int, ...]  # of each run and replicate: epochs from what the true boxes select
    figures: Mapping[str, Spread]  # one epoch of each run is selected: by the names of `FIGURES`
    best_run: Mapping[str, Spread]  # of all runs' epochs one is selected

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "level": self.level,
            "overlap_with_true_boxes": round(self.overlap, 4),
            "accuracy_of_boxes": round(self.accuracy, 2),
            "epochs_from_true": list(self.distances),
            "test": {name: each.to_dict() for name, each in self.figures.items()},
            "test_of_best_run": {name: each.to_dict() for name, each in self.best_run.items()},
        }


@dataclass(slots=True)
class _Tally:
    distances: list[int]
    each: list[tuple[float, ...]]
    best: list[tuple[float, ...]]


def study(
    traces: Sequence[Trace],
    truths: Truths,
    *,
    levels: Sequence[float] = BOX_LEVELS,
    replicates: int = 30,
    measure: Measure = "iou",
    seed: int = 0,
) -> list[Selected]:
    """Select by noisy boxes of each level, as often as asked, and tell what comes of it; the first row has no noise.

    Args:
        traces: Of one run or several, on the same images of val.
        truths: Val's true boxes.
        levels: Of `boxless.protocol.noise.noisy_boxes`.
        replicates: Draws of noisy boxes at each level; at all levels they scale the same random numbers.
        measure: Of a map's boxes against val's: mean IoU, or MaxBoxAcc, each at its best threshold.
        seed: Of the draws.

    Raises:
        ConfigError: No run, runs on other images, or no replicate.
    """
    if not traces or replicates < 1:
        raise ConfigError(f"study: got {len(traces)} runs and {replicates} replicates; it takes one of each or more.")
    if any(each.boxes.shape[1] != len(truths.first) for each in traces):
        raise ConfigError(f"study: a run was not looked at on the {len(truths.first)} images that have true boxes.")
    curve = 0 if measure == "iou" else 1
    by_true = [chosen(fits(trace, truths, truths.boxes)[curve])[0] for trace in traces]
    rows = []
    for level in (0.0, *levels):
        tally, fit = _Tally([], [], []), []
        for replicate in range(replicates if level else 1):
            boxes = noisy_boxes(truths.boxes, truths.sizes, level, np.random.default_rng([seed, replicate]))
            fit.append(paired_iou(boxes, truths.boxes))
            _select(tally, traces, by_true, [fits(trace, truths, boxes)[curve] for trace in traces])
        agreement = np.stack(fit)
        rows.append(
            Selected(
                level,
                float(agreement.mean()),
                100.0 * float((agreement >= FIT).mean()),
                tuple(tally.distances),
                _spreads(tally.each),
                _spreads(tally.best),
            )
        )
    return rows


def around(traces: Sequence[Trace]) -> dict[str, Any]:
    """What there was to win or lose: test's figures of other ways to take an epoch, as the mean over the runs.

    MaxBoxAcc of the best epoch on test is an ORACLE, as each MaxBoxAcc's threshold is.
    """
    peaks = [trace.right.max(axis=1) for trace in traces]
    by_class = [each[_latest(trace.class_accuracy)] for each, trace in zip(peaks, traces, strict=True)]
    columns = {
        "worst epoch": [each.min() for each in peaks],
        "mean of epochs": [each.mean() for each in peaks],
        "last epoch": [each[-1] for each in peaks],
        "class accuracy": by_class,
        "ORACLE best epoch": [each.max() for each in peaks],
    }
    return {name: round(float(np.mean(values)), 3) for name, values in columns.items()}


def _select(tally: _Tally, traces: Sequence[Trace], by_true: Sequence[int], curves: Sequence[Floats]) -> None:
    """Add what one draw of boxes selects, given how each run's maps fit them."""
    picks = [chosen(each) for each in curves]
    worths = [worth(trace, *pick) for trace, pick in zip(traces, picks, strict=True)]
    tally.distances += [epoch - true for (epoch, _), true in zip(picks, by_true, strict=True)]
    tally.each += worths
    tally.best.append(worths[int(np.argmax([each.max() for each in curves]))])


def worth(trace: Trace, epoch: int, threshold: int) -> tuple[float, float, float]:
    """Test's `FIGURES` of an epoch: box accuracy in per cent and mean IoU at that threshold, then MaxBoxAcc."""
    right, overlap = trace.right[epoch], trace.overlap[epoch]
    return float(right[threshold]), float(overlap[threshold]), float(right.max())


def _spreads(rows: Sequence[tuple[float, ...]]) -> dict[str, Spread]:
    return {name: Spread.of([row[i] for row in rows]) for i, name in enumerate(FIGURES)}


def _latest(figures: Floats) -> int:
    """The place of the highest; of equals the last."""
    return len(figures) - 1 - int(figures[::-1].argmax())


def _boxes_of(maps: NDArray[np.float32], sizes: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """(b, t, 4) in original pixels."""
    swept, _ = sweep_batch(maps, THRESHOLDS)
    grid = (maps.shape[2], maps.shape[1])
    scaled = [scale(each, grid, size) for each, size in zip(swept, sizes, strict=True)]
    return np.array(scaled, dtype=np.float32).reshape(len(maps), len(THRESHOLDS), 4)
