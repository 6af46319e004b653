"""Classifiers that several methods put on a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, final

from annotated_types import Ge, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.methods.neck import Neck
from boxless.types import Features


@final
class ClassHead(nn.Module):
    """Class scores from class tokens where a backbone has one, else from an averaged grid.

    Class tokens of the last blocks, each normalised by the network's last norm, side by side and into one linear layer:
    so Caron et al. (ICCV 2021) evaluate DINO linearly, and so the thesis classifies in section 2.3.1. Registers are not
    read. Without a class token it is a `Neck`, the average over its grid, and the linear layer.

    It is the first to tap the backbone, in its constructor, and what was tapped before is forgotten: with class tokens
    it taps no grid, else those of its neck. A decoder that reads the same pass is built after it, taps with
    `Backbone.also_tap`, and keeps the places in ``Features.grids`` that this returns::

        self.head = ClassHead(backbone, num_classes)
        self.places = backbone.also_tap(-1)
        ...
        features = self.backbone(images)
        logits, grid = self.head(features), features.grids[self.places[0]]

    Args:
        backbone: Where the features come from.
        num_classes: Scores that come out.
        blocks: The class tokens are those of so many last blocks; of no use without a class token.
        stride: As `Neck` has it; this and what follows, but for the dropout, are of no use with a class token.
        fuse: As `Neck` has it.
        hidden: As `Neck` has it.
        dropout: Probability of dropping a feature before the linear layer in training.

    Attributes:
        neck: The `Neck`; None where class tokens are read.
        classifier: The linear layer.

    Raises:
        ConfigError: The backbone has fewer blocks, or no stage of this stride.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        blocks: Annotated[int, Ge(1)] = 4,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        self.neck: Neck | None = None
        backbone.tap_tokens()
        if backbone.class_token:
            width = _tap_class_tokens(backbone, blocks)
        else:
            self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
            width = self.neck.channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, features: Features) -> Tensor:
        """Class scores (b, k) of what the backbone gives."""
        scores: Tensor = self.classifier(self.dropout(self._pooled(features)))
        return scores

    def as_network(self, backbone: Backbone) -> nn.Module:
        """Images to class scores, as `boxless.methods.base.Method.as_classifier` describes it."""
        neck = self.neck
        if neck is None:
            return _OfTokens(backbone, self)
        return GridClassifier(lambda images: neck(backbone(images).grids), (backbone, neck), self.classifier)

    def _pooled(self, features: Features) -> Tensor:  # (b, c)
        if self.neck is not None:
            grid: Tensor = self.neck(features.grids)
            return grid.mean((2, 3))
        if features.prefix is None:
            raise ConfigError("the backbone gives no class tokens: they were tapped by another reader since.")
        return features.prefix[:, :, 0].flatten(1)


@final
class GridClassifier(nn.Module):
    """A linear layer on an averaged grid, as a network in which `boxless.maps` finds both."""

    def __init__(self, grid: Callable[[Tensor], Tensor], parts: Sequence[nn.Module], classifier: nn.Linear) -> None:
        """With the function from images to the grid, and the modules that it runs."""
        super().__init__()
        self.grid, self.fc = _Grid(grid, parts), classifier

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of images (b, 3, h, w)."""
        scores: Tensor = self.fc(self.grid(images).mean((2, 3)))
        return scores


@final
class _Grid(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor], parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.compute, self.parts = compute, nn.ModuleList(parts)

    def forward(self, images: Tensor) -> Tensor:
        return self.compute(images)


@final
class _OfTokens(nn.Module):
    def __init__(self, backbone: Backbone, head: ClassHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images))
        return scores


def _tap_class_tokens(backbone: Backbone, blocks: int) -> int:
    """Tap the tokens of the last blocks and no grid; the width of their class tokens together."""
    count = backbone.blocks or len(backbone.stages)  # after its blocks CLIP has a stage of another width
    if blocks > count:
        raise ConfigError(f"method.blocks: got {blocks}; {backbone.title} has {count}.")
    tapped = backbone.tap_tokens(*range(count - blocks, count))
    backbone.tap()
    return sum(stage.channels for stage in tapped)


def class_maps(channels: int, hidden: int, classes: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU and a 1x1 convolution: a grid (b, channels, h, w) to maps (b, classes, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, classes, 1),
    )
