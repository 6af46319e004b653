"""What erosion of val's masks, or pseudo-masks in their place, do to the epoch that they select (thesis, table 4.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.masks import Masks, resize_nearest
from boxless.errors import DataError
from boxless.metrics.masks import pixel_counts, pxap_of
from boxless.protocol.noise import EROSION_LEVELS, eroded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.protocol.epochs import EpochMaps

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

TRUE, PSEUDO = "ORACLE: true masks", "pseudo-masks"
ROWS = (TRUE, *(f"eroded by {level:.0%}" for level in EROSION_LEVELS))


@dataclass(frozen=True, slots=True)
class MaskRow:
    """What masks of one degree of error select, and what that is worth on test's true masks."""

    masks: str
    error: float  # 1 - AUC in per cent, pooled over val's pixels
    epoch: int
    distance: int  # from the epoch that true masks select
    pxap: float  # of that epoch on test, in per cent

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "masks": self.masks,
            "mask_error": round(self.error, 2),
            "epoch": self.epoch,
            "epochs_from_true": self.distance,
            "test_pxap": round(self.pxap, 3),
        }


@dataclass(slots=True)
class MaskTracer:
    """Counts val's pixels against true masks, each erosion of them, and pseudo-masks; at all epochs of a run.

    Args:
        masks: Val's true masks. They are worn off at their own size, then brought to that of maps.
        pseudo: Pseudo-masks (b, h, w) of a batch, at the size of maps; None for none.
    """

    masks: Masks
    pseudo: Callable[[EpochMaps], Bools] | None = None
    _counts: Floats | None = field(init=False, default=None)  # (rows, e, 2, bins)
    _errors: Floats = field(init=False)  # (rows, 4): true pixels, those missed, others, those marked

    @property
    def rows(self) -> tuple[str, ...]:
        """What is selected by."""
        return (*ROWS, PSEUDO) if self.pseudo else ROWS

    def update(self, batch: EpochMaps) -> None:
        """Add a batch; images without a true mask take no part."""
        known = [i for i, item in enumerate(batch.items) if item.name in self.masks.files]
        if not known:
            return
        true, ignored = _read(self.masks, batch, known)
        size = (batch.maps.shape[3], batch.maps.shape[2])
        worn = [self._worn(batch.items[i].name, batch.sizes[i], size) for i in known]
        sets = [np.stack(each) for each in (true, *zip(*worn, strict=True))]
        if self.pseudo:
            sets.append(self.pseudo(batch)[known])
        counts = np.stack([np.stack([_counts(maps[known], each, ignored) for maps in batch.maps]) for each in sets])
        errors = np.stack([_errors(each, sets[0]) for each in sets])
        first = self._counts is None
        self._counts = counts if self._counts is None else self._counts + counts
        self._errors = errors if first else self._errors + errors

    def select(self, test: Floats, epochs: slice = slice(None)) -> list[MaskRow]:
        """A row for each kind of masks.

        Args:
            test: (e,), the PxAP of each epoch on test's true masks.
            epochs: Of those that were looked at, the ones to choose among, such as those of one of several runs.

        Raises:
            DataError: No image had a mask.
        """
        if self._counts is None:
            raise DataError(f"{self.masks.source}: no image of val that was looked at has a mask.")
        figures = pxap_of(self._counts[:, epochs, 0], self._counts[:, epochs, 1])  # (rows, e)
        worth = test[epochs]
        best = [len(row) - 1 - int(np.nan_to_num(row)[::-1].argmax()) for row in figures]  # of equals the latest
        on, missed, beside, marked = self._errors.T
        wrong = 50.0 * (missed / on + marked / beside)
        return [
            MaskRow(name, float(wrong[i]), best[i], best[i] - best[0], float(worth[best[i]]))
            for i, name in enumerate(self.rows)
        ]

    def _worn(self, name: str, whole: tuple[int, int], size: tuple[int, int]) -> list[Bools]:
        true, _ = self.masks.of(name, whole)
        return [resize_nearest(eroded(true, level), size) for level in EROSION_LEVELS]


@dataclass(slots=True)
class PixelTracer:
    """Counts a split's pixels against its true masks at all epochs of a run: what a selection is worth."""

    masks: Masks
    _counts: Floats | None = field(init=False, default=None)  # (e, 2, bins)

    def update(self, batch: EpochMaps) -> None:
        """Add a batch; images without a mask take no part."""
        known = [i for i, item in enumerate(batch.items) if item.name in self.masks.files]
        if known:
            true, ignored = _read(self.masks, batch, known)
            counts = np.stack([_counts(maps[known], true, ignored) for maps in batch.maps])
            self._counts = counts if self._counts is None else self._counts + counts

    def pxap(self) -> Floats:
        """(e,), in per cent.

        Raises:
            DataError: No image had a mask.
        """
        if self._counts is None:
            raise DataError(f"{self.masks.source}: no image that was looked at has a mask.")
        return pxap_of(self._counts[:, 0], self._counts[:, 1])


def _read(masks: Masks, batch: EpochMaps, rows: Sequence[int]) -> tuple[list[Bools], list[Bools | None]]:
    """The true masks of some images, and what to ignore beside them, at the size of maps."""
    size = (batch.maps.shape[3], batch.maps.shape[2])
    found = [masks.of(batch.items[i].name, size) for i in rows]
    return [true for true, _ in found], [ignored for _, ignored in found]


def _counts(maps: NDArray[np.float32], masks: Bools | Sequence[Bools], ignored: Sequence[Bools | None]) -> Floats:
    """(2, bins): the histograms of a batch's pixels on masks and beside them."""
    counts = pixel_counts(maps, masks, ignored)
    return np.stack([counts.foreground.sum(axis=0), counts.background.sum(axis=0)]).astype(np.float64)


def _errors(masks: Bools, true: Bools) -> Floats:
    found = [true.sum(), (true & ~masks).sum(), (~true).sum(), (masks & ~true).sum()]
    return np.array(found, dtype=np.float64)
