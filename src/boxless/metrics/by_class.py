"""CorLoc: of the images of a class the share in which the one box is right, and the mean of that over classes.

Deselaers, Alexe and Ferrari, "Weakly supervised localization and learning with generic knowledge", IJCV 100(3), 2012:
"the percentage of images in which a method correctly localizes an object of the target class", by the criterion of
Pascal VOC. Here a box is right from an IoU of 0.5 on, as in all box figures.

A figure of one threshold for all classes is that of one localizer. The tables that are published of videos (thesis,
II-1) let each class have its own, chosen on the very frames of the test set: an oracle, which lies above the former.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import check_iou
from boxless.metrics._draws import check_names, check_whole
from boxless.metrics.drawn import draw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def corloc(overlaps: ArrayLike, labels: ArrayLike, classes: int, iou: float = 0.5) -> Floats:
    """Per cent of the images of each class whose box is right; its mean over classes is ``np.nanmean(..., axis=0)``.

    Args:
        overlaps: (n,) the IoU of each image's one box with the true box that it fits best, or (n, t) at each of t
            thresholds; nan for an image without a true box, which takes no part. An image of several classes has a row
            for each: of the box that was sought for that class.
        labels: (n,) the class of each row.
        classes: How many there are.
        iou: From which on a box is right, in (0, 1].

    Returns:
        (classes,) or (classes, t); nan for a class of which no image has a true box.

    Raises:
        DataError: Rows of which only some numbers are nan, labels that are no class, or lengths that do not match.
    """
    curves = np.asarray(overlaps, dtype=np.float64)
    if curves.ndim not in (1, 2):
        raise DataError(f"overlaps: got shape {curves.shape}; give one IoU of each image, or one at each threshold.")
    rows = curves.reshape(len(curves), -1)
    unknown = np.isnan(rows)
    if (unknown.any(axis=1) != unknown.all(axis=1)).any():
        raise DataError("overlaps: a row is partly nan; an image without a true box has nan at every threshold.")
    known = ~unknown[:, 0] if rows.shape[1] else np.zeros(len(rows), np.bool_)
    numbers = _classes_of(labels, len(rows), classes)
    tally = ClassTally(classes, replicates=0)
    tally.update([""] * int(known.sum()), numbers[known], rows[known] >= check_iou(iou))
    found = [tally.at(column)[:, 0] for column in range(rows.shape[1])]
    return np.stack(found, axis=1).reshape(classes, *curves.shape[1:])


@final
class ClassTally:
    """What is right of each image, in several columns such as thresholds, and how often it is by class.

    It keeps a bit for each image and column: 125 bytes an image for 1,000 thresholds.

    Figures are (classes, 1 + replicates) per cent: of all images, then of each bootstrap replicate; nan for a class of
    which no image is there, or was drawn.

    Args:
        classes: How many there are.
        replicates: Of the bootstrap; 0 leaves intervals out.
        seed: Tallies of one seed draw the same weights for the same names, as `boxless.metrics.Tally` does.
    """

    def __init__(self, classes: int, replicates: int = 1000, seed: int = 0) -> None:
        self.classes = check_whole(classes, "classes")
        self.replicates, self.seed = check_whole(replicates, "replicates"), check_whole(seed, "seed")
        self._clusters: list[str] = []
        self._labels: list[NDArray[np.int64]] = []
        self._bits: list[NDArray[np.uint8]] = []
        self._columns: int | None = None

    def update(self, clusters: Sequence[str], labels: ArrayLike, right: ArrayLike) -> None:
        """Add rows: an image, or one of the classes of an image of several.

        Args:
            clusters: What the bootstrap draws by: the image's name, or that of the frame's video.
            labels: (n,) the class.
            right: (n, c) bool; the first batch fixes c.

        Raises:
            DataError: Lengths that do not match, or labels that are no class.
        """
        listed, hits = check_names(clusters), np.asarray(right, dtype=np.bool_)
        if hits.ndim != 2 or len(hits) != len(listed) or hits.shape[1] != (self._columns or hits.shape[1]):
            raise DataError(
                f"right: got shape {hits.shape} for {len(listed)} rows; give (rows, columns), of the same columns."
            )
        self._labels.append(_classes_of(labels, len(listed), self.classes))
        self._clusters += listed
        self._columns = hits.shape[1]
        self._bits.append(np.packbits(hits, axis=1))

    def count(self) -> NDArray[np.int64]:
        """How many rows each class has, (classes,)."""
        return np.bincount(self._all_labels(), minlength=self.classes)

    def clusters(self) -> NDArray[np.int64]:
        """From how many clusters they are, (classes,)."""
        pairs = set(zip(self._all_labels().tolist(), self._clusters, strict=True))
        return np.bincount([label for label, _ in pairs], minlength=self.classes).astype(np.int64)

    def at(self, column: int) -> Floats:
        """How often a column is right."""
        found = np.full((self.classes, 1 + self.replicates), np.nan)
        for label, weights, right in self._each(slice(column, column + 1)):
            found[label] = _shares(weights, right)[:, 0]
        return found

    def best(self, begin: int = 0) -> tuple[Floats, int]:
        """The one column, from ``begin`` on, whose mean over classes is highest: how often it is right, and which.

        It is chosen in each replicate. Of equally good ones it is the first.
        """
        total: Floats | float = 0.0
        drawn: Floats | float = 0.0
        for _, weights, right in self._each(slice(begin, None)):
            shares = _shares(weights, right)
            seen = ~np.isnan(shares[:, :1])
            total = total + np.where(seen, shares, 0)
            drawn = drawn + seen
        found = np.full((self.classes, 1 + self.replicates), np.nan)
        if isinstance(total, float):
            return found, begin
        chosen = (total / np.maximum(drawn, 1)).argmax(axis=1)
        for label, weights, right in self._each(slice(begin, None)):
            times = weights.sum(axis=0, dtype=np.float64)
            hits = np.einsum("nr,nr->r", weights, right[:, chosen].astype(np.float32))
            found[label] = np.divide(100.0 * hits, times, out=found[label], where=times > 0)
        return found, begin + int(chosen[0])

    def best_of_each(self, begin: int = 0) -> tuple[Floats, NDArray[np.int64]]:
        """For each class the column, from ``begin`` on, that is best for it alone: how often it is right, and which.

        They are chosen in each replicate; of a class without images the column is -1.
        """
        found, places = np.full((self.classes, 1 + self.replicates), np.nan), np.full(self.classes, -1)
        for label, weights, right in self._each(slice(begin, None)):
            shares = _shares(weights, right)
            found[label], places[label] = shares.max(axis=1), begin + shares[0].argmax()
        return found, places

    def _all_labels(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(0, np.int64), *self._labels])

    def _each(self, columns: slice) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
        """Of each class that has rows how often each row counts, (n, 1 + replicates), and what is right of it."""
        labels = self._all_labels()
        if not len(labels):
            return
        bits, order = np.concatenate(self._bits), np.argsort(labels, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
            weights = draw([self._clusters[row] for row in rows], self.replicates, self.seed)
            right = np.unpackbits(bits[rows], axis=1, count=self._columns)[:, columns]
            yield int(labels[rows[0]]), weights, right.astype(np.bool_)


def over_classes(figures: Floats) -> Floats:
    """The mean over classes of (classes, ...) figures; classes that are nan take no part, as where none was drawn."""
    known = ~np.isnan(figures)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, figures, 0).sum(axis=0) / known.sum(axis=0)
    return mean


def _shares(weights: NDArray[np.float32], right: NDArray[np.bool_]) -> Floats:
    """Per cent of each column in each draw, (1 + replicates, c); nan where no row was drawn."""
    hits = (weights.T @ right.astype(np.float32)).astype(np.float64)  # whole numbers, so exact
    with np.errstate(invalid="ignore"):
        shares: Floats = 100.0 * hits / weights.sum(axis=0, dtype=np.float64)[:, None]
    return shares


def _classes_of(labels: ArrayLike, count: int, classes: int) -> NDArray[np.int64]:
    """(count,) labels, each a class."""
    numbers = np.asarray(labels)
    numbers = numbers.astype(np.int64) if numbers.size == 0 else numbers
    if numbers.shape != (count,) or numbers.dtype.kind not in "iu":
        raise DataError(
            f"labels: got {numbers.dtype} of shape {numbers.shape}; give the class of each of {count} rows."
        )
    if count and not (numbers.min() >= 0 and numbers.max() < classes):
        raise DataError(
            f"labels: got {numbers.min()} to {numbers.max()}; the {classes} classes are 0 to {classes - 1}."
        )
    return numbers.astype(np.int64)
