"""How well the boxes of maps fit true boxes, at every threshold: the curve from which all box figures are computed.

Two rules. The native one, for users: half-open boxes in original pixels, nothing quantised, components by their pixels.
And ``compat="wsolevaluation"``, for figures that must equal published ones; `boxless.metrics._wsolevaluation` says what
it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from boxless.errors import ConfigError, DataError
from boxless.metrics import _wsolevaluation
from boxless.metrics._checks import check_truth
from boxless.metrics._overlap import best_overlaps, highest_over
from boxless.ops._checks import check_ascending, check_map, check_maps
from boxless.ops.boxes import clip, scale
from boxless.ops.components import default_thresholds, sweep_checked, sweep_components
from boxless.stream import default_workers, ordered_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Contours = Literal["largest", "all"]
Compat = Literal["wsolevaluation"]
Size = tuple[float, float]


def iou_curves(
    maps: ArrayLike,
    boxes: Sequence[ArrayLike],
    sizes: Sequence[Size],
    thresholds: ArrayLike | None = None,
    *,
    contours: Contours = "largest",
    compat: Compat | None = None,
) -> Floats:
    """The best IoU that each map reaches at each threshold.

    Args:
        maps: (b, h, w), in [0, 1].
        boxes: For each image its true boxes, (n_i, 4) xyxy in original pixels. What of a box lies outside its image
            is cut off (save with ``compat``, which keeps it).
        sizes: (width, height) of each original image, in pixels.
        thresholds: Strictly ascending fractions of a map's own maximum, in [0, 1); by default 0, 0.001, ..., 0.999.
        contours: Which boxes are candidates: that of the ``largest`` component, or those of ``all``.
        compat: ``wsolevaluation`` for its rule to the last digit. Its true boxes are truncated to the map's grid, which
            is 224 x 224 there; a map without foreground has the box 0, 0, 0, 0, one pixel in the corner; and the
            outlines of holes are among ``all``.

    Returns:
        (b, t) in [0, 1]; rows of nan for images without a true box.

    Raises:
        DataError: Maps, boxes, sizes or thresholds that are not as said above, or a box with no area inside its image.
        ConfigError: An unknown rule.
    """
    check_rules(contours, compat)
    batch = check_maps(maps)
    levels = default_thresholds() if thresholds is None else check_ascending(thresholds)
    trues, known = check_images(boxes, sizes, len(batch), compat), check_sizes(sizes)

    def one(i: int) -> Floats:
        values = check_map(batch[i], f"maps[{i}]")
        if not len(trues[i]):
            return np.full(len(levels), np.nan)
        return _curve(values, trues[i], known[i], levels, contours, compat)

    # The loops over pixels release the interpreter lock, so threads share out the maps.
    workers = default_workers() if len(batch) > 1 else 0
    curves = list(ordered_map(one, range(len(batch)), workers=workers, ahead=2 * workers))
    return np.stack(curves) if curves else np.zeros((0, len(levels)))


def _curve(
    values: Floats, truth: Floats, size: Size, levels: Floats, contours: Contours, compat: Compat | None
) -> Floats:
    """The best IoU of one map at each threshold."""
    grid = (values.shape[1], values.shape[0])
    if compat:
        on_grid = _wsolevaluation.on_grid(truth, size, grid)
        return _wsolevaluation.curve(values, on_grid, levels, every=contours == "all")
    if contours == "all":
        swept = sweep_components(values, levels)
        overlaps = best_overlaps(scale(swept.boxes, grid, size), truth, 0.0)
        return highest_over(overlaps, swept.lowest, swept.highest, len(levels))
    boxes = np.zeros((len(levels), 4))
    sweep_checked(values, levels, boxes, np.zeros(len(levels), dtype=np.int64))
    return best_overlaps(scale(boxes, grid, size), truth, 0.0)


def check_rules(contours: str, compat: str | None) -> None:
    """Refuse rules that there are not."""
    if contours not in get_args(Contours):
        raise ConfigError(f"contours: got {contours!r}; it is one of {', '.join(get_args(Contours))}.")
    if compat is not None and compat not in get_args(Compat):
        raise ConfigError(f"compat: got {compat!r}; it is None or one of {', '.join(get_args(Compat))}.")


def check_images(
    boxes: Sequence[ArrayLike], sizes: Sequence[Size], count: int, compat: str | None = None
) -> list[Floats]:
    """True boxes as float64, one array for each of ``count`` maps; cut off at their images' borders if not ``compat``.

    Raises:
        DataError: As `iou_curves`.
    """
    if not len(boxes) == len(sizes) == count:
        raise DataError(f"boxes, sizes: got {len(boxes)} and {len(sizes)} for {count} maps; give one for each map.")
    known = check_sizes(sizes)
    if compat:
        return [
            _wsolevaluation.check_corners(truth, f"boxes[{i}]")
            for i, truth in enumerate(check_truth(boxes, last_pixel_counts=True))
        ]
    return [
        clip_to(truth, size, f"boxes[{i}]")
        for i, (truth, size) in enumerate(zip(check_truth(boxes), known, strict=True))
    ]


def check_sizes(sizes: Sequence[Size]) -> list[Size]:
    """Sizes (width, height) as tuples of floats, of which an array or a tensor may have rows too.

    Raises:
        DataError: One is not two positive, finite numbers.
    """
    checked: list[Size] = []
    for i, size in enumerate(sizes):
        try:
            width, height = (float(side) for side in size)
        except (TypeError, ValueError):
            width = height = float("nan")
        if not (0 < width < float("inf") and 0 < height < float("inf")):
            raise DataError(f"sizes[{i}]: got {size}; it is the positive (width, height) of the original image.")
        checked.append((width, height))
    return checked


def clip_to(truth: Floats, size: Size, where: str) -> Floats:
    """True boxes, cut off at the border of their image of ``size`` (width, height).

    Raises:
        DataError: A box lies wholly outside; the message begins with ``where``.
    """
    clipped = clip(truth, size)
    gone = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    if gone.any():
        raise DataError(
            f"{where}: got the box {truth[gone.argmax()].tolist()}, which has no area inside an image of "
            f"{size[0]:g} x {size[1]:g} pixels; boxes are in pixels of the original, upright image."
        )
    return clipped
