"""How good pseudo-boxes are beside true ones, stage by stage: table 4.5 of the thesis.

True boxes are looked at and nothing is chosen by them: what is said here is ORACLE knowledge, of which a realistic
protocol makes no use. Stages are those of section 4.6.3: the proposals that hold the peak of the classifier's map
(pointing game, PG), those of the best fifth that do, the proposal that is best by objectness or score alone, the one
that all stages together choose, and the one that a user with true boxes would have chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import MissingTruthError
from boxless.metrics.baselines import centred_boxes
from boxless.metrics.bootstrap import Estimate, Tally
from boxless.metrics.localization import image_ious
from boxless.ops.boxes import iou, scale
from boxless.protocol.guard import Guard, worse_than_centred

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.pseudo.selection import Selection
    from boxless.types import Boxes, Prediction

RIGHT = 0.5  # the IoU from which on a box counts as right, as in MaxBoxAcc
CHOSEN, CONSTANT = "chosen", "constant"
STAGES = {
    "peak": "mean of the proposals that hold the peak (PG)",
    "top_peak": "mean of the best fifth that do (PG, 20 %)",
    "best": "the best by objectness or score",
    CHOSEN: "the pseudo-box",
    "bound": "the proposal nearest to a true box: upper bound",
    CONSTANT: "one centred box for all images, the best",
}
"""Titles by key, in the order of the table."""
NOTE = "ORACLE: true boxes were looked at; nothing was chosen by them."

Figures = tuple[float, float]  # of one image: mean IoU, and the share that is right; nan without a box at that stage


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the table."""

    key: str
    title: str
    mean_iou: Estimate
    right: Estimate  # per cent with an IoU of `RIGHT` or more
    images: int  # that have a box at this stage; the others take no part


@dataclass(frozen=True, slots=True)
class Quality:
    """The table, and what true boxes say of the pseudo-boxes."""

    stages: tuple[Stage, ...]
    images: int  # with a true box
    truth_source: str
    guard: Guard

    def header(self) -> tuple[str, ...]:
        """The columns' titles, for a table of `rows`."""
        return ("ORACLE: boxes beside true ones", "mean IoU", f"% with IoU >= {RIGHT:g}", "images")

    def rows(self) -> list[tuple[str, ...]]:
        """A line for each stage, intervals in brackets."""
        return [
            (each.title, _cell(each.mean_iou, 3), _cell(each.right, 1), f"{each.images:,} of {self.images:,}")
            for each in self.stages
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; a figure that no image gave is null."""
        stages = [
            {
                "stage": each.key,
                "title": each.title,
                "mean_iou": _plain(each.mean_iou),
                "right": _plain(each.right),
                "images": each.images,
            }
            for each in self.stages
        ]
        return {
            "oracle": True,
            "note": NOTE,
            "truth": self.truth_source,
            "images": self.images,
            "interval": "95 %, Poisson bootstrap over images",
            "stages": stages,
            "guard": self.guard.to_dict(),
        }


def stage_figures(selection: Selection, truth: Boxes) -> dict[str, Figures]:
    """Mean IoU and share right of one image at each stage of a selection, but for what it chose.

    Args:
        selection: The proposals.
        truth: (m, 4) true boxes, at least one, in the same pixels.
    """
    overlaps = iou(selection.boxes, truth).max(axis=1, initial=0)
    ranked = selection.scores if selection.objectness is None else selection.objectness
    known = np.flatnonzero(np.isfinite(ranked))
    best = known[ranked[known].argmax()][None] if len(known) else known
    kept = {
        "peak": selection.hit,
        "top_peak": selection.hit & selection.top,
        "best": best,
        "bound": overlaps[None].argmax(axis=1) if len(overlaps) else best,
    }
    return {key: _figures(overlaps[chosen]) for key, chosen in kept.items()}


def quality(
    predictions: Sequence[Prediction],
    truth: Mapping[str, Boxes],
    truth_source: str,
    stages: Mapping[str, Mapping[str, Figures]] | None = None,
    *,
    replicates: int = 1000,
) -> Quality:
    """The table of some images' pseudo-boxes: of each the first, which is the best.

    Args:
        predictions: The images with their pseudo-boxes; one without any takes no part in its figures.
        truth: True boxes by the image's name, in original pixels.
        truth_source: Where they come from.
        stages: `stage_figures` by the image's name, of an annotator that has stages.
        replicates: Of the bootstrap; 0 leaves intervals out.

    Raises:
        MissingTruthError: No image has both a true box and a pseudo-box.
    """
    known = [each for each in predictions if len(truth.get(each.name, ()))]
    found = [each for each in known if each.boxes]
    if not found:
        raise MissingTruthError(
            f"{truth_source}: none of the {len(predictions):,} images has both a pseudo-box and a true box; the "
            "quality of pseudo-boxes cannot be told. Leave it out, or give true boxes."
        )
    boxes, sizes = [each.boxes[0].xyxy for each in found], [each.size for each in found]
    guard = worse_than_centred(
        [each.name for each in found], boxes, sizes, [truth[each.name] for each in found], replicates=replicates
    )
    trues = [truth[each.name] for each in known]
    own = [each.boxes[0].xyxy if each.boxes else (0, 0, 0, 0) for each in known]
    overlaps = {
        CHOSEN: np.where([bool(each.boxes) for each in known], image_ious(own, trues), math.nan),
        CONSTANT: image_ious(centred_boxes([each.size for each in known], guard.centred.sides[0]), trues),
    }
    figures = {key: np.stack([each, _right(each)], axis=1) for key, each in overlaps.items()}
    if stages:
        nothing = (math.nan, math.nan)
        for key in STAGES.keys() - figures.keys():
            figures[key] = np.array([stages.get(each.name, {}).get(key, nothing) for each in known])
    tally = Tally(replicates)
    tally.update([each.name for each in known], figures)
    return Quality(
        tuple(_stage(key, tally, figures[key], bool(stages)) for key in STAGES if key in figures),
        len(known),
        truth_source,
        guard,
    )


def on_grid(truth: Boxes, size: tuple[int, int], grid: tuple[int, int]) -> Boxes:
    """True boxes of an image of ``size`` (width, height) in the pixels of ``grid`` (height, width)."""
    return scale(truth, size, (grid[1], grid[0]))


def _stage(key: str, tally: Tally, figures: NDArray[np.float64], has_stages: bool) -> Stage:
    title = f"{STAGES[key]} (20 %, PG and score)" if key == CHOSEN and has_stages else STAGES[key]
    return Stage(
        key,
        title,
        tally.estimate(lambda means: means[key][..., 0]),
        tally.estimate(lambda means: 100 * means[key][..., 1]),
        int(np.isfinite(figures[:, 0]).sum()),
    )


def _figures(overlaps: NDArray[np.float64]) -> Figures:
    if not len(overlaps):
        return math.nan, math.nan
    return float(overlaps.mean()), float((overlaps >= RIGHT).mean())


def _right(overlaps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(overlaps), np.nan, overlaps >= RIGHT)


def _cell(estimate: Estimate, decimals: int) -> str:
    if math.isnan(estimate.value):
        return "–"
    text = f"{estimate.value:.{decimals}f}"
    if math.isnan(estimate.low):
        return text
    return f"{text} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(estimate).items()}
