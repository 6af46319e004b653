"""What a network's classes are called in the output: their own names, or coarser ones that several share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from boxless.errors import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class Names:
    """Classes of the output, in the order of the first of the network's classes that each stands for.

    Args:
        fine: The network's classes.
        label_map: Pairs of a network's class and what it is called; a class that is left out keeps its name.

    Raises:
        UnknownNameError: A pair names no class of the network.
    """

    def __init__(self, fine: Sequence[str], label_map: Sequence[tuple[str, str]] = ()) -> None:
        called = dict(label_map)
        for name in called:
            if name not in fine:
                raise UnknownNameError("class of the label map", name, list(fine))
        coarse = [called.get(name, name) for name in fine]
        self.classes = tuple(dict.fromkeys(coarse))
        self._index = np.array([self.classes.index(name) for name in coarse], np.int64)

    def index_of(self, fine: int) -> int:
        """The class of the output that the network's class ``fine`` belongs to."""
        return int(self._index[fine])

    def merged(self, probabilities: NDArray[np.float64], *, multi_label: bool) -> NDArray[np.float64]:
        """Probabilities (k,) of the network's classes as those of the output's.

        Where one class excludes the others they add up; where an image may show several, the highest counts.
        """
        merged = np.zeros(len(self.classes))
        (np.maximum if multi_label else np.add).at(merged, self._index, probabilities)
        return merged

    def foremost(self, index: int, probabilities: NDArray[np.float64]) -> int:
        """The most probable of the network's classes that class ``index`` of the output stands for."""
        members = np.flatnonzero(self._index == index)
        return int(members[probabilities[members].argmax()])
