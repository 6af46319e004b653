"""What an exported model computes after the resizing, as a network: normalisation, network, map, threshold, mask."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn

from boxless.ops.maps import resize
from boxless.ops.otsu_of_tensors import otsu_of_tensors
from boxless.runs import Run

Maps = Literal["predicted", "all", "shared"]


@final
class Graph(nn.Module):
    """A run as one network.

    Args:
        run: On the processor.
        maps: ``predicted`` gives the map of the predicted class; ``all`` a map for each class; ``shared`` the one map
            that serves all classes.
    """

    def __init__(self, run: Run, maps: Maps) -> None:
        super().__init__()
        self.method, self.threshold, self.multi_label = run.method, run.threshold, run.multi_label
        self.every = maps == "all"
        fixed = 0.0 if run.threshold == "otsu" else float(run.threshold)
        self.register_buffer("fixed", torch.tensor(fixed, dtype=torch.float64))
        self.fixed: Tensor
        deviations = torch.tensor(run.preprocess.std, dtype=torch.float32).reshape(3, 1, 1)
        self.register_buffer("scale", 1 / (255 * deviations))
        mean = torch.tensor(run.preprocess.mean, dtype=torch.float32).reshape(3, 1, 1)
        self.register_buffer("shift", -mean / deviations)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits (b, k), scores (b, k), label (b,), maps (b, n, h, w), threshold (b, n) and mask (b, n, h, w).

        Args:
            pixels: (b, 3, h, w) in [0, 255], of the network's size.
        """
        images = pixels * self.scale + self.shift
        classes = torch.arange(self.method.num_classes).expand(images.shape[0], -1) if self.every else None
        said = self.method.localize(images, classes)
        logits = said.logits.float()
        scores = logits.sigmoid() if self.multi_label else logits.softmax(1)
        maps = resize(said.maps.float(), (images.shape[2], images.shape[3]))
        threshold = self._thresholds(maps)
        # As `boxless.ops.components` has it: the product and the comparison in float64.
        values = maps.double()
        mask = values > threshold[..., None, None] * values.amax((-2, -1), keepdim=True)
        return logits, scores, logits.argmax(1), maps, threshold, mask.to(torch.uint8)

    def _thresholds(self, maps: Tensor) -> Tensor:
        if isinstance(self.threshold, str):
            return otsu_of_tensors(maps)
        return self.fixed.expand(maps.shape[0], maps.shape[1])
