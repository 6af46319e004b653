"""From maps and true boxes to sums over images: every figure of an evaluation, at every threshold, in one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import ConfigError
from boxless.metrics._overlap import best_overlaps
from boxless.metrics.baselines import SIDES, centred_sides, random_maps
from boxless.metrics.bootstrap import Tally
from boxless.metrics.boxes import Compat, Contours, Size, check_images, check_rules, iou_curves
from boxless.metrics.errors import ERROR_KINDS, dissect
from boxless.ops.boxes import scale
from boxless.ops.components import components, default_thresholds, largest_boxes, sweep_batch
from boxless.ops.otsu import otsu_thresholds
from boxless.protocol.threshold import FIXED, OTSU, RUN, Threshold, best_thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVELS = (0.3, 0.5, 0.7)  # those of MaxBoxAccV2
FIELD_LEVEL = 0.5  # of MaxBoxAcc, of top-1 and top-5 localization, and of the errors
WRONG_KINDS = tuple(kind for kind in ERROR_KINDS if kind not in ("right", "class"))


@dataclass(frozen=True, slots=True)
class Named:
    """What a run says of the classes of a batch of images."""

    first: NDArray[np.bool_]  # (b,) whether the first class is right
    five: NDArray[np.bool_]  # (b,) whether one of the first five is
    maps: NDArray[Any]  # (b, h, w) the map of the first class


class Scoring:
    """Sums of all figures over images, at a few thresholds of their own and at all of a sweep.

    Args:
        rules: Thresholds; Otsu's, the run's and fixed ones get a column of their own, as they need not be in the sweep.
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        compat: ``wsolevaluation`` for its rule, which knows neither Otsu's threshold nor kinds of errors.
        replicates: Of the bootstrap.

    Raises:
        ConfigError: A rule that there is not, or Otsu's threshold together with ``compat``.
    """

    def __init__(
        self,
        rules: Sequence[Threshold],
        *,
        contours: Contours = "largest",
        compat: Compat | None = None,
        replicates: int = 1000,
    ) -> None:
        check_rules(contours, compat)
        self.contours, self.compat = contours, compat
        self.own = [(each.source, each.at(FIELD_LEVEL)) for each in rules if each.source in (OTSU, FIXED, RUN)]
        if compat and any(source == OTSU for source, _ in self.own):
            raise ConfigError(f"protocol: {compat} has no threshold of each map's own; leave otsu out.")
        self.thresholds = default_thresholds()
        self.tally = Tally(replicates)

    def update(
        self,
        names: Sequence[str],
        maps: NDArray[Any],
        truth: Sequence[Floats],
        sizes: Sequence[Size],
        named: Named | None = None,
        more: Mapping[str, NDArray[Any]] | None = None,
        clusters: Sequence[str] | None = None,
    ) -> Floats:
        """Add a batch of images.

        Args:
            names: The images' names.
            maps: (b, h, w), in [0, 1]: of each image's true class.
            truth: For each image its true boxes, (n_i, 4), in original pixels.
            sizes: (width, height) of each original image.
            named: What was said of classes, if classes are known.
            more: More fields of a tally, such as those of masks.
            clusters: What the bootstrap draws by; by default the names.

        Returns:
            The best IoU of each image in each column, (b, c); rows of nan for images without a true box.

        Raises:
            DataError: What `boxless.metrics.iou_curves` refuses.
        """
        trues = check_images(truth, sizes, len(maps), self.compat)
        fields: dict[str, Any] = dict(more or {})
        boxes = self._boxes(maps, sizes)
        ious = self._ious(maps, boxes, trues, sizes)
        fields |= {f"right {level}": _share(ious >= level, ious) for level in LEVELS}
        fields["iou"] = ious
        if not self.compat and self.contours == "largest":  # the kinds are of one box an image
            first = named.first if named else np.ones(len(trues), dtype=np.bool_)
            codes = dissect(boxes, trues, first, FIELD_LEVEL)
            fields |= {kind: _share(codes == ERROR_KINDS.index(kind), ious) for kind in WRONG_KINDS}
        if not self.compat:
            fields |= self._baselines(names, maps.shape[1:], trues, sizes)
        if named:
            fields |= self._classes(named, boxes, ious, maps, trues, sizes)
        self.tally.update(names, fields, clusters)
        return ious

    def overlaps(self, maps: NDArray[Any], truth: Sequence[Floats], sizes: Sequence[Size]) -> Floats:
        """The best IoU of a batch in each column, (b, c), nothing summed up; arguments and nan as for `update`."""
        trues = check_images(truth, sizes, len(maps), self.compat)
        return self._ious(maps, self._boxes(maps, sizes), trues, sizes)

    def column(self, threshold: Threshold, level: float = FIELD_LEVEL) -> int:
        """Where a threshold's figures are."""
        value = threshold.at(level)
        if (threshold.source, value) in self.own:
            return self.own.index((threshold.source, value))
        if value is None or math.isnan(value):
            return 0
        return len(self.own) + int(np.abs(self.thresholds - value).argmin())

    def curves(self) -> tuple[Floats, Floats]:
        """Box accuracy (levels, t) in per cent and mean IoU (t,) at each threshold of the sweep; nan without images."""
        means = self.tally.means()
        empty = np.full(len(self.own) + len(self.thresholds), np.nan)
        right = np.stack([means.get(f"right {level}", empty)[len(self.own) :] for level in LEVELS])
        return right, means.get("iou", empty)[len(self.own) :]

    def best(self) -> tuple[float, ...]:
        """The best threshold of each level on these very images."""
        return best_thresholds(self.curves()[0], self.thresholds)

    def _boxes(self, maps: NDArray[Any], sizes: Sequence[Size]) -> Floats:
        """The largest component's box at each own threshold and at each of the sweep, (b, c, 4), in original pixels."""
        if self.compat or self.contours == "all":  # figures of one box are not asked for
            return np.zeros((len(maps), len(self.own) + len(self.thresholds), 4))
        own = [
            largest_boxes(maps, otsu_thresholds(maps) if value is None else np.full(len(maps), value))[0]
            for _, value in self.own
        ]
        swept, _ = sweep_batch(maps, self.thresholds)
        boxes = np.concatenate([*(each[:, None] for each in own), swept], axis=1)
        grid = (maps.shape[2], maps.shape[1])
        return np.stack([scale(each, grid, size) for each, size in zip(boxes, sizes, strict=True)])

    def _ious(self, maps: NDArray[Any], boxes: Floats, truth: Sequence[Floats], sizes: Sequence[Size]) -> Floats:
        """The best IoU in each column, (b, c); rows of nan for images without a true box."""
        if not self.compat and self.contours == "largest":
            return _overlaps(boxes, truth)
        swept = iou_curves(maps, truth, sizes, self.thresholds, contours=self.contours, compat=self.compat)
        own = [self._own_ious(maps, value, truth, sizes) for _, value in self.own]
        return np.concatenate([*(each[:, None] for each in own), swept], axis=1)

    def _own_ious(
        self, maps: NDArray[Any], value: float | None, truth: Sequence[Floats], sizes: Sequence[Size]
    ) -> Floats:
        if value is not None:
            fixed = iou_curves(maps, truth, sizes, [value], contours=self.contours, compat=self.compat)
            return np.asarray(fixed[:, 0])
        grid, found = (maps.shape[2], maps.shape[1]), np.full(len(maps), np.nan)
        for i, (threshold, each, true, size) in enumerate(zip(otsu_thresholds(maps), maps, truth, sizes, strict=True)):
            if len(true):
                candidates = scale(components(each, threshold).boxes, grid, size)
                found[i] = best_overlaps(candidates, true, 0.0).max(initial=0)
        return found

    def _classes(
        self,
        named: Named,
        boxes: Floats,
        ious: Floats,
        maps: NDArray[Any],
        truth: Sequence[Floats],
        sizes: Sequence[Size],
    ) -> dict[str, Any]:
        """Figures that ask for the class: at IoU 0.5, of the true class's box and of the named class's."""
        shown = ious.copy()
        other: list[int] = np.flatnonzero((named.maps != maps).any(axis=(1, 2))).tolist()
        if other:
            some = [sizes[i] for i in other]
            theirs = self._boxes(named.maps[other], some)
            shown[other] = self._ious(named.maps[other], theirs, [truth[i] for i in other], some)
        right, right_shown = ious >= FIELD_LEVEL, shown >= FIELD_LEVEL
        first, five = named.first[:, None], named.five[:, None]
        return {
            "class1": 100.0 * named.first,
            "class5": 100.0 * named.five,
            "class right": _share(first, ious[:, :1])[:, 0],
            "top1": _share(right & first, ious),
            "top5": _share(right & five, ious),
            "top5 agnostic": _share(right_shown & five, ious),
            "shown": _share(right_shown, ious),
        }

    def _baselines(
        self, names: Sequence[str], grid: tuple[int, ...], truth: Sequence[Floats], sizes: Sequence[Size]
    ) -> dict[str, Any]:
        """Boxes that look at no pixel, and those of random maps under the same rules."""
        centred = _overlaps(centred_sides(np.array(sizes, dtype=np.float64).reshape(-1, 2), SIDES), truth)
        noise = random_maps(names, (grid[0], grid[1]))
        random = self._ious(noise, self._boxes(noise, sizes), truth, sizes)
        fields = {f"centred {level}": _share(centred >= level, centred) for level in LEVELS}
        return fields | {"centred iou": centred, "random": _share(random >= FIELD_LEVEL, random)}


def _overlaps(boxes: Floats, truth: Sequence[Floats]) -> Floats:
    """The best IoU of each box (b, c, 4) of each image; rows of nan for images without a true box."""
    ious = np.full(boxes.shape[:2], np.nan)
    for i, (each, true) in enumerate(zip(boxes, truth, strict=True)):
        if len(true):
            ious[i] = best_overlaps(np.ascontiguousarray(each), true, 0.0)
    return ious


def _share(right: NDArray[np.bool_], ious: Floats) -> Floats:
    """0 or 100, and nan where an image has no true box."""
    return np.where(np.isnan(ious), np.nan, 100.0 * right)
