"""Cross-entropy on the few pixels that have a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.errors import DataError

BACKGROUND, FOREGROUND = 0, 1
IGNORED = -255  # the label of a pixel that no loss looks at; the authors' number


def partial_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Partial cross-entropy (thesis, equation 2.1): the mean over each image's labelled pixels, then over images.

    Each image weighs the same, however many of its pixels are labelled, so that a batch may be cut into parts; an
    image without a labelled pixel counts as 0. Equation 2.4 has the sum over pixels where this has the mean: with a
    fixed number of pixels the weight of the loss makes up for it.

    Args:
        logits: (b, 2, h, w) scores before the softmax, background first. Half precision is computed in single.
        labels: (b, h, w) int64: 0 background, 1 foreground, `IGNORED` neither.

    Returns:
        The loss, a single number.

    Raises:
        DataError: Shapes that do not fit, or labels that are not int64.
    """
    if logits.ndim != 4 or logits.shape[1] != 2 or not len(logits):
        raise DataError(f"logits: got shape {tuple(logits.shape)}; give (b, 2, h, w), background first.")
    expected = (len(logits), *logits.shape[2:])
    if labels.shape != expected or labels.dtype != torch.int64:
        raise DataError(f"labels: got {labels.dtype} of shape {tuple(labels.shape)}; give int64 of shape {expected}.")
    scores = logits if logits.dtype == torch.float64 else logits.float()
    each = F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="none")
    labelled = (labels != IGNORED).sum((1, 2))
    return (each.sum((1, 2)) / labelled.clamp(min=1)).mean()
