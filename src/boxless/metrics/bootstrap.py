"""How sure a figure is: bootstrap intervals over images, and the paired difference of two runs.

The Poisson bootstrap of Chamandy et al., "Estimating uncertainty for massive data streams", 2012: in each replicate
each image counts Poisson(1) times instead of once. Its weights come from its name and the seed alone, so that memory
does not grow with the images, parts of a data set merge by addition, and two runs on the same images draw the same.

An interval tells how the figure would scatter over other images of the same kind. It does not tell of another seed of
the training, and does not mend an oracle: a maximum over thresholds is as optimistic in each replicate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, final

import numpy as np

from boxless.errors import DataError
from boxless.metrics._draws import check_names, check_whole, draw_words
from boxless.metrics._fields import Means, flatten, took_part

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from boxless.metrics._fields import Shapes

    Statistic = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any] | float]

PENDING_IMAGES = 256  # a product of matrices this high costs a fourth of eight of 32 rows: its result is added up once
PENDING_NUMBERS = 4_000_000
COLUMNS = 4096  # of the product at a time, so that it stays small beside the sums
ROUNDING = 1e-6  # of a figure: the replicates' sums are float32, and differ by the order in which images came


def _poisson_table() -> NDArray[np.float32]:
    """Poisson(1) for each word of 16 bits: its mean is exactly 1, its variance 0.99997, its highest value 8."""
    reached = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(20)])
    return np.searchsorted(reached, (np.arange(1 << 16) + 0.5) / (1 << 16), side="right").astype(np.float32)


_POISSON = _poisson_table()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of all images and its percentile interval, which is nan without replicates."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of one run less that of another on the same images, and how often chance alone gives as much."""

    value: float  # the second less the first
    low: float
    high: float
    p_value: float  # two-sided, see `paired`
    first: float
    second: float


def poisson_weights(names: Sequence[str], replicates: int, seed: int = 0) -> NDArray[np.float32]:
    """How often each image counts in each replicate, (n, replicates), whole numbers from 0 to 8.

    A row is a function of its name and the seed only: not of its place, of the batch, or of the number of replicates.

    Raises:
        DataError: Names that are not text, or a seed or number of replicates that is no whole number from 0 on.
    """
    words = draw_words(names, check_whole(replicates, "replicates"), seed, "poisson weights")
    weights: NDArray[np.float32] = _POISSON[words]
    return weights


@final
class Tally:
    """Sums of figures over images, and their sums in each bootstrap replicate; it keeps no image.

    Memory: 4 bytes for each replicate and number of an image's figures (1,000 replicates of 13,000 numbers: 52 MB).

    Names must tell images apart: paths in a data set, not bare names of files. Images of one cluster draw one weight
    together, as they should where they are one observation, such as the frames of a video (a bootstrap of clusters).
    No name is kept, so that one that comes twice by mistake goes unnoticed: compare ``count`` with the data set.

    Time: a statistic makes the means of each field that it looks at, in all replicates; of many numbers that are
    looked at apart, such as curves at several levels, make several fields.

    Args:
        replicates: How many; 0 leaves intervals out, and figures cost next to nothing.
        seed: Tallies of one seed draw the same weights for the same names.
    """

    def __init__(self, replicates: int = 1000, seed: int = 0) -> None:
        self.replicates, self.seed = check_whole(replicates, "replicates"), check_whole(seed, "seed")
        self.count = 0  # images
        self.digest = 0  # of the names, whatever their order
        self._shapes: Shapes = {}  # of each field, in the order of their names; none before the first image
        self._sums = np.zeros(0)  # Columns: the numbers of all fields one after the other,
        self._taken = np.zeros(0, dtype=np.int64)  # and how many images took part in each field.
        self._drawn = np.zeros((self.replicates, 0), dtype=np.float32)  # Both one after the other, in each replicate.
        self._pending: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []  # weights and columns of images

    def update(
        self, names: Sequence[str], values: Mapping[str, ArrayLike], clusters: Sequence[str] | None = None
    ) -> None:
        """Add a batch of images. If it is refused nothing of it is added.

        Args:
            names: The name of each of n images.
            values: For each field its numbers (n, ...) of each image. An image whose numbers are all nan takes no part
                in that field. The first batch fixes the fields and their shapes.
            clusters: The cluster of each image, such as the name of a frame's video; by default each is one of its own.

        Raises:
            DataError: Fields, shapes or lengths that do not match, or numbers of an image of which some are not finite.
        """
        listed = check_names(names)
        drawn_by = listed if clusters is None else check_names(clusters)
        if len(drawn_by) != len(listed):
            raise DataError(f"clusters: got {len(drawn_by)} for {len(listed)} names; give one of each.")
        flat, shapes = flatten(listed, values)
        if not listed:
            return
        if self._shapes and shapes != self._shapes:
            raise DataError(f"values: got the shapes {shapes}; the first batch had {self._shapes}. Keep to them.")
        taken = np.stack([took_part(each, field) for field, each in flat.items()], axis=1)
        if not taken.all():
            flat = {
                field: np.where(taken[:, i, None], each, 0) for i, (field, each) in enumerate(flat.items())
            }  # a nan times a weight of 0 would still be nan
        self._begin(shapes)
        self.count += len(listed)
        self.digest = (self.digest + sum(map(_digest, listed))) % (1 << 128)
        self._sums += np.concatenate([each.sum(axis=0, dtype=np.float64) for each in flat.values()])
        self._taken += taken.sum(axis=0)
        if self.replicates:
            columns = np.concatenate([*flat.values(), taken], axis=1, dtype=np.float32, casting="unsafe")
            self._pending.append((poisson_weights(drawn_by, self.replicates, self.seed), columns))
            waiting = sum(len(each) for _, each in self._pending)
            if waiting >= PENDING_IMAGES or waiting * columns.shape[1] >= PENDING_NUMBERS:
                self._flush()

    def merge(self, other: Tally) -> None:
        """Add what another tally saw: images that this one did not see.

        Raises:
            DataError: It has another seed, another number of replicates, or other fields.
        """
        _check_alike(self, other, "merge")
        if not other._shapes:
            return
        if self._shapes and self._shapes != other._shapes:
            raise DataError(f"merge: got a tally of the fields {other._shapes}; this one has {self._shapes}.")
        self._begin(other._shapes)
        other._flush()
        self.count += other.count
        self.digest = (self.digest + other.digest) % (1 << 128)
        self._sums += other._sums
        self._taken += other._taken
        self._drawn += other._drawn

    def means(self) -> dict[str, NDArray[np.float64]]:
        """The mean of each field over the images that took part in it; nan where there was none."""
        return dict(Means(self._shapes, self._sums, self._taken))

    def estimate(self, statistic: Statistic, level: float = 0.95) -> Estimate:
        """A figure that is made of the means, and its percentile interval.

        Args:
            statistic: Makes the one number from the mean of each field. It is called a second time with the means in
                all replicates, which have one more axis in front, and gives (replicates,): so it works on the last
                axes, such as ``lambda means: means["right"][..., 1, :].max(-1)``.
            level: The share of replicates inside of the interval, in (0, 1).

        Returns:
            The figure and its interval. Replicates in which it is not finite, as where no image of a field was drawn,
            are left out. All is nan before the first image.

        Raises:
            DataError: A statistic of another shape, or a level that is no share.
        """
        value, drawn = self.replicate(statistic)
        return Estimate(value, *_interval(drawn, level))

    def replicate(self, statistic: Statistic) -> tuple[float, NDArray[np.float64]]:
        """A figure of all images, and in each replicate, (replicates,); arguments as for `estimate`."""
        if not self._shapes:
            return float("nan"), np.full(self.replicates, np.nan)
        self._flush()
        numbers = len(self._sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.asarray(statistic(Means(self._shapes, self._sums, self._taken)), dtype=np.float64)
            means = Means(self._shapes, self._drawn[:, :numbers], self._drawn[:, numbers:])
            drawn = np.asarray(statistic(means), dtype=np.float64) if self.replicates else np.zeros(0)
        if value.shape or drawn.shape != (self.replicates,):
            raise DataError(
                f"statistic: gave shape {value.shape} of the means and {drawn.shape} of {self.replicates} replicates; "
                "it gives one number, and works on the last axes: an axis of replicates may stand in front."
            )
        return float(value), drawn

    def _begin(self, shapes: Shapes) -> None:
        if not self._shapes:
            self._shapes = dict(shapes)
            numbers = sum(map(math.prod, shapes.values()))
            self._sums, self._taken = np.zeros(numbers), np.zeros(len(shapes), dtype=np.int64)
            self._drawn = np.zeros((self.replicates, numbers + len(shapes)), dtype=np.float32)

    def _flush(self) -> None:
        if self._pending:
            weights = np.concatenate([each for each, _ in self._pending]).T
            columns = np.concatenate([each for _, each in self._pending])
            for start in range(0, columns.shape[1], COLUMNS):
                part = slice(start, start + COLUMNS)
                self._drawn[:, part] += weights @ columns[:, part]
            self._pending.clear()


def paired(
    a: Tally, b: Tally, statistic: Statistic, statistic_b: Statistic | None = None, level: float = 0.95
) -> Difference:
    """How much a figure of ``b`` is above that of ``a`` on the same images, replicate by replicate.

    The p-value is two-sided: twice the smaller of the shares of replicates in which the difference is at most, and at
    least, 0; at most 1. One is added to both numbers of each share (Davison and Hinkley, "Bootstrap methods and their
    application", 1997, chapter 4), so that it is never 0: the lowest is 2 / (replicates + 1). Differences below a
    millionth of the figures are rounding and count as 0.

    An image may take part in a field of one run only, as where a field is the IoU of the images whose class is right.

    Args:
        a: The run that is compared with.
        b: The other run.
        statistic: As for `Tally.estimate`.
        statistic_b: Another one for ``b``, where the same figure is made otherwise, as at a threshold of its own.
        level: The share of replicates inside of the interval, in (0, 1).

    Raises:
        DataError: Tallies of other images, seeds or replicates, or what `Tally.estimate` refuses.
    """
    _check_alike(a, b, "paired")
    if (a.count, a.digest) != (b.count, b.digest):
        raise DataError(
            f"paired: got tallies of {a.count} and {b.count} images that are not the same, by their names; "
            "compare runs on just the same images."
        )
    return difference(a.replicate(statistic), b.replicate(statistic_b or statistic), level)


def difference(
    a: tuple[float, NDArray[np.float64]], b: tuple[float, NDArray[np.float64]], level: float = 0.95
) -> Difference:
    """As `paired`, of two figures that were made elsewhere: each of all images, and in the same replicates."""
    (first, drawn_first), (second, drawn_second) = a, b
    both = np.isfinite(drawn_first) & np.isfinite(drawn_second)
    one, other = drawn_first[both], drawn_second[both]
    differences = other - one
    differences[np.abs(differences) <= ROUNDING * np.maximum(np.abs(one), np.abs(other))] = 0
    low, high = _interval(differences, level)
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p_value = min(1.0, 2 * (rarer + 1) / (len(differences) + 1)) if len(differences) else float("nan")
    return Difference(second - first, low, high, p_value, first, second)


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "little")


def _check_alike(a: Tally, b: Tally, where: str) -> None:
    if (a.seed, a.replicates) != (b.seed, b.replicates):
        raise DataError(
            f"{where}: got tallies of the seeds {a.seed} and {b.seed} with {a.replicates} and {b.replicates} "
            "replicates; both must be equal, so that an image has one weight."
        )


def _interval(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise DataError(f"level: got {level}; it is the share of replicates inside of the interval, in (0, 1).")
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high
