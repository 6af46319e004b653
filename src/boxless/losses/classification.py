"""The loss of a classifier taught by image labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from boxless.types import Batch


def classification(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy, or for data whose images may show several classes the mean binary cross-entropy over classes.

    Args:
        logits: (b, k) class scores.
        batch: The batch that they were made from.
    """
    if batch.multi_label:
        return F.binary_cross_entropy_with_logits(logits, batch.targets)
    return F.cross_entropy(logits, batch.labels)
