"""Methods that are wrong or slow on purpose, named on the command line as ``toys:Name``."""

from __future__ import annotations

import time

from torch import Tensor

from boxless.losses.classification import classification
from boxless.methods.base import Method, Needs, Paper, asked_classes, pick
from boxless.types import Batch, Localization

PAPER = Paper("Nobody", "A toy", "nowhere", 2000, "https://example.org")


class Toy(Method):
    """A convolution whose channels are the classes' maps.

    Args:
        pause: Seconds that each step takes longer.
    """

    paper = PAPER

    def __init__(self, backbone, num_classes: int, *, pause: float = 0.0) -> None:
        super().__init__(backbone, num_classes)
        from torch import nn

        (tapped,) = backbone.tap(-1)
        self.pause = pause
        self.head = nn.Conv2d(tapped.channels, num_classes, 1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        time.sleep(self.pause)
        return {"classification": classification(self.head(self.backbone(batch.images).grid).mean((2, 3)), batch)}

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        maps = self.head(self.backbone(images).grid)
        logits = maps.mean((2, 3))
        classes = asked_classes(logits, classes)
        return Localization(logits, pick(maps.sigmoid(), classes), classes)


class Diverging(Toy):
    """One of its losses is not a number from the third step on."""

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        losses = super().losses(batch, progress)
        broken = losses["classification"] * (float("nan") if progress > 0.15 else 0.0)
        return {**losses, "size": broken}


class NeedsClassToken(Toy):
    """It takes transformers only."""

    needs = Needs(prefix_tokens=True)


class OneMap(Toy):
    """Its map is that of all classes together; and it is no number where an image is mostly red, and 0 if green."""

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        said = super().localize(images, classes)
        maps = said.maps.mean(1, keepdim=True).expand_as(said.maps).clone()
        brightest = images.mean((2, 3)).argmax(1)
        maps[brightest == 0] = float("nan")
        maps[brightest == 1] = 0
        return Localization(said.logits, maps, said.classes)


class Bright(Toy):
    """Its maps are the colours of the classes of `make_shapes` (blue, green, red), whatever was learnt.

    Args:
        pause: As of Toy.
        shift: Places that the maps lie too far to the right and too low, of 16 each way.
    """

    def __init__(self, backbone, num_classes: int, *, pause: float = 0.0, shift: int = 0) -> None:
        super().__init__(backbone, num_classes, pause=pause)
        self.shift = shift

    def scores(self, images: Tensor) -> Tensor:
        return super().localize(images).logits  # also of features that are kept, without images

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        from torch.nn.functional import adaptive_avg_pool2d

        said = super().localize(images, classes)
        colours = images.flip(1) - images.mean(1, keepdim=True)
        small = adaptive_avg_pool2d(colours, 16).roll((self.shift, self.shift), (2, 3))
        maps = pick(small / small.amax((2, 3), keepdim=True), said.classes)
        return Localization(said.logits, maps.clamp(0, 1), said.classes)
