"""Whether a map can be what it should be: plain sentences about maps from which no box should be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WHOLE = 0.95  # part of the image that is foreground
BORDER = 0.9  # part of the foreground that lies in the outermost ring
RING = 0.1  # width of that ring, as a part of each side
SAME = 1e-3  # largest difference of maps in [0, 1] that no box could show
_LEAST_CELLS = 5  # on a smaller grid nearly each cell is at the border


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that may be wrong with a map."""

    one: str  # what is said of one map, after "the map"
    several: str  # the same of several
    meaning: str
    other_map: str  # what to do about the map of a trained classifier
    other_run: str  # what to do about the maps of a run


NOT_FINITE, FLAT, WHOLE_IMAGE, AT_BORDER, SAME_FOR_ALL = (
    "not_finite",
    "flat",
    "whole_image",
    "border",
    "same_for_all_classes",
)
KINDS = {
    NOT_FINITE: Kind(
        "holds values that are not finite",
        "hold values that are not finite",
        "the network overflows or its weights are broken, so there is no box",
        "use float32, or other weights",
        "train again, with training.precision=32 and a lower training.learning_rate",
    ),
    FLAT: Kind(
        "is flat",
        "are flat",
        "no place counts more than another, so where there is a box it says nothing",
        "take another layer or another map",
        "look at the class accuracy first: a classifier that has not learnt its classes has no map of them",
    ),
    WHOLE_IMAGE: Kind(
        "is high nearly everywhere",
        "are high nearly everywhere",
        "the box is the whole image and says nothing of where the object is",
        "take a later layer or another map",
        "if the objects are smaller than that, look at the class accuracy first, then at protocol.threshold",
    ),
    AT_BORDER: Kind(
        "is high along the border of the image alone",
        "are high along the border of the image alone",
        "networks that react to padding do that, and the box is likely not on the object",
        "take another layer or another map",
        "check that no class can be told by its images' borders, or train with another backbone",
    ),
    SAME_FOR_ALL: Kind(
        "is the same for all classes",
        "are the same for all classes",
        "it shows what is conspicuous and not where a class is",
        "for an answer by class take another map",
        "for an answer by class train longer, or with another method",
    ),
}


def kinds_of(maps: ArrayLike, thresholds: ArrayLike | None = None) -> list[str | None]:
    """For each map (b, h, w) in [0, 1] the name in `KINDS` of what is wrong with it, or None.

    Only one thing is said of a map, the first of: it is not finite; flat; foreground nearly everywhere; foreground
    along the border alone.

    Args:
        maps: As `boxless.maps.extract` or a method gives them.
        thresholds: Of each map, as fractions of its maximum: what is above is foreground. By default Otsu's.

    Raises:
        DataError: Finite maps that are not in [0, 1].
    """
    from boxless.ops.otsu import otsu_thresholds

    values = np.asarray(maps, np.float32)
    finite = np.array([np.isfinite(each).all() for each in values], bool)
    usable = values if finite.all() else np.where(finite[:, None, None], values, np.float32(0))
    cuts = otsu_thresholds(usable) if thresholds is None else np.broadcast_to(thresholds, len(usable))
    return [
        _kind(each, float(cut)) if sound else NOT_FINITE for each, cut, sound in zip(usable, cuts, finite, strict=True)
    ]


def same_for_all_classes(maps: ArrayLike) -> bool:
    """Whether the maps (n, h, w) of several classes of one image, or (b, n, h, w) of a batch, are all one map.

    One class alone, flat maps, or maps that are not finite say nothing of that.
    """
    values = np.asarray(maps, np.float32)
    if values.shape[-3] < 2 or not np.isfinite(values).all() or values.max() - values.min() <= SAME:
        return False
    return bool(np.ptp(values, axis=-3).max() <= SAME)


def sentence(kind: str) -> str:
    """What is said of the map of a trained classifier: what is wrong with it, what that means, and what to do."""
    said = KINDS[kind]
    return f"the map {said.one}: {said.meaning}; {said.other_map}."


@dataclass(frozen=True, slots=True)
class Warned:
    """How many maps of a job the same thing is wrong with."""

    kind: str  # a name in `KINDS`
    count: int
    total: int  # maps that were looked at
    example: str  # the name of the first such image

    def sentence(self, what: str = "maps") -> str:
        """What is said of the maps of a run, ``what`` being a word for all that were looked at."""
        said = KINDS[self.kind]
        if self.count == 1:
            subject = f"1 of {self.total:,} {what}, that of {self.example}, {said.one}"
        else:
            subject = f"{self.count:,} of {self.total:,} {what}, such as that of {self.example}, {said.several}"
        return f"{subject}: {said.meaning}; {said.other_run}."


@final
class Warnings:
    """Counts what is wrong with the maps of a job; however many there are, it keeps one name of each kind."""

    def __init__(self) -> None:
        self._total = 0
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, name: str, kind: str | None) -> None:
        """One more image, and what is wrong with its map."""
        self._total += 1
        if kind is not None:
            count, example = self._found.get(kind, (0, name))
            self._found[kind] = (count + 1, example)

    def all(self) -> tuple[Warned, ...]:
        """What was found, in the order of `KINDS`."""
        return tuple(
            Warned(kind, self._found[kind][0], self._total, self._found[kind][1])
            for kind in KINDS
            if kind in self._found
        )


def _kind(values: NDArray[np.float32], threshold: float) -> str | None:
    highest = float(values.max())
    if highest - float(values.min()) <= SAME:
        return FLAT
    foreground = values > threshold * highest
    if np.count_nonzero(foreground) >= WHOLE * foreground.size:
        return WHOLE_IMAGE
    return AT_BORDER if _hugs_border(foreground) else None


def _hugs_border(foreground: NDArray[np.bool_]) -> bool:
    """Whether nearly all of the foreground is in the outer ring, and on at least two sides of it.

    An object that is cut off by one side of the image lies at the border too, and is no reason to warn.
    """
    height, width = foreground.shape
    if min(height, width) < _LEAST_CELLS:
        return False
    rows, columns = max(1, round(RING * height)), max(1, round(RING * width))
    inner = np.count_nonzero(foreground[rows:-rows, columns:-columns])
    if inner > (1 - BORDER) * np.count_nonzero(foreground):
        return False
    sides = (foreground[:rows], foreground[-rows:], foreground[:, :columns], foreground[:, -columns:])
    return bool((sides[0].any() and sides[1].any()) or (sides[2].any() and sides[3].any()))
