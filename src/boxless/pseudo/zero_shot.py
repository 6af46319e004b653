"""CLIP as a teacher: it tells and localizes classes by their names alone, and learns nothing from the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from boxless.backbones.build import build_backbone, preprocessing_of
from boxless.data.transforms import Preprocess
from boxless.methods import DEFAULT_ZERO_SHOT, METHODS
from boxless.methods.base import Method
from boxless.recipe import Text
from boxless.training.naming import texts_of


def open_localizer(
    name: str,
    classes: Sequence[str],
    device: torch.device,
    *,
    text: Text,
    note: Callable[[str], None],
    image_size: int | None = None,
) -> tuple[Method, Preprocess]:
    """`boxless.methods.DEFAULT_ZERO_SHOT` on a CLIP model, told the names of classes, in evaluation mode.

    Args:
        name: ``open_clip:ARCHITECTURE/TAG`` or ``open_clip:local-dir:FOLDER``.
        classes: Of the data, in their order.
        device: Where it goes.
        text: Names and templates of classes; the text tower is always that of the model.
        note: Told in a sentence of names that look like codes.
        image_size: Side of the square that images come as; None takes that of the model's training.

    Returns:
        It, and how it takes images.

    Raises:
        UnknownNameError, ConfigError, WeightsError, MissingExtraError: The model cannot be had, or does not fit.
        ConfigError, DataError: Names or templates do not fit; see `boxless.text.classes.class_texts`.
    """
    own, mean, std = preprocessing_of(name)
    side = image_size or own
    kind: type[Method] = METHODS.load(DEFAULT_ZERO_SHOT)
    backbone = build_backbone(name, image_size=side)
    method = kind(backbone, len(classes))
    method.name_classes(texts_of(backbone.text_tower(), text, classes, default=kind.needs.templates, note=note))
    return method.to(device).eval().requires_grad_(requires_grad=False), Preprocess(side, mean, std)
