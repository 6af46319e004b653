"""What prediction asks of a network, whatever runs it: a batch of pixels in, class scores and maps out.

Nothing here imports torch, so that an exported model predicts without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from boxless.data.resizing import squared

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Said:
    """What a network says of a batch."""

    logits: NDArray[np.float64]  # (b, k) class scores
    classes: NDArray[np.int64]  # (b, n) whose maps these are
    maps: NDArray[np.float32]  # (b, n, h, w) in [0, 1], at the size of the input; zeros where they are not finite
    finite: NDArray[np.bool_]  # (b,)


class Engine(ABC):
    """A trained network, ready to look at images."""

    classes: tuple[str, ...]
    threshold: str | float  # "otsu" for each map, or a fraction of each map's maximum
    multi_label: bool  # scores are of classes each on its own (sigmoid), or of one among all (softmax)
    size: int  # side of the square input, in pixels
    any_size: bool  # whether other sizes of the input are taken
    digest: str  # of the weights and what else decides a prediction
    selected_by: str  # what selected the weights, in words
    threshold_from: str
    presence: (
        Mapping[str, Any] | None
    )  # how to tell that there is nothing to find, as `boxless.predict.presence` made it
    batch_size: int  # images in one forward pass, as suits the device
    beside: bool  # whether images are best decoded during a forward pass, and not after it

    @abstractmethod
    def forward(self, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None) -> Said:
        """Class scores and maps.

        Args:
            images: (b, h, w, 3) RGB; h = w = ``size`` unless ``any_size``.
            classes: (b, n) indices of the classes whose maps are wanted; None: the predicted one of each image.
        """

    def resize(self, image: Image.Image, size: int | None = None) -> NDArray[np.uint8]:
        """The RGB image as a square of ``size``, by default the engine's own: (size, size, 3)."""
        return np.asarray(squared(image, size or self.size))

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Class scores (b, k) as probabilities."""
        if self.multi_label:
            return np.asarray(np.exp(-np.logaddexp(0, -logits)))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))
