"""A recipe: everything that decides what a run learns, in one YAML file that reads as prose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt

from boxless.errors import ConfigError, nearest, shown
from boxless.files import atomic_write
from boxless.methods import DEFAULT_METHOD
from boxless.parsing import read_yaml
from boxless.settings import check

RECIPE_VERSION = 1
Auto = Literal["auto"]
Positive = Annotated[int, Ge(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is learnt from, and how it is shown to the network."""

    source: str = ""  # a folder, a file, or the name of a bundled data set
    format: str = "auto"
    images: str | None = None  # where the images are, for formats whose files do not say
    image_size: Annotated[int, Ge(32)] | Auto = "auto"  # side of the square network input, in pixels
    augment: bool = True  # random crops and flips; only flips when features are cached


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The backbone and whether it learns."""

    name: str = "auto"  # auto: the hub's default, or the offline one when the hub is out of reach
    weights: str = "auto"  # auto, package, hub, random, or a .safetensors file of its weights, such as those of a run
    output_stride: Literal[8, 16, 32] | None = None  # less than the network's own: strides become dilation
    dilate: bool = True  # false: they become 1 without it, as in the networks of wsolevaluation
    freeze: bool | Auto = "auto"  # auto: frozen without an accelerator or below 1,000 training images


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodChoice:
    """A method by its table name, and its settings as its constructor declares them."""

    name: str = DEFAULT_METHOD
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudo:
    """Where pseudo-labels come from, for methods that learn from them; a source's own settings lie beside these."""

    source: str = "auto"  # attention, spectral, a map, or run: the classifier's own; auto: the method's usual one
    # What scores boxes and gives class maps: the method's, a run folder, a timm model, or CLIP as open_clip:NAME/TAG.
    classifier: str = "own"
    top_k: Positive = 2  # boxes of an image that are learnt from
    min_size: Fraction = 0.04  # part of the image that a box must be larger than
    # The thesis has posterior and box. A classifier that never saw a blur is the surer the more it sees, and so chooses
    # boxes of nearly all the image: docs/pseudo-labels.md.
    score: Literal["posterior", "size", "product"] = "product"  # by which boxes are chosen
    visible: Literal["box", "region"] = "region"  # what the classifier sees sharp as it scores them, the rest blurred
    folder: str | None = None  # where they are kept for other runs too; null: in the run, until it is finished
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What class names mean to methods and pseudo-labels that read them."""

    model: str = "auto"  # open_clip:NAME/TAG, a .safetensors file, or none; auto: the text tower of the backbone
    templates: str | tuple[str, ...] = "auto"  # photo, imagenet, origami, plain, or texts with {}; auto: the paper's
    names: str | None = None  # a YAML file with names, synonyms and templates of classes; null: the classes' own names


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the loop minimises the method's losses."""

    epochs: Positive | Auto = "auto"  # of each stage; auto: enough for about 800 steps, from 10 to 60
    batch_size: Positive = 32  # images a step, over all devices
    accumulate: Positive = 1  # parts that a device's share of the batch is taken in
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Gt(0)] = 1e-3  # of everything but the backbone
    backbone_scale: Annotated[float, Ge(0)] = 0.1  # the backbone's learning rate, as a part of the above
    head_modules: tuple[str, ...] = ()  # parts of the backbone that learn at the full rate, by dotted name
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    momentum: Fraction = 0.9  # sgd, with Nesterov's correction
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup: Fraction = 0.03  # part of all steps in which the learning rate rises to its value
    step_epochs: Positive = 15  # schedule step: epochs between two drops
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1  # schedule step: factor of each drop
    clip: Annotated[float, Gt(0)] | None = None  # largest norm of the gradient
    precision: Literal["32", "bf16", "16"] = "32"
    cache_features: bool | Auto = "auto"  # auto: yes when the backbone is frozen and the method allows it
    features: str | None = None  # the folder where they are kept for other runs too; null: in the run, until it ends
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0  # at most so long is lost; also at the end of each epoch
    seed: Annotated[int, Ge(0)] = 0
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what is otherwise in a method's stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Which weights are kept, and where a map is cut; by default no true box has a say in it (thesis, section 4.3)."""

    # Best boxes on val by its pseudo-boxes; best class accuracy there; best boxes by its true boxes, which is an
    # oracle; or the last epoch.
    select: Literal["pseudo", "classification", "oracle", "last"] = "pseudo"
    # Mean IoU or MaxBoxAcc of boxes, each at its best threshold; or PxAP, with pseudo-masks in place of pseudo-boxes.
    measure: Literal["iou", "box_accuracy", "pxap"] = "iou"
    # Where val's pseudo-boxes come from: annotators or files; the first selects and gives the threshold, all are told.
    boxes: str | tuple[str, ...] = "auto"
    classifier: str = "probe"  # what annotators ask about classes: a linear probe, a run, a timm model, open_clip:...
    absent: tuple[str, ...] = ()  # classes that show no object, such as normal tissue: their pseudo-masks are empty
    oracle: bool = False  # also measure with val's true boxes; it is told as ORACLE and selects nothing by itself
    # The best on val's pseudo-boxes (Otsu's if there are none), each map's own by Otsu, or a fraction of its maximum.
    threshold: Literal["pseudo", "otsu"] | Annotated[float, Ge(0), Lt(1)] = "pseudo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of a run."""

    data: Data = field(default_factory=Data)
    backbone: Network = field(default_factory=Network)
    method: MethodChoice = field(default_factory=MethodChoice)
    text: Text = field(default_factory=Text)
    pseudo: Pseudo = field(default_factory=Pseudo)
    training: Training = field(default_factory=Training)
    protocol: Protocol = field(default_factory=Protocol)

    def to_dict(self, *, whole: bool = False) -> dict[str, Any]:
        """The recipe as it stands in YAML: settings of the method and of the source lie beside their names.

        Args:
            whole: Also show what is left out of files where it says nothing: text, pseudo-labels, settings of stages.
        """
        value = asdict(self)
        value["method"] = {"name": self.method.name, **self.method.settings}
        source = value.pop("pseudo")
        settings = source.pop("settings")
        if whole or self.pseudo != Pseudo():
            value["pseudo"] = {**source, **settings}
        if not whole and self.text == Text():
            del value["text"]
        if not whole and not self.training.stages:
            del value["training"]["stages"]
        return {"version": RECIPE_VERSION, **value}

    def save(self, path: Path) -> None:
        """Write the recipe as YAML, whole or not at all."""
        with atomic_write(path) as file:
            yaml.safe_dump(self.to_dict(), file, sort_keys=False, allow_unicode=True)

    def override(self, **sections: Mapping[str, Any]) -> Recipe:
        """A copy with other settings, given by section: ``recipe.override(training={"epochs": 3})``."""
        merged = self.to_dict()
        for section, settings in sections.items():
            if section not in SECTIONS:
                raise ConfigError(f"{section}: a recipe has no such section; {nearest(section, SECTIONS)}")
            old = merged.get(section, {})
            if section == "method" and settings.get("name", old["name"]) != old["name"]:
                old = {}  # another method's settings mean nothing here
            if section == "pseudo" and settings.get("source", old.get("source")) != old.get("source"):
                old = {name: value for name, value in old.items() if name in _PSEUDO}  # nor do another source's
            merged[section] = {**old, **settings}
        return from_dict(merged, "recipe")


SECTIONS: dict[str, type] = {
    "data": Data,
    "backbone": Network,
    "training": Training,
    "protocol": Protocol,
    "method": MethodChoice,
    "text": Text,
    "pseudo": Pseudo,
}
_PSEUDO = frozenset(each.name for each in fields(Pseudo)) - {"settings"}
NOTES = ("version", "published", "ours", "notes")  # keys of a recipe file that change nothing that is learnt


def from_dict(value: Mapping[str, Any], where: str) -> Recipe:
    """A checked recipe from what a YAML file holds.

    Raises:
        ConfigError: A section or setting is unknown, or a value does not fit; ``where`` and the setting are named.
    """
    if value.get("version", RECIPE_VERSION) != RECIPE_VERSION:
        raise ConfigError(
            f"{where}: version {shown(value['version'])} of the format; this boxless reads version {RECIPE_VERSION}."
        )
    sections: dict[str, Any] = {}
    for name, settings in value.items():
        if name in NOTES:
            continue
        if name not in SECTIONS:
            raise ConfigError(f"{where}: {name!r} is no section of a recipe; {nearest(name, SECTIONS)}")
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{where}: section {name} must hold settings, got {shown(settings)}.")
        read = _READERS.get(name, _section)
        sections[name] = read(name, settings)
    return Recipe(**sections)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ConfigError: The file is missing, is not YAML, or holds settings that do not fit.
    """
    try:
        value = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe file.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{path}: a recipe is a mapping of sections ({', '.join(SECTIONS)}), got {type(value).__name__}."
        )
    return from_dict(value, str(path))


def _section(name: str, settings: Mapping[str, Any]) -> Any:
    kind = SECTIONS[name]
    return kind(**check(kind, settings, name))


def _method(_: str, settings: Mapping[str, Any]) -> MethodChoice:
    """The method's settings are checked against its constructor when it is built, which imports torch; not here."""
    rest = {key: value for key, value in settings.items() if key != "name"}
    return MethodChoice(name=str(settings.get("name", DEFAULT_METHOD)), settings=rest)


def _pseudo(name: str, settings: Mapping[str, Any]) -> Pseudo:
    """What is no setting of this section is the source's, and checked when that is built, as the method's are."""
    own = {key: value for key, value in settings.items() if key in _PSEUDO}
    rest = {key: value for key, value in settings.items() if key not in _PSEUDO}
    return Pseudo(**check(Pseudo, own, name), settings=rest)


_READERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {"method": _method, "pseudo": _pseudo}
