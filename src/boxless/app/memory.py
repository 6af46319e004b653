"""What a network said lately: a slider that is moved asks for the same image again, and only the boxes are new."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar, final

from boxless.predict.engine import Engine, Said

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value = TypeVar("Value")
_KEPT = 64  # images; a map at 224 pixels is 0.2 MB


@final
class Latest(Generic[Value]):
    """A table of the values that were asked for last; threads may share it.

    Args:
        most: Values in it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of ``key``, made where it is not there."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]


@final
class Remembering(Engine):
    """An engine that looks at the same pixels once."""

    def __init__(self, engine: Engine) -> None:
        self.classes, self.threshold, self.multi_label = engine.classes, engine.threshold, engine.multi_label
        self.size, self.any_size, self.digest = engine.size, engine.any_size, engine.digest
        self.selected_by, self.threshold_from = engine.selected_by, engine.threshold_from
        self.presence, self.batch_size, self.beside = engine.presence, engine.batch_size, engine.beside
        self._engine = engine
        self._latest: Latest[Said] = Latest(_KEPT)

    def forward(self, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None) -> Said:
        """Class scores and maps; see :class:`Engine`."""
        key = (images.shape, images.tobytes(), None if classes is None else classes.tobytes())
        return self._latest.get(key, lambda: self._engine.forward(images, classes))
