"""PxAP and pixel IoU as a torchmetrics metric, whose few states are added up over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boxless.metrics._counting import CountingMetric, plain, thresholds_of
from boxless.metrics.masks import piou_of, pixel_counts, precision_recall_of, pxap_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

# The sum of average precisions is kept in whole steps of 2**-40: it is the same in whatever order images come and on
# however many processes, and needs no float64, which some devices lack. It overflows at 8 million images.
_STEPS = 2.0**40


class PixelScores(NamedTuple):  # a named tuple for the reason that BoxScores is one
    """Figures of maps against masks, all nan where there is no foreground pixel in any image."""

    images: int  # all images
    without_foreground: int  # images without a foreground pixel: they count in what is pooled, but have no precision
    pxap: float  # per cent, pooled over all pixels of all images
    mean_image_ap: float  # per cent, the mean of each image's own average precision
    max_piou: float  # in [0, 1], the highest pooled IoU; an oracle, chosen with the masks it is measured against
    max_piou_threshold: float  # where it is reached, the lowest of several
    thresholds: Floats  # (t,) a pixel is foreground if its value reaches it
    precision: Floats  # (t,) in [0, 1]; nan where no pixel reaches the threshold
    recall: Floats  # (t,) in [0, 1]
    piou: Floats  # (t,) in [0, 1]
    foreground: Counts  # (t + 2,) the pooled histograms, see `boxless.metrics.masks`
    background: Counts  # (t + 2,)


class PixelAveragePrecision(CountingMetric):
    """PxAP of maps against masks (Choe et al., CVPR 2020), with pixel IoU and the average precision of single images.

    `boxless.metrics.masks` says how each is defined. Values are compared with thresholds as they are, and not as
    fractions of a map's maximum. It keeps two histograms and no map. On several processes ``compute`` gives the figures
    of all, the same to the last digit as on one.

    Args:
        thresholds: How many, evenly from 0 on, or a strictly ascending row in [0, 1).
        kwargs: Those of `torchmetrics.Metric`.

    Raises:
        DataError: Thresholds that are not as said above.
    """

    foreground: Tensor
    background: Tensor
    images: Tensor
    without: Tensor
    precisions: Tensor

    def __init__(self, thresholds: int | ArrayLike = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thresholds = thresholds_of(thresholds)
        bins = len(self.thresholds) + 2
        for name, shape in (("foreground", (bins,)), ("background", (bins,)), ("images", ()), ("without", ())):
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("precisions", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        maps: Tensor | ArrayLike,
        masks: Tensor | ArrayLike | Sequence[Any],
        ignore: Tensor | ArrayLike | Sequence[Any] | None = None,
    ) -> None:
        """Add a batch of images. If it is refused nothing of it is added.

        Args:
            maps: (b, h, w), in [0, 1], on any device.
            masks: (b, h, w), or one (h, w) for each map: true, or 1, on the object.
            ignore: The same for pixels that do not count, None for none; the object wins where both are marked.

        Raises:
            DataError: What `boxless.metrics.masks.pixel_counts` refuses.
        """
        foreground, background = pixel_counts(plain(maps), _plain_each(masks), _plain_each(ignore), self.thresholds)
        own = pxap_of(foreground, background) / 100
        known = own[~np.isnan(own)]
        self.foreground += self._placed(foreground.sum(axis=0))
        self.background += self._placed(background.sum(axis=0))
        self.precisions += int(np.rint(known * _STEPS).astype(np.int64).sum())
        self.images += len(own)
        self.without += len(own) - len(known)

    def compute(self) -> PixelScores:
        """The figures of all images so far."""
        foreground, background = self.foreground.cpu().numpy(), self.background.cpu().numpy()
        images, without = int(self.images), int(self.without)
        precision, recall = precision_recall_of(foreground, background)
        piou = piou_of(foreground, background)
        best, count = int(piou.argmax()), images - without
        return PixelScores(
            images=images,
            without_foreground=without,
            pxap=float(pxap_of(foreground, background)),
            mean_image_ap=100 * int(self.precisions) / _STEPS / count if count else float("nan"),
            max_piou=float(piou[best]),
            max_piou_threshold=float(self.thresholds[best]) if count else float("nan"),
            thresholds=self.thresholds,
            precision=precision,
            recall=recall,
            piou=piou,
            foreground=foreground.copy(),
            background=background.copy(),
        )

    def _placed(self, counts: Counts) -> Tensor:
        return torch.from_numpy(counts).to(self.foreground.device)


def _plain_each(given: Any) -> Any:
    """A tensor, or each of a list of them, as an array."""
    return [plain(each) for each in given] if isinstance(given, list | tuple) else plain(given)
