"""What the torchmetrics metrics of this package have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from boxless.errors import DataError
from boxless.ops._checks import check_ascending

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class CountingMetric(Metric):  # type: ignore[misc,unused-ignore]
    """A metric whose states are counts, which add up."""

    full_state_update = False
    higher_is_better = True

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same settings counted."""
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics keeps what was computed before the merge


def thresholds_of(thresholds: int | ArrayLike) -> NDArray[np.float64]:
    """That many thresholds from 0 on, or these.

    Raises:
        DataError: No positive number, or a row that is not strictly ascending in [0, 1).
    """
    if isinstance(thresholds, int | np.integer) and not isinstance(thresholds, bool):
        if thresholds < 1:
            raise DataError(f"thresholds: got {thresholds}; give one or more.")
        return check_ascending(np.arange(thresholds) * (1 / thresholds))  # as numpy.arange(0, 1, 1 / thresholds) has it
    return check_ascending(np.asarray(thresholds))


def plain(values: Any) -> Any:
    """A tensor of any device as an array; anything else as it is."""
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
