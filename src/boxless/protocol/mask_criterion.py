"""The figure that weights are selected by where val has masks, true ones or pseudo-masks: PxAP and the best threshold.

The thesis selects so on GlaS and CAMELYON (section 4.6.6), which have masks and no boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.masks import Masks, resize_nearest
from boxless.errors import DataError
from boxless.metrics.masks import piou_of, pixel_counts, pxap_of
from boxless.ops.components import default_thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Size = tuple[int, int]


class MaskFigure:
    """PxAP of val's maps against masks, from sums that processes can add up.

    ::

        figure = MaskFigure(masks, (side, side))            # once; masks are read at their first use and then kept
        for names, maps in batches:                         # at the end of each epoch, a process its own share
            figure.update(names, maps)
        sums = figure.sums(reset=True)                      # of the share; add those of all processes
        value, threshold = MaskFigure.figure(sums)          # PxAP in per cent, and the best threshold for pixels

    Args:
        masks: By image name: bool arrays of any size, or the masks of a split. Images without one take no part; an
            empty mask, such as that of a patch without a metastasis, does: its pixels are all background.
        size: (width, height) that maps have, to which masks are brought.
    """

    def __init__(self, masks: Mapping[str, Bools] | Masks, size: Size) -> None:
        self._masks, self._size = masks, size
        self._kept: dict[str, tuple[Bools, Bools | None]] = {}
        self._names = frozenset(masks.names if isinstance(masks, Masks) else masks)
        self._sums = np.zeros(2 * _bins())

    def __contains__(self, name: str) -> bool:
        """Whether an image takes part."""
        return name in self._names

    def update(self, names: Sequence[str], maps: NDArray[Any]) -> None:
        """Add a batch.

        Args:
            names: Of the images.
            maps: (b, h, w), in [0, 1], of the size that masks are brought to.

        Raises:
            DataError: A mask that cannot be read, or maps that are not as said above.
        """
        if maps.shape[1:] != self._size[::-1]:
            raise DataError(
                f"maps: got shape {maps.shape}; masks were brought to a width and height of {self._size}: resize maps."
            )
        rows = [i for i, name in enumerate(names) if name in self._names]
        if not rows:
            return
        known = [self._mask(names[i]) for i in rows]
        counts = pixel_counts(maps[rows], [mask for mask, _ in known], [ignore for _, ignore in known])
        self._sums += np.concatenate([counts.foreground.sum(axis=0), counts.background.sum(axis=0)])

    def sums(self, *, reset: bool = False) -> Floats:
        """What was counted so far, one axis, float64: sums of several processes add up to those of all their images."""
        found = self._sums.copy()
        if reset:
            self._sums[:] = 0
        return found

    @staticmethod
    def figure(sums: Floats) -> tuple[float, float]:
        """PxAP in per cent, and the threshold at which pixels fit best (the highest pooled IoU; of equals the lowest).

        The threshold is an absolute value: a pixel is foreground if its value reaches it, see `boxless.metrics.masks`.
        Both are nan if no image had a foreground pixel.
        """
        foreground, background = sums[: _bins()], sums[_bins() :]
        if not foreground.sum():
            return float("nan"), float("nan")
        overlap = piou_of(foreground, background)
        return float(pxap_of(foreground, background)), float(default_thresholds()[int(overlap.argmax())])

    def _mask(self, name: str) -> tuple[Bools, Bools | None]:
        """An image's mask and what to ignore, read once: kept at the size of maps, a byte a pixel."""
        if name not in self._kept:
            if isinstance(self._masks, Masks):
                self._kept[name] = self._masks.of(name, self._size)
            else:
                self._kept[name] = (resize_nearest(self._masks[name], self._size), None)
        return self._kept[name]


def _bins() -> int:
    """Of each of the two histograms."""
    return len(default_thresholds()) + 2
