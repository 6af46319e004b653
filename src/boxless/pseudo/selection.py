"""One box of many: what a classifier and the peak of its map leave of the proposals of an image (thesis, 4.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxless.pseudo.records import Floats


@dataclass(frozen=True, slots=True)
class Selection:
    """The proposals of one image, and what each stage says of them."""

    boxes: Floats  # (n, 4) half-open xyxy, in pixels of the image that was given
    objectness: Floats | None  # (n,) by the proposer; None if it gives none
    scores: Floats  # (n,) posterior of the image's class, all but the box blurred; nan where it was not asked for
    top: NDArray[np.bool_]  # (n,) in the best share by objectness, or by score where there is none
    hit: NDArray[np.bool_]  # (n,) holds the peak of the classifier's map of the class
    chosen: int  # place of the box that is kept, or -1 if none is
