"""Where the scene of a video cuts: the one rule, for videos that are learned from and for those that are predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CUT = 0.5  # of all pixels, those that change colour from one frame to the next where the scene is another one
_LEVELS = 6  # of each colour channel, in the histograms that tell
_SAMPLED = 64  # rows and columns of a frame that are looked at for them


@final
class Cuts:
    """Tells, frame by frame, whether the scene is another one than in the frame before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float64] | None = None

    def before(self, frame: NDArray[np.uint8]) -> bool:
        """Whether there is a cut between the frame before and this one, (h, w, 3); not before the first."""
        colours, last = _histogram(frame), self._last
        self._last = colours
        return last is not None and float(np.abs(colours - last).sum()) / 2 > _CUT


def _histogram(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The share of each colour among some of the pixels."""
    step = max(1, min(frame.shape[:2]) // _SAMPLED)
    levels = frame[::step, ::step].reshape(-1, 3).astype(np.int64) * _LEVELS // 256
    counts = np.bincount(levels @ (_LEVELS**2, _LEVELS, 1), minlength=_LEVELS**3)
    return counts / len(levels)
