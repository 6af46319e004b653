"""Figures of maps against true masks, as fields of a tally: where a data set has masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError
from boxless.metrics.masks import pixel_counts, pxap_of
from boxless.ops.components import default_thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.data.masks import Masks

    Floats = NDArray[np.float64]

FOREGROUND, BACKGROUND, IMAGE_AP = "pixels on", "pixels beside", "image ap"


def pixel_fields(
    masks: Masks | None, names: Sequence[str], maps: NDArray[Any], refused: list[tuple[str, str]]
) -> dict[str, Floats]:
    """The histograms of each image's pixels, and its own average precision in per cent; nan for images without a mask.

    Args:
        masks: The masks of the split; None for none, then there are no fields.
        names: The images' names.
        maps: (b, h, w), to whose size masks are brought.
        refused: Gets the name and reason of each image whose mask cannot be read; it takes no part.
    """
    if masks is None:
        return {}
    bins = len(default_thresholds()) + 2
    on, beside = np.full((len(names), bins), np.nan), np.full((len(names), bins), np.nan)
    size = (maps.shape[2], maps.shape[1])
    known = set(masks.names)
    for i, name in enumerate(names):
        if name not in known:
            continue
        try:
            mask, ignore = masks.of(name, size)
        except DataError as error:
            refused.append((name, f"its mask was left out: {error}"))
            continue
        counts = pixel_counts(maps[i : i + 1], [mask], [ignore])
        on[i], beside[i] = counts.foreground[0], counts.background[0]
    with np.errstate(invalid="ignore"):
        own = np.where(np.nan_to_num(on).sum(axis=1) > 0, pxap_of(np.nan_to_num(on), np.nan_to_num(beside)), np.nan)
    return {FOREGROUND: on, BACKGROUND: beside, IMAGE_AP: own}
