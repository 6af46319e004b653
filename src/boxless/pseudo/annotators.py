"""Annotators: what gives boxes to images whose class is known, for people to look at and other programs to train on.

An annotator makes `Proposals` and nothing else; `boxless.pseudo.annotate` reads images, keeps proposals, writes files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import torch
from torch import Tensor

from boxless.backbones.base import Backbone, evaluating
from boxless.data.transforms import Preprocess, colours
from boxless.maps import DEFAULT_MAP
from boxless.ops.components import largest_boxes
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.pseudo.labels import RUN, Labeller, Source, check_source, first_fitting, made_from
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals, of_maps
from boxless.pseudo.sources import Attention, MapSource, Spectral
from boxless.pseudo.table import ANNOTATORS, MAP_SOURCES
from boxless.pseudo.teacher import ZERO_SHOT, Teacher
from boxless.recipe import Fraction, Positive, Pseudo
from boxless.settings import build, settings_of
from boxless.types import Item

if TYPE_CHECKING:
    from boxless.pseudo.selection import Selection

AUTO = "auto"
_LEARNT = Pseudo()  # what training learns from, where nothing else is said


@dataclass(frozen=True, slots=True)
class Material:
    """What an annotator may make proposals from, besides the images and their classes."""

    backbone: Backbone  # takes the images as they are given to the annotator
    teacher: Teacher  # so does this: it prepares them for its own network
    num_classes: int
    preprocess: Preprocess | None = None  # how the images were prepared; None: to the backbone's mean and deviation

    def pixels(self, images: Tensor) -> Tensor:
        """The images as colours in [0, 1] again."""
        given = self.preprocess or self.backbone
        return colours(images, given.mean, given.std).clamp(0, 1)


class Annotator(ABC):
    """A way to get boxes for images of known classes.

    A subclass declares its settings in its constructor, keyword-only, typed and with defaults. One called ``settings``
    takes all that are not declared, for parts that have settings of their own.

    Attributes:
        settings: How many boxes an image may have, and by what they are chosen.
        classifier: The classifier for a user who names none; empty if one has to be named.
        scored: What the scores of its boxes are, for pictures, with ``{}`` for the class; empty: as ``settings`` say.
        supervision: What its boxes know besides the classes of these images and the classifier; empty: nothing.
    """

    settings: ProposalSettings
    classifier: ClassVar[str] = ""
    scored: ClassVar[str] = ""
    supervision: ClassVar[str] = ""

    @abstractmethod
    def made_from(self, material: Material) -> Mapping[str, Any]:
        """What its proposals depend on besides ``settings`` and the networks' weights, as JSON has it.

        Raises:
            ConfigError: It can make none with this backbone or classifier, or with its settings.
        """

    @abstractmethod
    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
        """Proposals of images (b, 3, h, w) and their classes (b,), in pixels of these images, ``settings.top_k`` each.

        They do not depend on the batch mates. An image where nothing is found has no valid box.

        Args:
            images: As the material's backbone takes them.
            labels: The one class of each image that boxes are wanted of.
            material: The networks.
            items: Of the images, for what looks things up by an image's name.
        """

    def admit(self, items: Sequence[Item]) -> None:  # noqa: B027
        """Look at all images of the data before the first batch.

        Raises:
            DataError: It has boxes of other images than these.
        """

    def selections(
        self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()
    ) -> list[Selection] | None:
        """For each image what every stage of the choice among its proposals says; None if it does not so choose."""
        return None

    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor | None:
        """The maps (b, m, h', w') in [0, 1] that it finds boxes in, for pictures; None if it needs none."""
        return None


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

    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
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


class _OfOneSource(RegionProposals):
    """The best of the boxes of `RegionProposals` from maps of one source; a subclass says from which.

    Args:
        top_k: As there; and so all that follow.
        min_size: As there.
        score: As there.
        visible: As there.
        settings: Of the source.
    """

    kind: ClassVar[type[MapSource]]

    def __init__(
        self,
        *,
        top_k: Positive = 1,
        min_size: Fraction = _LEARNT.min_size,
        score: Literal["posterior", "size", "product"] = _LEARNT.score,
        visible: Literal["box", "region"] = _LEARNT.visible,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        name = next(each for each in MAP_SOURCES if MAP_SOURCES.load(each) is self.kind)
        super().__init__(source=name, top_k=top_k, min_size=min_size, score=score, visible=visible, settings=settings)


@final
class AttentionRegions(_OfOneSource):
    """The best box of regions that the class token of a transformer attends to, chosen by a classifier.

    As `RegionProposals`, from one map for each head.
    """

    kind = Attention


@final
class SpectralRegions(_OfOneSource):
    """The best box of regions that normalized cuts of any backbone's features show, chosen by a classifier.

    As `RegionProposals`, from two maps for each eigenvector.
    """

    kind = Spectral


class ClassMaps(Annotator):
    """The box of the largest region of the map that the classifier itself gives of the image's class, cut by Otsu.

    The map is that of a run or a CLIP model, or of any other network by `boxless.maps.DEFAULT_MAP`, which on a linear
    head is CAM with its negative part cut off. There is one box, whose score is the posterior of the class; a flat map
    shows no place and has none.
    """

    scored = "probability of {}"

    def __init__(self) -> None:
        self.settings = ProposalSettings(top_k=1, min_size=0)

    def made_from(self, material: Material) -> Mapping[str, Any]:
        """See :class:`Annotator`."""
        return made_from("largest", map_of_class(material.teacher), {}, material.teacher)

    def __call__(self, images: Tensor, labels: Tensor, material: Material, items: Sequence[Item] = ()) -> Proposals:
        """See :class:`Annotator`."""
        maps, logits = class_maps(images, labels, material)
        size = (images.shape[2], images.shape[3])
        large = resize(maps, size)[:, 0].cpu().numpy()
        boxes, _ = largest_boxes(large, otsu_thresholds(large))
        scores = logits.double().softmax(1).gather(1, labels[:, None])
        found = of_maps(maps, size)
        there = found.valid.float()
        return replace(
            found, boxes=torch.from_numpy(boxes).to(there)[:, None] * there[..., None], scores=scores.float() * there
        )

    def maps(self, images: Tensor, labels: Tensor, material: Material) -> Tensor:
        """The one map of each image; see :class:`Annotator`."""
        return class_maps(images, labels, material)[0]


@final
class ZeroShotMaps(ClassMaps):
    """The box of the largest region of the map that CLIP-ES gives of a class's name, cut by Otsu (thesis, 4.3.1).

    As `ClassMaps`, whose classifier is CLIP where none is named.
    """

    classifier = ZERO_SHOT


def map_of_class(teacher: Teacher) -> str:
    """The name of the map that a classifier gives of a class."""
    return RUN if teacher.method else DEFAULT_MAP


def class_maps(images: Tensor, labels: Tensor, material: Material) -> tuple[Tensor, Tensor]:
    """Maps (b, 1, h', w') in [0, 1] that the classifier gives of each image's class (b,), and its scores (b, k).

    Raises:
        ConfigError: It is a network in which no grid is found.
    """
    teacher = material.teacher
    if teacher.method:
        with torch.no_grad():
            said = teacher.localize(images, labels)
        return said.maps.float(), said.logits
    source = check_source(DEFAULT_MAP, {}, material.backbone, kind="maps")
    maps = source(material.backbone, teacher, images, labels)
    with evaluating(teacher.network), torch.no_grad():
        return maps[:, :1].float(), teacher(images)


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
