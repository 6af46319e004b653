"""Which template suits images and classes best: the search by sharpness of CLIP-ES.

Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023, section 3.3: under a sharp prompt one of the classes of an
image takes most of the score, and images of several classes are segmented worse. The published code has no search; this
is the formula of the paper. What it leaves open: here the variance is that of the classes of an image themselves
(divided by their number, not one less), and the softmax is over all classes of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from boxless.errors import DataError
from boxless.text import prompts
from boxless.text.towers import TextTower

_SCALE = 100.0  # of logits, as CLIP's training bounds it


def sharpness(scores: Tensor, targets: Tensor) -> float:
    """The sum over images of the variance of the scores of its classes, divided by their mean.

    An image of one class adds nothing. The variance, not the standard deviation, for the mean may be close to zero.

    Args:
        scores: (n, k) after the softmax over classes.
        targets: (n, k), true where an image has the class.

    Raises:
        DataError: Shapes that differ, negative scores, an image of no class or all of whose classes score 0, or none of
            several classes.
    """
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise DataError(f"scores {tuple(scores.shape)}, targets {tuple(targets.shape)}: expected (n, k) of both.")
    present = targets.bool().double()
    counts = present.sum(1)
    if not (counts > 0).all():
        raise DataError(f"image {int((counts == 0).int().argmax())} has no class; leave it out.")
    if not (counts > 1).any():
        raise DataError("no image has several classes, and sharpness compares those of one image.")
    values = scores.double()
    means = (values * present).sum(1) / counts
    if not (values.isfinite() & (values >= 0)).all() or not (means > 0).all():
        raise DataError("scores must be finite, and some of each image's positive: give the softmax of the logits.")
    variances = ((values - means[:, None]).square() * present).sum(1) / counts
    return float((variances / means).sum())


@torch.no_grad()
def search_templates(
    tower: TextTower,
    names: Sequence[str],
    candidates: Sequence[str],
    *,
    images: Tensor,
    targets: Tensor,
    scale: float = _SCALE,
) -> list[tuple[str, float]]:
    """Templates with their sharpness, the least sharp first, which are the best; equal ones stay in their order.

    Args:
        tower: The text tower of the model that embedded the images.
        names: k names of classes, as prompts use them.
        candidates: Templates, each with ``{}`` once.
        images: Embeddings (n, d) in the space of the tower; their lengths do not matter.
        targets: (n, k), true where an image has the class.
        scale: Factor of cosines before the softmax.

    Raises:
        ConfigError: A template without its place, or none.
        DataError: As of `sharpness`, images of another width than the tower's, or a prompt that is too long.
    """
    if images.ndim != 2 or images.shape[1] != tower.dimensions:
        raise DataError(f"images {tuple(images.shape)}: expected (n, {tower.dimensions}), as {tower.title} embeds.")
    units = normalize(images.double().cpu(), dim=1)
    found: list[tuple[str, float]] = []
    for template in prompts.templates(candidates):
        texts = tower(prompts.prompts(names, (template,))).double()
        found.append((template, sharpness((scale * units @ texts.T).softmax(1), targets.cpu())))
    return sorted(found, key=lambda each: each[1])
