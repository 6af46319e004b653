"""The classifier that pseudo-labels come from: a method's own, that of a finished run, or a trained timm network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.data.transforms import Preprocess, colours, normalized
from boxless.errors import ConfigError
from boxless.methods.base import Method

OWN = "own"


@dataclass(frozen=True, slots=True)
class Teacher:
    """A classifier of the data's classes, and how images come to it.

    Args:
        network: Class scores (b, k) of images (b, 3, h, w).
        prepare: From images as the learning method takes them to images as the network does.
        method: The run that it is of, which localizes too; None else.
    """

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    method: Method | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Class scores of images as the learning method takes them."""
        scores: Tensor = self.network(self.prepare(images))
        return scores


def own_teacher(method: Method) -> Teacher:
    """The classifier of the method that learns."""
    return Teacher(method.as_classifier(), lambda images: images)


def open_teacher(name: str, classes: Sequence[str], preprocess: Preprocess, device: torch.device) -> Teacher:
    """The classifier of a finished run, or a timm network with its trained head.

    Args:
        name: A run folder, or a timm model name.
        classes: Of the data, in their order.
        preprocess: How images are prepared that will be passed to it.
        device: Where it goes.

    Raises:
        ConfigError: It was trained on other classes, or there is neither such a folder nor such a model.
        RunError: The folder is no finished run.
    """
    check_teacher(name, classes)
    if Path(name).is_dir():
        from boxless.runs import open_run

        run = open_run(name, device)
        return Teacher(run.method.as_classifier(), _converter(preprocess, run.preprocess), run.method)
    from boxless.backbones.classifier import load_classifier

    loaded = load_classifier(name, device)
    return Teacher(loaded.model, _converter(preprocess, loaded.preprocess))


def check_teacher(name: str, classes: Sequence[str]) -> None:
    """Refuse a classifier that does not fit, before anything is loaded or computed.

    Raises:
        ConfigError, RunError: As `open_teacher` says.
    """
    if Path(name).is_dir():
        from boxless.runs import read_card

        _refuse_other_classes(name, read_card(Path(name))["classes"], classes)
        return
    if not timm.is_model(name):
        raise ConfigError(
            f"pseudo.classifier: {name!r} is no folder of a finished run and no timm model; give one of these, or "
            f"{OWN!r} for the method's own classifier."
        )
    count = timm.get_pretrained_cfg(name).num_classes
    if count != len(classes):
        raise ConfigError(
            f"pseudo.classifier: {name} was trained on {count} classes, and the data has {len(classes)}; take one that "
            "was trained on these classes, in this order."
        )


def _refuse_other_classes(name: str, known: Sequence[str], classes: Sequence[str]) -> None:
    if tuple(known) == tuple(classes):
        return
    missing = [each for each in classes if each not in known]
    detail = f"it does not know {', '.join(missing[:3])}" if missing else "they are more, or in another order"
    raise ConfigError(
        f"pseudo.classifier: the run {name} was trained on {len(known)} classes, and the data has {len(classes)}; "
        f"{detail}. Take a run on the same classes."
    )


def _converter(given: Preprocess, wanted: Preprocess) -> Callable[[Tensor], Tensor]:
    """From images prepared in one way to the same prepared in another."""
    same = (given.mean, given.std) == (wanted.mean, wanted.std)

    def convert(images: Tensor) -> Tensor:
        if images.shape[2:] != (wanted.size, wanted.size):
            images = F.interpolate(
                images, (wanted.size, wanted.size), mode="bilinear", align_corners=False, antialias=True
            )
        return images if same else normalized(colours(images, given.mean, given.std), wanted.mean, wanted.std)

    return convert
