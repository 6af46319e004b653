"""Named figures of images, (n, ...) each: what a tally refuses, lays out in one row, and gives back as means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Shapes = dict[str, tuple[int, ...]]


def flatten(names: list[str], values: Mapping[str, ArrayLike]) -> tuple[dict[str, NDArray[Any]], Shapes]:
    """The fields in the order of their names, each as (n, numbers), and the shape of one image's numbers."""
    if not values:
        raise DataError("values: got no field; give at least one.")
    arrays = {field: np.asarray(values[field]) for field in sorted(values)}
    for field, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise DataError(f"values[{field!r}]: got an array of type {array.dtype}; figures are real numbers.")
        if not array.ndim or len(array) != len(names):
            raise DataError(f"values[{field!r}]: got shape {array.shape} for {len(names)} names; give a row of each.")
    shapes = {field: array.shape[1:] for field, array in arrays.items()}
    return {field: array.reshape(len(names), math.prod(shapes[field])) for field, array in arrays.items()}, shapes


def took_part(flat: NDArray[Any], field: str) -> NDArray[np.bool_]:
    """Which images take part in a field: those whose numbers are not nan, (n,)."""
    finite = np.isfinite(flat)
    taken: NDArray[np.bool_] = finite.all(axis=1)
    mixed = ~taken
    mixed[mixed] = ~np.isnan(flat[mixed]).all(axis=1)
    if mixed.any():
        raise DataError(
            f"values[{field!r}]: row {int(mixed.argmax())} has numbers that are not finite; "
            "the numbers of an image are finite, or all nan where it takes no part."
        )
    return taken


class Means(Mapping[str, "NDArray[Any]"]):
    """The mean of each field, made when it is asked for: a statistic of one field does not pay for all."""

    def __init__(self, shapes: Shapes, sums: NDArray[Any], taken: NDArray[Any]) -> None:
        ends = np.cumsum([0, *map(math.prod, shapes.values())]).tolist()
        self._fields = {field: (i, slice(ends[i], ends[i + 1])) for i, field in enumerate(shapes)}
        self._shapes, self._sums, self._taken = shapes, sums, taken

    def __getitem__(self, field: str) -> NDArray[Any]:
        i, part = self._fields[field]
        with np.errstate(divide="ignore", invalid="ignore"):
            means: NDArray[Any] = self._sums[..., part] / self._taken[..., i, None]
        return means.reshape(means.shape[:-1] + self._shapes[field])

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)
