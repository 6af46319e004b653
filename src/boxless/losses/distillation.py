"""TeD-Loc's losses: patches and images are pulled to the anchor of their class, and each patch is told object or not.

Murtaza, Belharbi, Pedersoli and Granger, "TeD-Loc: Text Distillation for Weakly Supervised Object Localization",
arXiv:2501.12632, 2025; chapter 3 of the first author's thesis, whose equations are meant here. Anchors are those of
`boxless.ops.anchors`, labels of patches those of `boxless.pseudo.pixels`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.errors import DataError
from boxless.losses.partial import FOREGROUND, partial_cross_entropy


def anchor_scores(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """The scoring function f of section 3.3: dot products of embeddings with the anchors of all classes.

    There is no temperature, and embeddings keep their length: they may grow as far as the cross-entropy wants. Anchors
    are frozen: no gradient reaches them.

    Args:
        embeddings: (b, d) of images or (b, d, ...) of patches. Half precision is computed in single.
        anchors: (k, d), of unit length.

    Returns:
        (b, k) or (b, k, ...) scores, to be read as logits.

    Raises:
        DataError: Shapes that do not fit.
    """
    if anchors.ndim != 2 or embeddings.ndim < 2 or embeddings.shape[1] != anchors.shape[1]:
        raise DataError(
            f"embeddings of shape {tuple(embeddings.shape)} and anchors of shape {tuple(anchors.shape)}: "
            "give (b, d) or (b, d, ...) and (k, d), with the same d."
        )
    values = _precise(embeddings)
    with torch.autocast(values.device.type, enabled=False):
        scores: Tensor = torch.einsum("bd...,kd->bk...", values, anchors.detach().to(values))
    return scores


def patch_distillation(embeddings: Tensor, anchors: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """KD, distillation to patches (equation 3.1): cross-entropy of the class at each patch labelled as foreground.

    It is the mean over each image's foreground patches, then over images, as `boxless.losses.partial` has it; an image
    without one counts as 0. The equation has the sum: with n patches of each kind that is n times this one, and 2 n
    times `patch_classification`, which the weights of equation 3.5 make up for. Background has no anchor: its patches
    take no part, and get no gradient.

    A patch shows one class. In an image that shows several it is the class whose map the labels were drawn from, and
    the others count as wrong there like any other.

    Args:
        embeddings: (b, d, h, w) of patches. Half precision is computed in single.
        anchors: (k, d), frozen.
        classes: (b,) int64 in [0, k): the class of the foreground of each image.
        labels: (b, h, w) int64: 1 foreground; all else is not looked at.

    Returns:
        The loss, a single number.

    Raises:
        DataError: Shapes or types that do not fit, or classes without an anchor.
    """
    _check_patches(embeddings, labels, "labels")
    if labels.dtype != torch.int64:
        raise DataError(f"labels: got {labels.dtype}; give int64.")
    _check_classes(classes, len(embeddings), len(anchors))
    foreground = labels == FOREGROUND
    image, row, column = foreground.nonzero(as_tuple=True)
    # Only these are scored: for all patches of a fine grid and a thousand classes there is no memory.
    scores = anchor_scores(embeddings.movedim(1, 3)[image, row, column], anchors)
    each = F.cross_entropy(scores, classes[image], reduction="none")
    return (each / foreground.sum((1, 2))[image]).sum() / len(embeddings)


def patch_classification(logits: Tensor, labels: Tensor) -> Tensor:
    """PC, the patch classifier's loss (equation 3.2): cross-entropy of foreground or background at labelled patches.

    It is the mean over each image's labelled patches, then over images: `partial_cross_entropy`, of a classifier that
    gives one number. See `patch_distillation` for the sum of the equation.

    Args:
        logits: (b, h, w), g before the sigmoid: positive where it sees the object. Of a classifier with two outputs it
            is the foreground's less the background's. Half precision is computed in single.
        labels: (b, h, w) int64: 0 background, 1 foreground, `boxless.losses.partial.IGNORED` neither.

    Returns:
        The loss, a single number.

    Raises:
        DataError: Shapes or types that do not fit.
    """
    if logits.ndim != 3 or not len(logits):
        raise DataError(f"logits: got shape {tuple(logits.shape)}; give (b, h, w), one number for each patch.")
    scores = _precise(logits)
    return partial_cross_entropy(torch.stack([torch.zeros_like(scores), scores], 1), labels)


def foreground_pooling(embeddings: Tensor, logits: Tensor) -> Tensor:
    """The embedding h of an image (equation 3.3): the mean of its patches' embeddings, weighted by g.

    The weights of an image sum to one, also where g sees no object: the patches that it takes for background least
    then have the most. They are found from the logits, for g itself may be 0 at all patches when rounded. Gradients
    reach embeddings and logits.

    Args:
        embeddings: (b, d, h, w) of patches. Half precision is computed in single.
        logits: (b, h, w), g before the sigmoid.

    Returns:
        (b, d) embeddings of images: float64 of float64 embeddings, else float32.

    Raises:
        DataError: Shapes that do not fit.
    """
    _check_patches(embeddings, logits, "logits")
    values = _precise(embeddings)
    with torch.autocast(values.device.type, enabled=False):
        return torch.einsum("bdhw,bhw->bd", values, foreground_weights(logits.to(values)))


def foreground_weights(logits: Tensor) -> Tensor:
    """The weights a of patches (b, h, w) in `foreground_pooling`, from g before the sigmoid; an image's sum to one."""
    # Of logarithms the softmax is g / sum(g).
    return F.logsigmoid(_precise(logits)).flatten(1).softmax(1).view(logits.shape)


def image_classification(embeddings: Tensor, anchors: Tensor, targets: Tensor) -> Tensor:
    """IC, the loss of pooled embeddings (equation 3.4): cross-entropy of the image's class, the mean over images.

    The thesis has one class an image. Images that may show several are taught as by `boxless.losses.classification`:
    mean binary cross-entropy over classes, with the dot products as logits.

    Args:
        embeddings: (b, d) of `foreground_pooling`. Half precision is computed in single.
        anchors: (k, d), frozen.
        targets: (b,) int64 in [0, k), the class of each image; or (b, k) floats, 1 for each class that it shows.

    Returns:
        The loss, a single number.

    Raises:
        DataError: Shapes or types that do not fit, or classes without an anchor.
    """
    if embeddings.ndim != 2 or not len(embeddings):
        raise DataError(f"embeddings: got shape {tuple(embeddings.shape)}; give (b, d), one for each image.")
    scores = anchor_scores(embeddings, anchors)
    if targets.is_floating_point():
        if targets.shape != scores.shape:
            raise DataError(f"targets: got shape {tuple(targets.shape)}; several classes are {tuple(scores.shape)}.")
        return F.binary_cross_entropy_with_logits(scores, targets.to(scores))
    _check_classes(targets, len(embeddings), len(anchors))
    return F.cross_entropy(scores, targets)


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _check_patches(embeddings: Tensor, others: Tensor, name: str) -> None:
    if embeddings.ndim != 4 or not embeddings.numel():
        raise DataError(f"embeddings: got shape {tuple(embeddings.shape)}; give (b, d, h, w), not empty.")
    expected = (len(embeddings), *embeddings.shape[2:])
    if others.shape != expected:
        raise DataError(
            f"{name}: got shape {tuple(others.shape)}; embeddings {tuple(embeddings.shape)} ask for one of {expected}."
        )


def _check_classes(classes: Tensor, images: int, anchors: int) -> None:
    if classes.shape != (images,) or classes.dtype != torch.int64:
        raise DataError(
            f"classes: got {classes.dtype} of shape {tuple(classes.shape)}; give one class an image, int64 of shape "
            f"({images},)."
        )
    lowest, highest = int(classes.min()), int(classes.max())
    if lowest < 0 or highest >= anchors:
        raise DataError(f"classes: got {lowest} to {highest}, and there are anchors for 0 to {anchors - 1}.")
