"""The contract of a method: named losses from a batch, and a map for each class asked for.

The training loop, the protocol, prediction and export know a method by this contract only, and hold no method's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.types import Batch, Localization

if TYPE_CHECKING:
    from boxless.text.classes import ClassTexts


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a method comes from."""

    authors: str
    title: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method takes from its surroundings, so that nothing else has to know it by name."""

    prefix_tokens: bool = False  # class or register tokens: transformers only
    steering: bool = False  # a token of its own that steers attention: plain vision transformers of timm only
    images: bool = False  # its losses look at the images themselves, also when features are cached
    own_forward: bool = False  # it changes images or inner features in training, so cached features are of no use
    trains: bool = True  # False: it localizes as built, and is never trained
    text: Literal["", "optional", "required"] = ""  # embeddings of class names, by `Method.name_classes`
    templates: str = "imagenet"  # the prompts that class names are put in, if a recipe names none


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of training with an optimiser, a schedule and epochs of its own; one comes after the other."""

    name: str
    images: bool = False  # its losses look at the images themselves, also when features are cached
    # What it learns from besides image labels: `Batch.pseudo` holds it. Any: maps of classes, else boxes.
    pseudo: Literal["", "maps", "boxes", "any"] = ""
    sources: tuple[str, ...] = ()  # where pseudo-labels come from if a recipe names none: the first that fits
    classifies: bool = True  # whether class scores change in it, so that their accuracy can select weights
    localizes: bool = True  # whether maps change in it, so that their boxes can
    teaches: bool = False  # it serves the pseudo-labels of the next alone: left out if another classifier does


@dataclass(frozen=True, slots=True)
class Space:
    """The values of a hyper-parameter that a search may try."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[object, ...] = ()


class Method(nn.Module, ABC):
    """A weakly supervised localizer: a backbone and what a paper puts on it.

    A subclass declares its hyper-parameters in its constructor, keyword-only, typed and with defaults, and nowhere
    else: recipes, ``--set``, ``boxless show method`` and search read the signature. The constructor taps the stages of
    the backbone that it reads.

    Attributes:
        paper: The publication.
        needs: What it takes from a backbone and a batch.
        stages: The parts of its training, in order.
        class_specific: Whether the maps of two classes differ.
        stage: The present one.
        search_space: Hyper-parameters that a search may set, with their ranges.
        neighbours: How many frames of the same shot before a frame have their pseudo-labels' maps laid over its own,
            where there are any: elementwise the maximum.
    """

    paper: ClassVar[Paper]
    needs: ClassVar[Needs] = Needs()
    stages: ClassVar[tuple[Stage, ...]] = (Stage("training"),)
    class_specific: bool = True
    search_space: ClassVar[Mapping[str, Space]] = {}
    neighbours: int = 0

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone, self.num_classes = backbone, num_classes
        self.stage = self.stages[0]
        self._held: tuple[nn.Module, ...] = ()

    @final
    def enter(self, stage: Stage) -> None:
        """Begin a stage, before its optimiser is built: what it holds does not learn and stays in evaluation mode."""
        for module in self._held:
            module.requires_grad_(requires_grad=True)
        # A frozen backbone is always held, and stays so when others are let go.
        held = (each for each in self.holds(stage) if not (each is self.backbone and self.backbone.frozen))
        self.stage, self._held = stage, tuple(held)
        for module in self._held:
            module.requires_grad_(requires_grad=False)
        self.train(self.training)

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """The parts that stay as they are in a stage; all others learn in it."""
        return ()

    @final
    def train(self, mode: bool = True) -> Self:
        """Switch the mode; what is held stays in evaluation mode."""
        super().train(mode)
        for module in self._held:
            module.eval()
        return self

    @property
    def not_exported(self) -> str:
        """Why `localize` cannot become a graph of ONNX operations; empty where it can."""
        return ""

    def name_classes(self, texts: ClassTexts) -> None:
        """Take the embeddings of class names, once and before training, into buffers that are part of the state.

        Only of a method that needs text; one to which it is optional may be told that there is none. A run that is
        opened is not told again, so the buffers have their final shapes from the start. A method that declares a
        setting ``dimensions`` gets it as wide as the embeddings are, if a recipe says nothing.
        """

    def leave_unnamed(self) -> None:
        """Called in place of :meth:`name_classes` if there is no text, of a method to which it is optional."""

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of normalised images (b, 3, h, w); overridden where they come cheaper than maps."""
        return self.localize(images).logits

    def as_classifier(self) -> nn.Module:
        """The classifier as a network of its own that shares the weights: images (b, 3, h, w) to scores (b, k).

        A method whose classifier is a linear layer on an averaged grid gives one whose last child but one is that grid
        and whose ``fc`` is that layer, so that every map of `boxless.maps` can be taken of it.
        """
        return Scores(self)

    def as_teacher(self) -> nn.Module:
        """The classifier that its own pseudo-labels come from, by which it may not classify itself."""
        return self.as_classifier()

    @abstractmethod
    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Named scalar losses, each a mean over the batch; the loop minimises their sum and logs each.

        Args:
            batch: Images and image labels.
            progress: The part of training that is done, in [0, 1), for losses that change on the way.
        """

    @abstractmethod
    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        """Class scores, and a map in [0, 1] for each class asked for.

        Args:
            images: (b, 3, h, w), normalised with the backbone's mean and std.
            classes: (b, n) class indices; None asks for the predicted class of each image.
        """


@final
class Scores(nn.Module):
    """A method's class scores as a network."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        """Scores (b, k) of images (b, 3, h, w)."""
        return self.method.scores(images)


def asked_classes(logits: Tensor, classes: Tensor | None) -> Tensor:
    """The classes (b, n) that a caller of :meth:`Method.localize` asked for: those given, or the predicted one."""
    return logits.argmax(1, keepdim=True) if classes is None else classes


def pick(maps: Tensor, classes: Tensor) -> Tensor:
    """The maps (b, n, h, w) of the classes (b, n), out of the maps (b, k, h, w) of all classes."""
    return maps.gather(1, classes[:, :, None, None].expand(-1, -1, *maps.shape[-2:]))
