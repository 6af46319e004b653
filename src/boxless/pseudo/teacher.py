"""The classifier that pseudo-labels come from: a method's own, a finished run's, a trained timm network, or CLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.backbones.build import check_name
from boxless.backbones.open_clip_models import FAMILY, library
from boxless.data.transforms import Preprocess, colours, normalized
from boxless.errors import ConfigError
from boxless.methods import DEFAULT_ZERO_SHOT
from boxless.methods.base import Method
from boxless.recipe import Text
from boxless.trust import refuse_code
from boxless.types import Localization

OWN = "own"
PROBE = (
    "probe"  # a linear layer on the frozen backbone, fitted to the class labels of the data, see `boxless.pseudo.probe`
)
ZERO_SHOT = f"{FAMILY}ViT-B-16/openai"  # CLIP as the papers have it, for a user who names none
AS_NAMED = Text()  # classes by the names that the data give them


@dataclass(frozen=True, slots=True)
class Teacher:
    """A classifier of the data's classes, and how images come to it.

    Args:
        network: Class scores (b, k) of images (b, 3, h, w).
        prepare: From images as the learning method takes them to images as the network does.
        method: What it is the classifier of, if that localizes too: a run, or a zero-shot localizer.
        settings: Of that method, with its name: what maps depend on besides weights.
    """

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    method: Method | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def localizer(self) -> Method:
        """The method.

        Raises:
            ConfigError: It has class scores alone.
        """
        if self.method is None:
            raise ConfigError(
                "the classifier tells classes and no places, but its own maps are asked for; name the folder of a "
                f"finished run as the classifier, or a zero-shot localizer such as {ZERO_SHOT}."
            )
        return self.method

    def localize(self, images: Tensor, labels: Tensor) -> Localization:
        """Class scores, and maps (b, 1, h', w') of the classes (b,), of images as the learning method takes them."""
        return self.localizer.localize(self.prepare(images), labels[:, None])

    def __call__(self, images: Tensor) -> Tensor:
        """Class scores of images as the learning method takes them."""
        scores: Tensor = self.network(self.prepare(images))
        return scores


def own_teacher(method: Method) -> Teacher:
    """The classifier of the method that learns."""
    return Teacher(method.as_teacher(), lambda images: images)


def is_zero_shot(name: str) -> bool:
    """Whether a classifier's name is that of a CLIP model, which tells classes by their names."""
    return name.startswith(FAMILY)


def open_teacher(
    name: str,
    classes: Sequence[str],
    preprocess: Preprocess,
    device: torch.device,
    *,
    text: Text = AS_NAMED,
    note: Callable[[str], None] = lambda _: None,
    image_size: int | None = None,
) -> Teacher:
    """The classifier of a finished run, a timm network with its trained head, or a zero-shot localizer.

    Args:
        name: A run folder, a timm model name, or that of a CLIP model, ``open_clip:...``.
        classes: Of the data, in their order.
        preprocess: How images are prepared that will be passed to it.
        device: Where it goes.
        text: For CLIP: names and templates of classes.
        note: For CLIP: told in a sentence of names that look like codes.
        image_size: For CLIP: side of the square that it sees images as; None takes that of its training.

    Raises:
        ConfigError: It was trained on other classes, there is neither such a folder nor such a model, or names or
            templates do not fit.
        RunError: The folder is no finished run.
        UnknownNameError, DataError, WeightsError, MissingExtraError: Of a CLIP model or of names, as these say.
    """
    check_teacher(name, classes)
    if Path(name).is_dir():
        from boxless.runs import open_run

        run = open_run(name, device)
        prepare, settings = _converter(preprocess, run.preprocess), run.recipe.to_dict()["method"]
        return Teacher(run.method.as_classifier(), prepare, run.method, settings)
    if is_zero_shot(name):
        from boxless.pseudo.zero_shot import open_localizer

        method, wanted = open_localizer(name, classes, device, text=text, note=note, image_size=image_size)
        return Teacher(method.as_classifier(), _converter(preprocess, wanted), method, {"name": DEFAULT_ZERO_SHOT})
    from boxless.backbones.classifier import load_classifier

    loaded = load_classifier(name, device)
    return Teacher(loaded.model, _converter(preprocess, loaded.preprocess))


def check_teacher(name: str, classes: Sequence[str]) -> None:
    """Refuse a classifier that does not fit, before anything is loaded or computed.

    Raises:
        ConfigError, RunError, UnknownNameError, MissingExtraError: As `open_teacher` says.
    """
    if is_zero_shot(name):
        library()  # a model in a folder has a name that can be read without it
        check_name(name)
        return
    if Path(name).is_dir():
        from boxless.recipe import read_recipe
        from boxless.runs import RECIPE, read_card

        _refuse_other_classes(name, read_card(Path(name))["classes"], classes)
        refuse_code(read_recipe(Path(name) / RECIPE), Path(name) / RECIPE)  # now, and not when it is opened
        return
    if not timm.is_model(name):
        raise ConfigError(
            f"pseudo.classifier: {name!r} is no folder of a finished run and no timm model; give one of these, a CLIP "
            f"model such as {ZERO_SHOT}, or {OWN!r} for the method's own classifier."
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
