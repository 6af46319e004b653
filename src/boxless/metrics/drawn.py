"""Figures that are no mean of a `Tally`, as rows of draws: first of all images, then of each bootstrap replicate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.metrics.bootstrap import Estimate, poisson_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def draw(names: Sequence[str], replicates: int, seed: int = 0) -> NDArray[np.float32]:
    """How often each image counts: once, then in each replicate; (n, 1 + replicates).

    Args:
        names: Of the images, or for each the name of its cluster, which is drawn as one: see `Tally.update`.
        replicates: 0 leaves intervals out.
        seed: Of the bootstrap.
    """
    return np.concatenate([np.ones((len(names), 1), np.float32), poisson_weights(names, replicates, seed)], axis=1)


def estimate(drawn: Floats) -> Estimate:
    """The figure of all images, and the 95 % percentile interval of its finite replicates."""
    finite = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]).tolist() if finite.size else (math.nan, math.nan)
    return Estimate(float(drawn[0]), low, high)
