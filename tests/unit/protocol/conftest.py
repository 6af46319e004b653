from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from boxless.protocol.scoring import Named, Scoring
from boxless.protocol.threshold import parse_sources

SIZE = (10, 10)
WHOLE, STRIPE, HALF = (0, 0, 10, 10), (0, 0, 2, 10), (0, 0, 5, 10)
SEVEN = [[STRIPE]] * 3 + [[HALF]] * 2 + [[WHOLE]] * 2
"""True boxes whose best threshold is another one at each IoU level, for maps of `steps`."""


@pytest.fixture(scope="session")
def steps() -> np.ndarray:
    """Ten columns: the box is the whole below the threshold 0.25, the left half below 0.5, then the left fifth.

    IoU with the true box STRIPE: 0.2, 0.4, 1. With HALF: 0.5, 1, 0.4. With WHOLE: 1, 0.5, 0.2. Otsu's threshold is
    just above 0.5, as 0.8 * 0.2 * (1 - 0.34375)^2 = 0.069 is more than 0.5 * 0.5 * (0.7 - 0.25)^2 = 0.051.
    """
    return np.tile(np.repeat([1.0, 0.5, 0.25], [2, 3, 5]), (10, 1))


Score = Callable[..., Scoring]


@pytest.fixture
def score(steps: np.ndarray) -> Score:
    def make(
        truth: Sequence[Any] = SEVEN,
        *,
        protocol: str = "otsu,fixed=0.3,oracle-test",
        named: Named | None = None,
        maps: Any = None,
        replicates: int = 0,
        batch: int = 3,
        **options: Any,
    ) -> Scoring:
        """A scoring of images "0", "1", ... with these true boxes and, if no maps are given, `steps`."""
        scoring = Scoring(parse_sources(protocol, "otsu"), replicates=replicates, **options)
        given = np.stack([steps] * len(truth)) if maps is None else np.asarray(maps)
        for start in range(0, len(truth), batch):
            part = slice(start, start + batch)
            some = Named(named.first[part], named.five[part], named.maps[part]) if named else None
            boxes = [np.array(each, dtype=np.float64).reshape(-1, 4) for each in truth[part]]
            names = [str(start + i) for i in range(len(boxes))]
            scoring.update(names, given[part], boxes, [SIZE] * len(boxes), some)
        return scoring

    return make
