"""How well a score tells two kinds of images apart, whatever the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_TOGETHER = 64  # draws at a time, so that 50,000 images take tens of MB


def auroc(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The area under the receiver operating characteristic, in [0, 1].

    It is the part of all pairs of an image that is positive and one that is not in which the former has the higher
    score; equal scores count half (Hanley and McNeil, Radiology 143, 1982). A score that knows nothing has 0.5.

    Args:
        scores: (n,), finite.
        positive: (n,) bool.
        weights: (n, r) how often each image counts in each of r draws; by default each once in one.

    Returns:
        (r,), or () without weights; nan where there are no images of one kind.

    Raises:
        DataError: Lengths that do not match, or scores that are not finite.
    """
    values, kind = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    counts = np.ones((len(values), 1)) if weights is None else np.asarray(weights)
    if values.ndim != 1 or kind.shape != values.shape or counts.shape != (len(values), *counts.shape[1:2]):
        raise DataError(
            f"scores: got shape {values.shape} for {kind.shape} kinds and {counts.shape} weights; one row each."
        )
    if not np.isfinite(values).all():
        raise DataError("scores: some are not finite, and cannot be ranked.")
    found = np.full(counts.shape[1], np.nan)
    if kind.any() and not kind.all():
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # of each run of equal scores
        for start in range(0, counts.shape[1], _TOGETHER):
            part = slice(start, start + _TOGETHER)
            found[part] = _areas(counts[order, part].astype(np.float64), kind[order, None], starts)
    return found[0] if weights is None else found


def _areas(counts: Floats, positive: NDArray[np.bool_], starts: NDArray[np.intp]) -> Floats:
    """(r,) from the counts (n, r) of images by rising score."""
    yes = np.add.reduceat(np.where(positive, counts, 0), starts, axis=0)
    no = np.add.reduceat(np.where(positive, 0, counts), starts, axis=0)
    below = np.cumsum(no, axis=0) - no
    with np.errstate(invalid="ignore"):
        areas: Floats = (yes * (below + no / 2)).sum(axis=0) / (yes.sum(axis=0) * no.sum(axis=0))
    return areas
