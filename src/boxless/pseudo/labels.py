"""From images and their classes to pseudo-labels, as a recipe's section ``pseudo`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError, nearest
from boxless.maps import MAPS
from boxless.maps.base import MapExtractor
from boxless.methods.base import Scores
from boxless.pseudo.proposals import ProposalSettings, propose
from boxless.pseudo.records import Proposals, of_maps
from boxless.pseudo.sources import MapSource
from boxless.pseudo.table import MAP_SOURCES
from boxless.pseudo.teacher import Teacher
from boxless.recipe import Pseudo
from boxless.settings import build

RUN = "run"  # the maps of the classifier's own method: a run's, or of a zero-shot localizer
Source = Callable[[Backbone, Teacher, Tensor, Tensor], Tensor]  # images and labels -> maps (b, m, h', w')


@dataclass(frozen=True, slots=True)
class Labeller:
    """Makes the pseudo-labels of a batch.

    Args:
        source: Of the maps.
        kind: ``boxes`` for proposals by Algorithm 2.1 of the thesis; ``maps`` for the one map of the image's class.
        settings: Of the proposals.
        backbone: Of the method that learns.
        teacher: The classifier.
        num_classes: Classes of the data.
    """

    source: Source
    kind: Literal["maps", "boxes"]
    settings: ProposalSettings
    backbone: Backbone
    teacher: Teacher
    num_classes: int

    def __call__(self, images: Tensor, labels: Tensor) -> Proposals:
        """Of images (b, 3, h, w), prepared for the learning method, and their classes (b,)."""
        size = (images.shape[2], images.shape[3])
        maps = self.source(self.backbone, self.teacher, images, labels)
        if self.kind == "maps":
            return of_maps(maps, size)
        return propose(
            maps, images, labels, self.teacher, num_classes=self.num_classes, settings=self.settings, size=size
        )


def first_fitting(sources: Sequence[str], backbone: Backbone) -> str:
    """The first of some sources that this backbone can give.

    Raises:
        ConfigError: It can give none; this is the message of the last.
    """
    for name in sources:
        try:
            check_source(name, {}, backbone, kind="boxes")
        except ConfigError:
            if name == sources[-1]:
                raise
            continue
        return name
    raise ConfigError("pseudo.source: none is named; name one.")


def check_source(
    name: str, settings: Mapping[str, Any], backbone: Backbone, *, kind: Literal["maps", "boxes"]
) -> Source:
    """The source of that name, with its settings.

    Raises:
        ConfigError: There is no such source or setting, the backbone cannot give such maps, or they are of no class
            where maps of the image's class are wanted.
    """
    if name == RUN:
        if settings:
            raise ConfigError(f"pseudo.{next(iter(settings))}: the source {RUN!r} has no settings of its own.")
        return _of_run
    if name in MAP_SOURCES:
        found: MapSource = build(MAP_SOURCES.load(name), settings, "pseudo")
        count = found.count(backbone)
        if kind == "maps":
            raise ConfigError(
                f"pseudo.source: {name} gives {count} maps of an image, none of a class, and this method learns from "
                f"one map of the image's class; take {', '.join(MAPS)} or {RUN}."
            )
        return lambda backbone, _, images, __: found(backbone, images)
    if name not in MAPS and ":" not in name:
        raise ConfigError(f"pseudo.source: no source {name!r}; {nearest(name, [*MAP_SOURCES, *MAPS, RUN])}")
    return _of_class(name, settings)


def _of_class(name: str, settings: Mapping[str, Any]) -> Source:
    """A map of the classifier for the image's class; its setting ``layers`` names what is read."""
    rest = {key: value for key, value in settings.items() if key != "layers"}
    extractor: MapExtractor = build(MAPS.load(name), rest, "pseudo")
    layers = settings.get("layers")

    def source(_: Backbone, teacher: Teacher, images: Tensor, labels: Tensor) -> Tensor:
        if layers is None and isinstance(teacher.network, Scores):
            raise ConfigError(
                f"pseudo.source: {name} finds no layer to read in the classifier, whose head is not a linear layer on "
                "an averaged grid; name one as pseudo.layers (such as method.neck), or take the classifier's own maps "
                f"with pseudo.source={RUN}."
            )
        return extractor(teacher.network, teacher.prepare(images), labels, layers).maps[:, None]

    return source


@torch.no_grad()
def _of_run(_: Backbone, teacher: Teacher, images: Tensor, labels: Tensor) -> Tensor:
    return teacher.localize(images, labels).maps.float()


def made_from(kind: str, name: str, settings: Mapping[str, Any], teacher: Teacher) -> dict[str, Any]:
    """What pseudo-labels depend on besides images and weights, by the names that they are found again by.

    Raises:
        ConfigError: The maps are those of the classifier's own method, and it has none.
    """
    found: dict[str, Any] = {"kind": kind, "maps": name, "settings": dict(settings)}
    if name == RUN and teacher.localizer:
        found["localizer"] = dict(teacher.settings)  # two methods may have the same weights
    return found


def settings_of(pseudo: Pseudo) -> ProposalSettings:
    """What proposals depend on in a recipe."""
    return ProposalSettings(top_k=pseudo.top_k, min_size=pseudo.min_size, score=pseudo.score, visible=pseudo.visible)
