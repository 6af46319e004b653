"""Maps from class scores alone: each channel of a layer masks the image, and weighs by what the network still sees."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.maps.base import MapExtractor, asked, onto_finest, weighted_sum
from boxless.maps.layers import exact, to_grid
from boxless.maps.session import Session
from boxless.methods.base import Paper
from boxless.ops.maps import normalize

Masks = Literal["image", "grid"]


class ScoreMap(MapExtractor):
    """The sum of a layer's channels, each weighed by a softmax over channels of the score of the image under its mask.

    The papers subtract the score of the whole image; it is the same for every channel and leaves the softmax as it is.
    """

    def __init__(self, masks: Masks, chunk: int, steps: int = 1) -> None:
        self.masks, self.chunk, self.steps = masks, chunk, steps

    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass for the activations, then as many as there are steps for each channel of each layer."""
        size = (images.shape[2], images.shape[3])
        with torch.no_grad():
            with Session(model, layers) as session:
                logits = session.forward(images)
                outputs = session.kept()
            classes = asked(logits, targets)
            grids = [to_grid(out, model, name, size, len(images)) for name, out in zip(layers, outputs, strict=True)]
            with Session(model, ()) as session:
                pixels = images.to(logits.device)
                weights = [self._scores(session, pixels, classes, grid).softmax(1) for grid in grids]
        maps = [weighted_sum(weight, grid).relu() for weight, grid in zip(weights, grids, strict=True)]
        fused = onto_finest([normalize(each) for each in maps]).mean(0) if len(maps) > 1 else maps[0]
        return fused, logits, classes

    @abstractmethod
    def masked(self, images: Tensor, masks: Tensor, step: int, noise: Tensor) -> Tensor:
        """Images (n, 3, h, w) under masks (n, 1, h, w) in [0, 1].

        Args:
            images: Normalised images.
            masks: One for each.
            step: 1 to ``steps``.
            noise: What `noise` draws, for each.
        """

    def noise(self, images: Tensor) -> Noise:
        """The source of noise for these images; by default of none."""
        return Noise(0.0, (1, 1, 1), 0)

    def _scores(self, session: Session, images: Tensor, classes: Tensor, grid: Tensor) -> Tensor:
        """Each channel's mean score over the steps, (b, c)."""
        count, channels = grid.shape[:2]
        totals = grid.new_zeros(channels * count)
        noise = self.noise(images)
        for step in range(1, self.steps + 1):
            for start in range(0, channels * count, self.chunk):
                pairs = torch.arange(start, min(start + self.chunk, channels * count), device=grid.device)
                which, channel = pairs % count, pairs // count
                masks = self._upsampled(grid[which, channel][:, None], (images.shape[2], images.shape[3]))
                drawn = noise.draw([(step, each) for each in channel.tolist()]).to(images)
                scores = session.forward(self.masked(images[which], masks.to(images), step, drawn))
                totals[pairs] += exact(scores.gather(1, classes[which, None])[:, 0])
        return totals.reshape(channels, count).T / self.steps

    def _upsampled(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        if self.masks == "grid":
            return F.interpolate(normalize(maps), size, mode="bilinear", align_corners=False)
        return normalize(F.interpolate(maps, size, mode="bilinear", align_corners=True))


@final
class Noise:
    """Gaussian noise that belongs to a channel and a step: the same for each image, whatever the chunk or the device.

    Args:
        std: Its standard deviation; 0 for none.
        shape: Of the noise for one image.
        seed: Of a generator on the processor.
    """

    def __init__(self, std: float, shape: tuple[int, ...], seed: int) -> None:
        self.std, self.shape = std, shape
        self._generator = torch.Generator().manual_seed(seed)
        self._last: tuple[tuple[int, int], Tensor] | None = None

    def draw(self, keys: list[tuple[int, int]]) -> Tensor:
        """Noise for each (step, channel), (n, *shape); the same key in succession is the same noise."""
        return torch.stack([self._one(key) for key in keys])

    def _one(self, key: tuple[int, int]) -> Tensor:
        if self._last is None or self._last[0] != key:
            noise = torch.randn(self.shape, generator=self._generator) if self.std else torch.zeros(self.shape)
            self._last = (key, self.std * noise)
        return self._last[1]


@final
class ScoreCAM(ScoreMap):
    """Score-CAM: each channel weighs as much as the class score of the image that it masks.

    Args:
        masks: Where a channel is brought into [0, 1]: ``image`` does so after it is upsampled to the image, with the
            corners aligned, as pytorch-grad-cam does; ``grid`` before that, corners not aligned, as torchcam does.
        chunk: Masked images in one pass: memory grows with it, and the map does not depend on it.
    """

    paper = Paper(
        "Wang et al.",
        "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
        "CVPR Workshops",
        2020,
        "https://arxiv.org/abs/1910.01279",
    )

    def __init__(self, *, masks: Masks = "image", chunk: Annotated[int, Ge(1)] = 32) -> None:
        super().__init__(masks, chunk)

    def masked(self, images: Tensor, masks: Tensor, step: int, noise: Tensor) -> Tensor:
        """Equation 5."""
        return images * masks


@final
class SSCAM(ScoreMap):
    """SS-CAM: Score-CAM with each score averaged over noisy masks, or noisy masked images.

    Args:
        variant: Where the noise is added: ``activation`` to the mask, before it masks the image (the paper's first
            variant, torchcam's only one); ``input`` to the masked image (its second).
        samples: Noisy copies for each channel.
        std: Standard deviation of the noise.
        seed: Of the noise.
        masks: As for Score-CAM.
        chunk: Masked images in one pass: memory grows with it, and the map does not depend on it.
    """

    paper = Paper(
        "Wang et al.",
        "SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization",
        "arXiv",
        2020,
        "https://arxiv.org/abs/2006.14255",
    )

    def __init__(
        self,
        *,
        variant: Literal["activation", "input"] = "activation",
        samples: Annotated[int, Ge(1)] = 35,
        std: Annotated[float, Gt(0)] = 2.0,
        seed: int = 0,
        masks: Masks = "image",
        chunk: Annotated[int, Ge(1)] = 32,
    ) -> None:
        super().__init__(masks, chunk, samples)
        self.variant, self.std, self.seed = variant, std, seed

    def noise(self, images: Tensor) -> Noise:
        """One plane for a mask, or as many as an image has."""
        channels = 1 if self.variant == "activation" else images.shape[1]
        return Noise(self.std, (channels, *images.shape[2:]), self.seed)

    def masked(self, images: Tensor, masks: Tensor, step: int, noise: Tensor) -> Tensor:
        """The mask, or the masked image, with noise; neither is brought back into its range."""
        return images * (masks + noise) if self.variant == "activation" else images * masks + noise


@final
class ISCAM(ScoreMap):
    """IS-CAM: Score-CAM with each score averaged along a path of growing masks.

    Args:
        samples: Points on the path.
        masks: As for Score-CAM.
        chunk: Masked images in one pass: memory grows with it, and the map does not depend on it.
    """

    paper = Paper(
        "Naidu et al.",
        "IS-CAM: Integrated Score-CAM for axiomatic-based explanations",
        "arXiv",
        2020,
        "https://arxiv.org/abs/2010.03023",
    )

    def __init__(
        self, *, samples: Annotated[int, Ge(1)] = 10, masks: Masks = "image", chunk: Annotated[int, Ge(1)] = 32
    ) -> None:
        super().__init__(masks, chunk, samples)

    def masked(self, images: Tensor, masks: Tensor, step: int, noise: Tensor) -> Tensor:
        """The paper's M_i = M_(i-1) + i/N (image under the mask), M_0 = 0: factors that end above 1, as published."""
        return images * masks * (step * (step + 1) / (2 * self.steps))
