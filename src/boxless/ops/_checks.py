"""What every function over maps refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LARGEST_SIDE = 32_000  # two coordinates make a number of 32 bits
MOST_THRESHOLDS = 32_000  # ranks have 16 bits


def check_map(values: ArrayLike, where: str = "map") -> NDArray[np.float64]:
    """A map as a writable, contiguous float64 array, itself if it is one: float32 values stay exactly what they are.

    Raises:
        DataError: Not two-dimensional, without a pixel, too large, not numbers, or with a value that is not in [0, 1].
    """
    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise DataError(f"{where}: got an array of type {given.dtype}; a map holds real numbers in [0, 1].")
    if given.ndim != 2 or given.size == 0:
        raise DataError(f"{where}: got shape {given.shape}; a map is two-dimensional, (height, width), and not empty.")
    if max(given.shape) > LARGEST_SIDE:
        raise DataError(
            f"{where}: got shape {given.shape}; a side has at most {LARGEST_SIDE:,} pixels. Make it smaller."
        )
    checked = np.require(given, np.float64, ["C", "W"])  # of this one type, so that kernels are compiled once
    lowest, highest = checked.min(), checked.max()
    if not (lowest >= 0 and highest <= 1):  # written so that a nan, which min and max pass on, is refused
        row, column = np.argwhere(~((checked >= 0) & (checked <= 1)))[0].tolist()
        raise DataError(
            f"{where}: got {checked[row, column]} at row {row}, column {column} (it runs from {lowest} to {highest}); "
            "maps are finite and lie in [0, 1]: see boxless.ops.normalize."
        )
    return checked


def check_maps(maps: ArrayLike) -> NDArray[np.generic]:
    """A batch of maps, (b, h, w), whose single maps are still to be checked."""
    given = np.asarray(maps)
    if given.ndim != 3:
        raise DataError(f"maps: got shape {given.shape}; a batch of maps is (batch, height, width).")
    return given


def check_thresholds(thresholds: ArrayLike) -> NDArray[np.float64]:
    """Thresholds as float64.

    Raises:
        DataError: Not one-dimensional, not numbers, or outside [0, 1).
    """
    given = np.asarray(thresholds)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "fiu"):
        raise DataError(
            f"thresholds: got shape {given.shape} of type {given.dtype}; give a one-dimensional row of numbers."
        )
    checked = given.astype(np.float64)
    wrong = checked[~((checked >= 0) & (checked < 1))]
    if wrong.size:
        raise DataError(f"thresholds: got {wrong[0]}; they are fractions of a map's own maximum, in [0, 1).")
    return checked


def check_ascending(thresholds: ArrayLike) -> NDArray[np.float64]:
    """Thresholds as float64, at least one.

    Raises:
        DataError: As `check_thresholds`, and if they are not strictly ascending.
    """
    checked = check_thresholds(thresholds)
    if not checked.size:
        raise DataError("thresholds: got none; give at least one.")
    if len(checked) > MOST_THRESHOLDS:
        raise DataError(f"thresholds: got {len(checked):,}; there may be {MOST_THRESHOLDS:,} at most.")
    steps = np.flatnonzero(np.diff(checked) <= 0)
    if steps.size:
        first, second = checked[steps[0]], checked[steps[0] + 1]
        raise DataError(
            f"thresholds: got {first} and then {second}; they must be strictly ascending: sort them and drop repeats."
        )
    return checked
