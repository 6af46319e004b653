"""One box of many: what a classifier and the peak of its map leave of the proposals of an image.

Thesis, sections 4.3.1 and 4.6.3, figure 4.3 and table 4.5: of all proposals the best fifth by objectness, or by the
classifier's score where there is none; of these the boxes that hold the peak of the classifier's map of the image's
class (the pointing game); of these the best by the posterior of the class with all around the box blurred.

What the thesis leaves open, and what is done here:

- A fifth of n boxes is rounded up, so that there is one.
- Where a stage leaves no box it is passed over, and the choice is among those of the stage before: the authors' own
  files have a box by Selective Search and by a region proposal network for every image.
- The peak is the middle of the map's highest cell; of several, of the first by rows. A flat map has none.
- Of equal scores the larger box comes first, then the earlier one.
- The classifier's score of the first stage is that of the last.
- A classifier that never saw a blur is the surer the more it sees, so that the posterior alone chooses boxes of most of
  the image (as the thesis' boxes by Selective Search are: half of it on both sets, where objects take 27 and 40 %).
  ``product`` weighs it with how near the box's size is to the mean of the image's boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxless.ops.boxes import iou
from boxless.pseudo.proposals import areas_of, combined
from boxless.pseudo.records import Floats, Integers
from boxless.pseudo.scoring import Classifier, RegionScorer, box_masks

Bools = NDArray[np.bool_]
Score = Literal["posterior", "product"]
CHUNK = 32  # regions in one pass of the classifier


@dataclass(frozen=True, slots=True)
class Pool:
    """What a proposer found in one image."""

    boxes: Floats  # (n, 4) half-open xyxy, in pixels of the image that was given
    objectness: Floats | None = None  # (n,) the higher the likelier; None if it gives none


@dataclass(frozen=True, slots=True)
class Selection:
    """The proposals of one image, and what each stage says of them."""

    boxes: Floats  # (n, 4) half-open xyxy, in pixels of the image that was given
    objectness: Floats | None  # (n,) by the proposer; None if it gives none
    scores: Floats  # (n,) in [0, 1], by which the last stage chooses: `Score`; nan where the classifier was not asked
    top: Bools  # (n,) in the best share by objectness, or by score where there is none
    hit: Bools  # (n,) holds the peak of the classifier's map of the class
    chosen: int  # place of the box that is kept, or -1 if there is none


def select(
    pools: Sequence[Pool],
    maps: Tensor,
    images: Tensor,
    labels: Tensor,
    classifier: Classifier,
    *,
    num_classes: int,
    share: float = 0.2,
    score: Score = "product",
    chunk: int = CHUNK,
) -> list[Selection]:
    """Choose one box of each image. What is said of an image does not depend on its batch mates.

    Args:
        pools: The proposals of each image.
        maps: (b, h', w') of the classifier for each image's class, on any grid.
        images: (b, 3, h, w), normalised as the classifier wants.
        labels: (b,) the class of each image.
        classifier: As `boxless.pseudo.scoring.RegionScorer` takes it.
        num_classes: Classes that the labels are of.
        share: The best part of the boxes, of which one is chosen.
        score: ``posterior`` as in the thesis, or ``product``.
        chunk: Regions in one pass of the classifier: memory grows with it.

    Raises:
        DataError, ConfigError: As the scorer says.
    """
    size = (images.shape[2], images.shape[3])
    hits = [_holds(pool.boxes, peak) for pool, peak in zip(pools, _peaks(maps, size), strict=True)]
    tops = [None if pool.objectness is None else best_share(pool.objectness, pool.boxes, share) for pool in pools]
    asked = [
        np.ones(len(hit), dtype=np.bool_) if top is None else _narrowed(top, hit)
        for top, hit in zip(tops, hits, strict=True)
    ]
    scorer = RegionScorer(classifier, images, labels, num_classes)
    posteriors = _posteriors(scorer, [pool.boxes for pool in pools], asked, chunk)
    found = []
    for pool, hit, top, posterior in zip(pools, hits, tops, posteriors, strict=True):
        scores = combined(posterior, areas_of(pool.boxes), score)
        top = best_share(scores, pool.boxes, share) if top is None else top
        among = np.flatnonzero(_narrowed(top, hit))
        order = _order(scores[among], pool.boxes[among])
        chosen = int(among[order[0]]) if len(among) else -1
        found.append(Selection(pool.boxes, pool.objectness, scores, top, hit, chosen))
    return found


def best_share(values: Floats, boxes: Floats, share: float) -> Bools:
    """Which of n boxes are the best ``ceil(share * n)``."""
    best = np.zeros(len(values), dtype=np.bool_)
    best[_order(values, boxes)[: ceil(share * len(values))]] = True
    return best


def shortlist(boxes: Floats, size: tuple[int, int], *, min_size: float, overlap: float, most: int) -> Integers:
    """Places of the boxes that are worth a look of a classifier, the largest first.

    Boxes of no more than a part ``min_size`` of the image are left out, if there are others, and those that overlap a
    larger one by an IoU of more than ``overlap``; of what is left the ``most`` largest stay. Of equally large ones the
    upper comes first, then the left one: the order in which they are given has no say.

    Args:
        boxes: (n, 4).
        size: The image's (height, width).
        min_size: As said.
        overlap: As said.
        most: As said.
    """
    areas = areas_of(boxes)
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 0], boxes[:, 1], -areas))
    large = order[areas[order] > min_size * size[0] * size[1]]
    order = large if len(large) else order
    alike = iou(boxes[order], boxes[order]) > overlap
    kept: list[int] = []
    for place in range(len(order)):
        if len(kept) < most and not alike[place, kept].any():
            kept.append(place)
    return np.asarray(order[kept], dtype=np.int64)


def _peaks(maps: Tensor, size: tuple[int, int]) -> Floats:
    """The middle (b, 2), x and y, of the highest cell of each map, in pixels of ``size``; nan of a flat one."""
    flat = maps.detach().double().flatten(1).cpu()
    rows, columns = maps.shape[1:]
    place = flat.argmax(1)
    peaks = torch.stack([(place % columns + 0.5) * size[1] / columns, (place // columns + 0.5) * size[0] / rows], 1)
    peaks[flat.amax(1) <= flat.amin(1)] = torch.nan
    return np.asarray(peaks.numpy(), dtype=np.float64)


def _holds(boxes: Floats, peak: Floats) -> Bools:
    inside = (boxes[:, :2] <= peak) & (peak < boxes[:, 2:])
    return np.asarray(inside.all(1), dtype=np.bool_)


def _narrowed(before: Bools, stage: Bools) -> Bools:
    """What a stage leaves of the boxes before it; all of them if that is none."""
    both: Bools = before & stage
    return both if both.any() else before


def _order(scores: Floats, boxes: Floats) -> Integers:
    order: Integers = np.lexsort((-areas_of(boxes), -scores))  # stable: equal ones stay as they come
    return order


def _posteriors(scorer: RegionScorer, boxes: Sequence[Floats], asked: Sequence[Bools], chunk: int) -> list[Floats]:
    """Of each image's boxes; the passes run over all that are asked for of the batch, whosever they are."""
    size = (scorer.images.shape[2], scorer.images.shape[3])
    owners = torch.arange(len(boxes)).repeat_interleave(torch.tensor([int(each.sum()) for each in asked]))
    # To whole pixels, outwards: a pixel that a box touches in part is shown.
    every = np.concatenate([each[some] for each, some in zip(boxes, asked, strict=True)])
    whole = torch.from_numpy(np.concatenate([np.floor(every[:, :2]), np.ceil(every[:, 2:])], 1).astype(np.int64))
    values = np.zeros(len(owners))
    for start in range(0, len(owners), chunk):
        some = slice(start, start + chunk)
        inside = box_masks(whole[some].to(scorer.images.device), size, size)
        values[some] = scorer(owners[some], inside).numpy()
    posteriors = [np.full(len(each), np.nan) for each in boxes]
    parts = np.split(values, np.cumsum([int(each.sum()) for each in asked])[:-1])
    for posterior, some_of, part in zip(posteriors, asked, parts, strict=True):
        posterior[some_of] = part
    return posteriors
