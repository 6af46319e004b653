"""The contract of a map: for images and classes, where a trained classifier sees each class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxless.errors import ConfigError, DataError
from boxless.maps.layers import find_modules, last_layer
from boxless.maps.table import MAPS
from boxless.methods.base import Paper
from boxless.ops.maps import normalize
from boxless.settings import build


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps of a batch."""

    maps: Tensor  # (b, h', w') float32 in [0, 1], on the grid of the finest layer; flat ones are all zeros
    logits: Tensor  # (b, k) class scores, float32
    classes: Tensor  # (b,) int64, the class that each map is of
    layers: tuple[str, ...]  # the layers that were read


class MapExtractor(ABC):
    """A way to get a map from a trained classifier.

    A subclass declares its settings in its constructor, keyword-only, typed and with defaults.

    Attributes:
        paper: The publication.
        class_specific: Whether the maps of two classes differ.
    """

    paper: ClassVar[Paper]
    class_specific: ClassVar[bool] = True

    def default_layers(self, model: nn.Module) -> tuple[str, ...]:
        """The layers that are read if the caller names none.

        Raises:
            ConfigError: None is found in this network.
        """
        return (last_layer(model),)

    @abstractmethod
    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (b, h', w') as they are before they are brought into [0, 1], logits (b, k), and classes (b,).

        Args:
            model: Left as found: modes, hooks, gradients, random state.
            images: (b, 3, h, w).
            targets: Classes (b,), or None for the predicted ones.
            layers: Layers of the model, which exist.
        """

    def __call__(
        self,
        model: nn.Module,
        images: Tensor | Sequence[Tensor],
        targets: Tensor | Sequence[int] | int | None = None,
        layers: str | Sequence[str] | None = None,
    ) -> Maps:
        """Maps of a batch; see `extract`."""
        batch = as_batch(images)
        names = self.default_layers(model) if layers is None else (layers,) if isinstance(layers, str) else layers
        if not names:
            raise ConfigError("no layer is named; leave layers out to have one found, or name at least one.")
        names = tuple(names)
        find_modules(model, names)
        maps, logits, classes = self.compute(model, batch, as_targets(targets, len(batch)), names)
        return Maps(normalize(maps.detach()).float(), logits.detach().float(), classes, names)


def extract(
    name: str,
    model: nn.Module,
    images: Tensor | Sequence[Tensor],
    targets: Tensor | Sequence[int] | int | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    **settings: Any,
) -> Maps:
    """Maps of a trained classifier, which is left as found: modes, hooks, gradients and random state.

    Args:
        name: A map of ``boxless list maps``, or ``module:Class``.
        model: Any classifier with scores (b, k), on any device; half precision gives float32 maps.
        images: (b, 3, h, w), normalised as the model wants, any height and width that it takes.
        targets: The class of each image, or one for all; None takes the predicted ones.
        layers: Dotted names of the layers to read; None finds the last grid, see `boxless.maps.layers`.
        **settings: Of the map, such as ``epsilon=1e-6``.

    Raises:
        UnknownNameError: There is no such map.
        ConfigError: A setting, layer or class that does not exist, or a network that does not fit; or
            `torch.inference_mode` around a map that needs gradients.
        DataError: The images are not a batch.
    """
    extractor: MapExtractor = build(MAPS.load(name), settings, name)
    return extractor(model, images, targets, layers)


def as_batch(images: Tensor | Sequence[Tensor]) -> Tensor:
    """Images as (b, 3, h, w).

    Raises:
        DataError: They have several sizes, or are not images.
    """
    if not isinstance(images, Tensor):
        sizes = sorted({tuple(each.shape) for each in images})
        if len(sizes) != 1:
            raise DataError(f"images of several sizes, {sizes}, make no batch; resize them first, or pass one by one.")
        images = torch.stack(list(images))
    if images.ndim != 4 or not images.numel() or not images.is_floating_point():
        raise DataError(
            f"images of shape {tuple(images.shape)} and type {images.dtype} are no batch; give floats (b, 3, h, w)."
        )
    return images.detach()


def as_targets(targets: Tensor | Sequence[int] | int | None, images: int) -> Tensor | None:
    """One class for each image.

    Raises:
        ConfigError: There are more or fewer, or they are not whole numbers.
    """
    if targets is None:
        return None
    given = torch.as_tensor(targets)
    if given.is_floating_point() or given.dtype == torch.bool or given.shape not in ((), (images,)):
        raise ConfigError(
            f"targets of shape {tuple(given.shape)} and type {given.dtype}: expected a whole number for each of the "
            f"{images} images, or one for all."
        )
    return given.long().expand(images)


def asked(logits: Tensor, targets: Tensor | None) -> Tensor:
    """The class of each image (b,): the target, or the predicted one.

    Raises:
        ConfigError: The model has no such class.
    """
    if targets is None:
        return logits.argmax(1)
    count = logits.shape[1]
    outside = targets[(targets < 0) | (targets >= count)]
    if len(outside):
        raise ConfigError(f"target {int(outside[0])}: the model has {count} classes, 0 to {count - 1}.")
    return targets.to(logits.device)


def score(logits: Tensor, classes: Tensor) -> Tensor:
    """The sum of each image's score for its class: its gradient holds that of each image apart."""
    with torch.enable_grad():
        return logits.gather(1, classes[:, None]).sum()


def onto_finest(maps: Sequence[Tensor]) -> Tensor:
    """Maps (b, h, w) of several layers on the grid of the finest: (n, b, h', w')."""
    shape = max((each.shape[1:] for each in maps), key=lambda grid: grid[0] * grid[1])
    return torch.stack(
        [F.interpolate(each[:, None], tuple(shape), mode="bilinear", align_corners=False)[:, 0] for each in maps]
    )


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """The sum over channels of activations (b, c, h, w), each channel with its weight (b, c): (b, h, w)."""
    images, _, rows, columns = activations.shape
    return torch.bmm(weights[:, None], activations.flatten(2)).reshape(images, rows, columns)
