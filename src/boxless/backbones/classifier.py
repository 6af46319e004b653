"""A trained timm classifier with its preparation of images and the names of its classes, for maps without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo, infer_imagenet_subset

from boxless.backbones import weights as weight_sources
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Classifier:
    """A network that tells classes."""

    name: str
    model: Any
    preprocess: Preprocess
    classes: tuple[tuple[str, ...], ...]  # for each class its name, then other names for the same
    device: torch.device

    def label(self, index: int) -> str:
        """The name of a class."""
        return self.classes[index][0]

    def index(self, wanted: str) -> int:
        """The class of that number, or of that name in upper or lower case; any of its names will do.

        Raises:
            ConfigError: The model has fewer classes than the number, or several classes of that name.
            UnknownNameError: There is no class of that name; the nearest are shown.
        """
        if wanted.strip().isdecimal():
            if int(wanted) < len(self.classes):
                return int(wanted)
            raise ConfigError(
                f"class {wanted}: {self.name} has {len(self.classes)} classes, 0 to {len(self.classes) - 1}."
            )
        folded = wanted.strip().casefold()
        found = [i for i, names in enumerate(self.classes) if folded in (name.casefold() for name in names)]
        if not found:
            raise UnknownNameError("class", wanted, (name for names in self.classes for name in names))
        if len(found) > 1:
            raise ConfigError(f"class {wanted!r}: several have that name; give one by its number: {found}.")
        return found[0]


def load_classifier(
    name: str, device: torch.device, *, weights: str = "auto", image_size: int | None = None
) -> Classifier:
    """Build a timm classifier with its own head.

    Args:
        name: A timm model name, with the weights' tag or without.
        device: Where it goes.
        weights: As for `boxless.backbones.timm_backbone.TimmBackbone`.
        image_size: Side of its square input; None takes that of its training.

    Raises:
        UnknownNameError: timm has no such model.
        ConfigError: It does not take this size, or has no classes.
        WeightsError: Its weights cannot be had.
    """
    if not timm.is_model(name):
        raise UnknownNameError("model", name, timm.list_models())
    size = {"img_size": image_size} if image_size and timm.get_pretrained_cfg(name).fixed_input_size else {}
    try:
        model: Any = timm.create_model(name, pretrained=False, **size)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model {name}: it cannot be built for images of {image_size} pixels ({error}); leave the size out."
        ) from error
    if not model.num_classes:
        raise ConfigError(
            f"model {name}: it has features and no classes, so there is nothing to explain; name another."
        )
    weight_sources.load(model, name, weights, option="--model", image_size=image_size)
    config = model.pretrained_cfg
    preprocess = Preprocess(image_size or config["input_size"][1], config["mean"], config["std"])
    model = model.eval().to(device, memory_format=torch.channels_last)  # on a processor 1.7 times as fast
    return Classifier(name, model, preprocess, _class_names(model), device)


def _class_names(model: Any) -> tuple[tuple[str, ...], ...]:
    """Those of ImageNet, as timm lists them, if the model is trained for it or one of its larger forms."""
    subset = infer_imagenet_subset(model)
    if subset is None:
        return tuple((f"class {index}",) for index in range(model.num_classes))
    known = ImageNetInfo(subset)
    return tuple(
        tuple(name.strip() for name in known.index_to_description(index).split(","))
        for index in range(model.num_classes)
    )
