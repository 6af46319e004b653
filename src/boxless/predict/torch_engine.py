"""A finished run as what looks at images."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np
import torch

from boxless.ops.maps import resize
from boxless.predict.engine import Engine, Said
from boxless.protocol.provenance import of_run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from boxless.runs import Run


@final
class TorchEngine(Engine):
    """A run, on its device."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.classes, self.threshold, self.multi_label = tuple(run.classes), run.threshold, run.multi_label
        self.size, self.digest = run.preprocess.size, run.digest
        self.any_size = run.method.backbone.any_size
        self.selected_by, self.threshold_from = of_run(run)
        criterion = getattr(run, "criterion", "")
        own = run.card.get("selection", {}).get("by", criterion) == criterion
        self.presence = run.card.get("presence") if own else None  # learnt of the weights that the run predicts with
        self.beside = run.device.type != "cpu"  # on a processor the network's threads and decoding's fight for cores
        self.batch_size = 64 if self.beside else 32  # larger where the device hides the cost of a launch
        deviations = torch.tensor(run.preprocess.std, dtype=torch.float32).reshape(3, 1, 1)
        self._scale = (1 / (255 * deviations)).to(run.device)
        self._shift = (-torch.tensor(run.preprocess.mean, dtype=torch.float32).reshape(3, 1, 1) / deviations).to(
            run.device
        )

    @torch.no_grad()  # not inference_mode: methods may take gradients inside
    def forward(self, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None) -> Said:
        """Class scores and maps; see :class:`Engine`."""
        asked = None if classes is None else torch.from_numpy(classes).to(self.run.device)
        said = self.run.method.localize(self._normalized(images), asked)
        logits, maps = said.logits.double(), said.maps.float()
        finite = maps.isfinite().flatten(1).all(1) & logits.isfinite().all(1)  # before clamping: it hides an infinity
        maps = torch.where(finite[:, None, None, None], maps, 0)
        maps = resize(maps, (images.shape[1], images.shape[2])).clamp(0, 1)
        return Said(
            torch.where(finite[:, None], logits, 0).cpu().numpy(),
            said.classes.cpu().numpy(),
            maps.contiguous().cpu().numpy(),
            finite.cpu().numpy(),
        )

    def _normalized(self, images: NDArray[np.uint8]) -> Tensor:
        """As `boxless.data.transforms.Preprocess.normalize` does it, to the last digit.

        Channels stay last in memory, which makes convolutions a third faster.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.run.device, non_blocking=True)
        return pixels.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)
