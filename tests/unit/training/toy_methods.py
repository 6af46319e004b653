"""Methods that show what the loop does for a method, and what it does with a bad one."""

from __future__ import annotations

import torch
from torch import Tensor

from boxless.methods.base import Needs
from boxless.methods.cam import CAM
from boxless.types import Batch, Localization


class NotFiniteLater(CAM):  # type: ignore[misc]
    """Its second term turns into NaN in the second epoch's second batch."""

    steps = 0

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.steps += 1
        first = super().losses(batch, progress)["classification"]
        return {"first": first, "second": first * (float("nan") if self.steps == 5 else 1.0)}


class NeedsClassToken(CAM):  # type: ignore[misc]
    needs = Needs(prefix_tokens=True)


class HidesHalf(CAM):  # type: ignore[misc]
    needs = Needs(own_forward=True)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        images = batch.images.clone()
        images[..., : images.shape[-1] // 2] = 0
        assert images.shape[-1] > 0
        return super().losses(Batch(images, batch.labels, batch.targets, batch.index), progress)


class ChecksItsFeatures(CAM):  # type: ignore[misc]
    needs = Needs(images=True)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        cached = self.backbone(batch.images).grid
        computed = self.backbone(batch.images.clone()).grid  # another tensor: not served from the cache
        torch.testing.assert_close(cached, computed, atol=1e-2, rtol=1e-2)
        return super().losses(batch, progress)


class NeverTrains(CAM):  # type: ignore[misc]
    needs = Needs(trains=False)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise AssertionError("a method that does not train has no losses")


class OddMaps(CAM):  # type: ignore[misc]
    """Its maps are not to be trusted, in the way that its name says."""

    def odd(self, maps: Tensor) -> Tensor:
        """What becomes of the maps (b, n, h, w)."""
        raise NotImplementedError

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        said = super().localize(images, classes)
        return Localization(said.logits, self.odd(said.maps), said.classes)


class FlatMaps(OddMaps):
    def odd(self, maps: Tensor) -> Tensor:
        return torch.full_like(maps, 0.5)


class NotFiniteMaps(OddMaps):
    def odd(self, maps: Tensor) -> Tensor:
        return maps / torch.zeros_like(maps)


class OneMapForAll(OddMaps):
    """The same in each place for each class, and another one for each image."""

    def odd(self, maps: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, maps.shape[3]).expand_as(maps)
        return ramp * (0.9 + 0.1 * maps[:, :1, :1, :1])


class SeesColours(CAM):  # type: ignore[misc]
    """Its maps are what stands out in blue, green and red, whatever was learnt, and its classes those of the maps."""

    needs = Needs(trains=False)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise AssertionError("a method that does not train has no losses")

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        colours = images.flip(1)
        maps = (colours - colours.amin(1, keepdim=True)).div(4).clamp(0, 1)
        logits = 20 * maps.mean((2, 3))
        chosen = logits.argmax(1, keepdim=True) if classes is None else classes
        return Localization(logits, maps.gather(1, chosen[..., None, None].expand(-1, -1, *maps.shape[2:])), chosen)
