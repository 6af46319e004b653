"""Discriminative proposals: of all regions that maps show, the boxes in which a classifier sees the image's class.

Murtaza, Belharbi, Pedersoli, Sarraf and Granger, "DiPS: Discriminative Pseudo-Label Sampling with Self-Supervised
Transformers for Weakly Supervised Object Localization", Image and Vision Computing 140, 2023; here by the thesis of
the first author, section 2.3.2 and Algorithm 2.1. The maps may come from anywhere: attention, spectral, CAM.

Where thesis and published code differ, or are silent:

- A minimum size is in the preliminary study only (appendix I), with no number. The code drops boxes, and not regions,
  whose area is no larger than a fraction of the image, 0.04 on CUB and 0.75 on ILSVRC, over all maps of an image
  together; if that leaves none, the image keeps its largest box.
- The same box from several maps is one proposal, of the first of these maps; the code keeps each, so that one box could
  fill all K places.
- A constant map shows no place and gives no region, where a threshold of Otsu would give the whole image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from numpy.typing import NDArray
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.maps.layers import exact
from boxless.ops.components import components
from boxless.ops.otsu import otsu_thresholds
from boxless.pseudo.records import Candidates, Floats, Proposals, collect
from boxless.pseudo.scoring import Classifier, RegionScorer, box_masks
from boxless.settings import check


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalSettings:
    """What proposals depend on, besides the maps and the classifier.

    Args:
        top_k: Proposals of an image, at most. The authors searched 1 to 10 and took 2 on ILSVRC.
        min_size: The fraction of the map's area that a box must be larger than.
        score: ``posterior`` of the true class (Algorithm 2.1), or the two others of the published code: ``size``, how
            near the box's area is to the mean over the image's boxes, as a normal density divided by its peak; and
            ``product`` of both.
        visible: What the classifier sees sharp: the ``box`` (Algorithm 2.1), or the ``region`` in it, of the map above
            the threshold, as for the baselines of the thesis' table 2.4. Where a classifier is the surer the more it
            sees, as one often is that knows no blur, boxes of all the image win, and regions less so.

    Raises:
        ConfigError: A value that is not as said above.
    """

    top_k: Annotated[int, Ge(1)] = 2
    min_size: Annotated[float, Ge(0), Lt(1)] = 0.04
    score: Literal["posterior", "size", "product"] = "posterior"
    visible: Literal["box", "region"] = "box"

    def __post_init__(self) -> None:
        for name, value in check(ProposalSettings, asdict(self), "proposals").items():
            object.__setattr__(self, name, value)


def propose(
    maps: Tensor,
    images: Tensor,
    labels: Tensor,
    classifier: Classifier,
    *,
    num_classes: int,
    settings: ProposalSettings | None = None,
    size: tuple[int, int] | None = None,
    chunk: int = 32,
) -> Proposals:
    """Algorithm 2.1 for a batch: the top-K boxes by the posterior of the image's class when all else is blurred.

    Of equal scores the larger box comes first, then the earlier map, then the larger region. The proposals of an image
    do not depend on its batch mates.

    Args:
        maps: (b, m, h, w) in [0, 1], on any grid.
        images: (b, 3, h', w'), normalised as the classifier wants.
        labels: (b,) the class of each image.
        classifier: A network or a function that gives class scores (n, k), or a trained method; left as found.
        num_classes: Classes that the labels are of.
        settings: By default those of `ProposalSettings`.
        size: (height, width) that the maps are enlarged to, bilinearly, before regions are looked for; None leaves
            them. The thesis takes that of the images.
        chunk: Images in one pass of the classifier: memory grows with it, and the proposals do not depend on it.

    Returns:
        Proposals on the device of the maps.

    Raises:
        DataError: Maps, images or labels that are not as said above.
        ConfigError: The classifier has another number of classes, gives no class scores, or none that are finite; or
            a chunk is smaller than one image.
    """
    chosen = settings or ProposalSettings()
    coarse = _check(maps, images, chunk)
    values = coarse.numpy() if size is None else _enlarged(coarse, size).numpy()
    pools = [candidates(each, chosen.min_size) for each in values]
    scorer = RegionScorer(classifier, images, labels, num_classes)
    grid = (values.shape[2], values.shape[3])
    regions = _regions(values, pools) if chosen.visible == "region" else None
    posteriors = _posteriors(scorer, pools, grid, chunk, regions)
    best = [_best(pool, posterior, chosen) for pool, posterior in zip(pools, posteriors, strict=True)]
    own = coarse.half()
    return collect(
        best, [own[i, torch.from_numpy(pool.maps)] for i, (pool, _) in enumerate(best)], chosen.top_k, grid
    ).to(maps.device)


def candidates(maps: NDArray[np.generic], min_size: float) -> Candidates:
    """Tight boxes of the 8-connected regions above each map's threshold of Otsu.

    Args:
        maps: (m, h, w) in [0, 1], of one image.
        min_size: The fraction of the map's area that a box must be larger than; if none is, the largest is kept, the
            first of several.

    Raises:
        DataError: Maps that are not (m, h, w), finite and in [0, 1].
    """
    first: dict[tuple[float, ...], int] = {}
    for number, (values, threshold) in enumerate(zip(maps, otsu_thresholds(maps), strict=True)):
        if values.min() == values.max():
            continue
        for box in components(values, float(threshold)).boxes.tolist():
            first.setdefault(tuple(box), number)
    boxes = np.array([*first], dtype=np.float64).reshape(-1, 4)
    shown = np.array([*first.values()], dtype=np.int64)
    sizes = areas_of(boxes) / (maps.shape[1] * maps.shape[2])
    kept = np.flatnonzero(sizes > min_size)
    too_small = bool(len(boxes)) and not len(kept)
    if too_small:
        kept = sizes.argmax(keepdims=True)
    return Candidates(boxes[kept], shown[kept], too_small)


def _posteriors(
    scorer: RegionScorer,
    pools: list[Candidates],
    grid: tuple[int, int],
    chunk: int,
    regions: list[NDArray[np.bool_]] | None,
) -> list[Floats]:
    """The posterior of each image's boxes; the passes run over all boxes of the batch, whosever they are."""
    device, size = scorer.images.device, (scorer.images.shape[2], scorer.images.shape[3])
    lengths = [len(pool.boxes) for pool in pools]
    owners = torch.arange(len(pools)).repeat_interleave(torch.tensor(lengths))
    boxes = torch.from_numpy(np.concatenate([pool.boxes for pool in pools]).astype(np.int64))
    posteriors = np.zeros(len(boxes))
    first = np.cumsum([0, *lengths])
    for start in range(0, len(boxes), chunk):
        some = slice(start, start + chunk)
        inside = box_masks(boxes[some].to(device), grid, size)
        if regions is not None:
            places = range(start, start + len(inside))
            masks = np.stack([regions[owners[i]][i - first[owners[i]]] for i in places])
            inside &= _fitted(torch.from_numpy(masks).to(device), size)
        posteriors[some] = scorer(owners[some], inside).numpy()
    return np.split(posteriors, first[1:-1])


def _regions(values: NDArray[np.generic], pools: list[Candidates]) -> list[NDArray[np.bool_]]:
    """For each image's boxes what of their maps is above the threshold, (n, h, w) each."""
    found = []
    for maps, pool in zip(values, pools, strict=True):
        own = maps[pool.maps]
        levels = otsu_thresholds(own) * own.max((1, 2)) if len(own) else np.zeros(0)
        found.append(own > levels[:, None, None])
    return found


def _fitted(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (n, h, w) at the size of images, by the nearest pixel."""
    if masks.shape[1:] == torch.Size(size):
        return masks
    return F.interpolate(masks[:, None].to(torch.uint8), size, mode="nearest-exact")[:, 0].bool()


def _best(pool: Candidates, posterior: Floats, settings: ProposalSettings) -> tuple[Candidates, Floats]:
    areas = areas_of(pool.boxes)
    score = combined(posterior, areas, settings.score)
    order = np.lexsort((-areas, -score))[: settings.top_k]  # stable: equal ones stay in the order of the pool
    return replace(pool, boxes=pool.boxes[order], maps=pool.maps[order]), score[order]


def combined(posterior: Floats, areas: Floats, kind: str) -> Floats:
    """Scores (n,) of the boxes of an image by what `ProposalSettings.score` says, of their posteriors and areas."""
    if kind == "posterior":
        return posterior
    # The code does not divide by the peak: that leaves the order of an image's boxes as it is. Boxes of one size have
    # no deviation, and the code gives them nan.
    deviation = areas.std() if len(areas) else 0.0
    distance = (areas - areas.mean()) / deviation if deviation else np.zeros_like(areas)
    density: Floats = np.exp(-0.5 * distance**2)
    return density if kind == "size" else density * posterior


def areas_of(boxes: Floats) -> Floats:
    """Areas (n,) of boxes (n, 4)."""
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False).clamp(0, 1)


def _check(maps: Tensor, images: Tensor, chunk: int) -> Tensor:
    """The maps on the processor."""
    if chunk < 1:
        raise ConfigError(f"chunk: got {chunk}; at least one image must be looked at in a pass.")
    if maps.ndim != 4 or not maps.numel() or not maps.is_floating_point() or len(maps) != len(images):
        raise DataError(
            f"maps of shape {tuple(maps.shape)} and type {maps.dtype}: expected floats (images, maps, height, width), "
            f"with maps of each of the {len(images)} images."
        )
    values = exact(maps.detach()).cpu()
    wrong = ~((values >= 0) & (values <= 1)).all(-1).all(-1)  # written so that a nan is refused
    if wrong.any():
        image, number = wrong.nonzero()[0].tolist()
        raise DataError(
            f"map {number} of image {image} holds values that are not finite or not in [0, 1]: "
            "see boxless.ops.normalize."
        )
    return values
