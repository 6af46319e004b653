"""Annotators: what gives boxes to images whose class is known, for people to look at and other programs to train on.

An annotator makes `Proposals` and nothing else; `boxless.pseudo.annotate` reads images, keeps proposals, writes files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.ops.components import largest_boxes
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.pseudo.labels import RUN, Labeller, Source, check_source, first_fitting, made_from
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals, of_maps
from boxless.pseudo.table import ANNOTATORS, MAP_SOURCES
from boxless.pseudo.teacher import ZERO_SHOT, Teacher
from boxless.recipe import Fraction, Positive, Pseudo
from boxless.settings import build, settings_of

AUTO = "auto"
_LEARNT = Pseudo()  # what training learns from, where nothing else is said


@dataclass(frozen=True, slots=True)
class Material:
    """What an annotator may make proposals from, besides the images and their classes."""

    backbone: Backbone  # takes the images as they are given to the annotator
    teacher: Teacher  # so does this: it prepares them for its own network
    num_classes: int


class Annotator(ABC):
    """A way to get boxes for images of known classes.

    A subclass declares its settings in its constructor, keyword-only, typed and with defaults. One called ``settings``
    takes all that are not declared, for parts that have settings of their own.

    Attributes:
        settings: How many boxes an image may have, and by what they are chosen.
        classifier: The classifier for a user who names none; empty if one has to be named.
        scored: What the scores of its boxes are, for pictures, with ``{}`` for the class; empty: as ``settings`` say.
    """

    settings: ProposalSettings
    classifier: ClassVar[str] = ""
    scored: ClassVar[str] = ""

    @abstractmethod
    def made_from(self, material: Material) -> Mapping[str, Any]:
        """What its proposals depend on besides ``settings`` and the networks' weights, as JSON has it.

        Raises:
            ConfigError: It can make none with this backbone or classifier, or with its settings.
        """

    @abstractmethod
    def __call__(self, images: Tensor, labels: Tensor, material: Material) -> Proposals:
        """Proposals of images (b, 3, h, w) and their classes (b,), in pixels of these images, ``settings.top_k`` each.

        They do not depend on the batch mates.
        """

    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor | None:
        """The maps (b, m, h', w') in [0, 1] that it finds boxes in, for pictures; None if it needs none."""
        return None


@final
class RegionProposals(Annotator):
    """The boxes of regions of maps in which a classifier sees the image's class: Algorithm 2.1, which DiPS learns from.

    Defaults are those of a recipe's section ``pseudo``, so that what is shown is what would be learnt from; the thesis
    has ``score`` posterior and ``visible`` box.

    Args:
        source: Of the maps: ``attention``, ``spectral``, a map of ``boxless list maps``, or ``run`` for those of the
            classifier's run. ``auto`` takes the first of ``boxless.pseudo.MAP_SOURCES`` that the backbone can give.
        top_k: Boxes of an image, at most.
        min_size: The part of the image that a box must be larger than; if none is, the largest is kept.
        score: By which boxes are chosen, and which they carry; see `ProposalSettings`.
        visible: What the classifier sees sharp as it scores them; see there.
        settings: Of the source.
    """

    def __init__(
        self,
        *,
        source: str = _LEARNT.source,
        top_k: Positive = _LEARNT.top_k,
        min_size: Fraction = _LEARNT.min_size,
        score: Literal["posterior", "size", "product"] = _LEARNT.score,
        visible: Literal["box", "region"] = _LEARNT.visible,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.source, self.of_source = source, dict(settings or {})
        self.settings = ProposalSettings(top_k=top_k, min_size=min_size, score=score, visible=visible)

    def made_from(self, material: Material) -> Mapping[str, Any]:
        """As a training run keeps its own proposals, so that both find each other's; see :class:`Annotator`."""
        name, _ = self._source(material.backbone)
        return made_from("boxes", name, self.of_source, material.teacher)

    def __call__(self, images: Tensor, labels: Tensor, material: Material) -> Proposals:
        """See :class:`Annotator`."""
        _, source = self._source(material.backbone)
        labeller = Labeller(
            source, "boxes", self.settings, material.backbone, material.teacher, num_classes=material.num_classes
        )
        return labeller(images, labels)

    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor:
        """Of the source; see :class:`Annotator`."""
        _, source = self._source(material.backbone)
        return source(material.backbone, material.teacher, images, labels)

    def _source(self, backbone: Backbone) -> tuple[str, Source]:
        name = first_fitting(tuple(MAP_SOURCES), backbone) if self.source == AUTO else self.source
        return name, check_source(name, self.of_source, backbone, kind="boxes")


@final
class ClassMaps(Annotator):
    """The box of the largest region of the map that the classifier itself gives of the image's class, cut by Otsu.

    So the thesis takes boxes from CLIP-ES (section 4.3.1), which is what is asked where no classifier is named. Any
    run will do. There is one box, whose score is the posterior of the class; a flat map shows no place and has none.
    """

    classifier = ZERO_SHOT
    scored = "probability of {}"

    def __init__(self) -> None:
        self.settings = ProposalSettings(top_k=1, min_size=0)

    def made_from(self, material: Material) -> Mapping[str, Any]:
        """See :class:`Annotator`."""
        return made_from("largest", RUN, {}, material.teacher)

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor, material: Material) -> Proposals:
        """See :class:`Annotator`."""
        said = material.teacher.localize(images, labels)
        maps, size = said.maps.float(), (images.shape[2], images.shape[3])
        large = resize(maps, size)[:, 0].cpu().numpy()
        boxes, _ = largest_boxes(large, otsu_thresholds(large))
        scores = said.logits.double().softmax(1).gather(1, labels[:, None])
        found = of_maps(maps, size)
        there = found.valid.float()
        return replace(
            found, boxes=torch.from_numpy(boxes).to(there)[:, None] * there[..., None], scores=scores.float() * there
        )

    @torch.no_grad()
    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor:
        """The one map of each image; see :class:`Annotator`."""
        return material.teacher.localize(images, labels).maps.float()


def make_annotator(name: str, settings: Mapping[str, Any]) -> Annotator:
    """The annotator of that name, with its settings and those of its parts lying beside each other.

    Raises:
        UnknownNameError: There is none.
        ConfigError: It has no such setting, or a value does not fit.
    """
    kind: type[Annotator] = ANNOTATORS.load(name)
    declared = {each.name for each in settings_of(kind)} - {"settings"}
    own = {key: value for key, value in settings.items() if key in declared}
    rest = {key: value for key, value in settings.items() if key not in declared}
    takes_rest = rest and any(each.name == "settings" for each in settings_of(kind))
    made: Annotator = build(kind, {**own, "settings": rest} if takes_rest else settings, "pseudo")
    return made
