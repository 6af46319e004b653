"""The pseudo-labels of a training set: made between two stages, kept on disk, and read by every process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from boxless.backbones.base import evaluating
from boxless.errors import ConfigError, DataError, nearest
from boxless.listener import Listener
from boxless.methods.base import Method, Stage
from boxless.pseudo.labels import RUN, Labeller, check_source, made_from, settings_of
from boxless.pseudo.proposals import ProposalSettings
from boxless.pseudo.records import Proposals
from boxless.pseudo.store import ProposalStore, image_key, network_digest
from boxless.pseudo.table import MAP_SOURCES
from boxless.pseudo.teacher import OWN, ZERO_SHOT, Teacher, check_teacher, is_zero_shot, open_teacher, own_teacher
from boxless.pseudo.usual import usual_source
from boxless.recipe import Pseudo, Recipe, Training
from boxless.settings import check
from boxless.stream import default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.training.naming import whole
from boxless.training.shots import Before
from boxless.types import Item

PSEUDO = "pseudo"
BATCH = 32  # images whose boxes are scored together, and between two writes
_OF_ALL_STAGES = ("batch_size", "accumulate", "precision", "cache_features", "checkpoint_minutes", "seed", "stages")


def plan(method: Method, training: Training, pseudo: Pseudo) -> tuple[tuple[Stage, Training], ...]:
    """The stages of a method with the settings of each; without those that only teach, if another classifier does.

    Raises:
        ConfigError: A recipe names a stage that the method does not have, or a setting that is the same in all stages.
    """
    known = {stage.name: stage for stage in method.stages}
    for name, settings in training.stages.items():
        where = f"training.stages.{name}"
        if name not in known:
            raise ConfigError(f"{where}: there is no such stage; {nearest(name, known)}")
        if shared := [each for each in settings if each in _OF_ALL_STAGES]:
            raise ConfigError(f"{where}.{shared[0]}: it is the same in all stages; set training.{shared[0]}.")
        if settings.get("epochs") == "auto":
            raise ConfigError(f"{where}.epochs: give a number; what is not named here is that of training.epochs.")
    used = [stage for stage in method.stages if pseudo.classifier == OWN or not stage.teaches]
    return tuple((stage, _settings(training, stage.name)) for stage in used)


def kind_of(stage: Stage, source: str) -> Literal["maps", "boxes"]:
    """What a stage learns from with this source: one that learns from any takes maps of classes as they are."""
    if stage.pseudo == "any":
        return "boxes" if source in MAP_SOURCES else "maps"
    return "boxes" if stage.pseudo == "boxes" else "maps"


def settle(recipe: Recipe, method: Method, classes: Sequence[str]) -> Recipe:
    """The recipe with the source that the method's stage will take; whatever cannot be had is refused here.

    Raises:
        ConfigError: The source or a setting of it does not exist, the backbone or method cannot give it, or the
            classifier is of other classes.
        RunError: The classifier is a run that is not finished.
    """
    stage = next((each for each in method.stages if each.pseudo), None)
    if stage is None or not stage.pseudo:
        if recipe.pseudo != Pseudo():
            raise ConfigError(
                f"pseudo: method {recipe.method.name} learns from image labels alone and takes no pseudo-labels; "
                "leave this section out."
            )
        return recipe
    name, teacher = recipe.pseudo.source, recipe.pseudo.classifier
    if name == "auto":
        name, teacher = usual_source(stage.sources, method, teacher, classes)
    check_source(name, recipe.pseudo.settings, method.backbone, kind=kind_of(stage, name))
    paths: dict[str, str] = {}  # found again from any folder, for a run that is resumed
    if teacher != OWN:
        check_teacher(teacher, classes)
        paths["classifier"] = str(Path(teacher).absolute()) if Path(teacher).is_dir() else whole(teacher)
    if name == RUN and not (is_zero_shot(teacher) or Path(teacher).is_dir()):
        raise ConfigError(
            "pseudo.source: run takes the maps of the classifier's own method; name as pseudo.classifier the folder of "
            f"a finished run, or a zero-shot localizer such as {ZERO_SHOT}."
        )
    if recipe.pseudo.folder is not None:
        paths["folder"] = str(Path(recipe.pseudo.folder).absolute())
    return recipe.override(pseudo={"source": name, **paths, **recipe.pseudo.settings})


@dataclass(frozen=True, slots=True)
class Labelling:
    """Makes the pseudo-labels of a training set; each process does its share of what is not there yet.

    Args:
        recipe: As `settle` left it.
        method: What learns from them.
        examples: The training images.
        classes: Their classes.
        folder: Of the run.
        fabric: The processes.
        listener: Hears of the progress.
        stop: Called between writes; it may raise to end the work.
        before: The frames before each, where a method takes those of videos together.
    """

    recipe: Recipe
    method: Method
    examples: Examples
    classes: Sequence[str]
    folder: Path
    fabric: Fabric
    listener: Listener
    stop: Callable[[], None]
    before: Before | None = None

    def __call__(self, stage: Stage) -> Proposals | None:
        """The pseudo-labels of all training images for a stage, on the CPU; None if it asks for none.

        Raises:
            DataError: There are none at all.
        """
        if not stage.pseudo:
            return None
        chosen = self.recipe.pseudo
        kind = kind_of(stage, chosen.source)
        settings = settings_of(chosen) if kind == "boxes" else ProposalSettings(top_k=1)
        source = check_source(chosen.source, chosen.settings, self.method.backbone, kind=kind)
        teacher = self._teacher()
        labeller = Labeller(source, kind, settings, self.method.backbone, teacher, len(self.classes))
        made = {
            **made_from(kind, chosen.source, chosen.settings, teacher),
            "backbone": network_digest(self.method.backbone),
            "classifier": network_digest(teacher.network),
            "size": self.examples.preprocess.size,
            **({"neighbours": self.method.neighbours} if self.method.neighbours else {}),
        }
        kept = self.folder / PSEUDO if chosen.folder is None else Path(chosen.folder)
        rank, world = self.fabric.global_rank, self.fabric.world_size
        keys = [self._key(place) for place in range(len(self.examples))]
        with ProposalStore(kept, settings, made, rank=rank, world=world) as store:
            store.fill(
                keys, lambda places: self._make(labeller, places), batch=BATCH, listener=self.listener, stop=self.stop
            )
            self.fabric.barrier()
            found = store.read(keys)
        for remark in found.remarks():
            self.listener.note(remark)
        if not found.valid.any():
            raise DataError(
                f"no image has a pseudo-label: the maps of {chosen.source} are flat everywhere, or no image can be "
                "read; take another pseudo.source."
            )
        return found

    def _teacher(self) -> Teacher:
        name = self.recipe.pseudo.classifier
        if name == OWN:
            return own_teacher(self.method)
        return open_teacher(
            name,
            self.classes,
            self.examples.preprocess,
            self.fabric.device,
            text=self.recipe.text,
            note=self.listener.note,
        )

    def _make(self, labeller: Labeller, places: list[int]) -> Proposals:
        """The pseudo-labels of some images; of frames of videos perhaps with those before them."""
        own = list(ordered_map(self._show, places, workers=default_workers(), ahead=len(places)))
        earlier = [(row, item) for row, place in enumerate(places) for item in self._before(place)]
        others = ordered_map(self._shown, [item for _, item in earlier], workers=default_workers(), ahead=len(places))
        known = [(row, image) for (row, _), image in zip(earlier, others, strict=True) if image is not None]
        owners = [*range(len(places)), *(row for row, _ in known)]
        images = torch.stack([*own, *(image for _, image in known)])
        images = images.to(self.fabric.device, memory_format=torch.channels_last)
        labels = self.examples.labels[places][owners].to(self.fabric.device)
        with evaluating(self.method):
            made = labeller(images, labels)
        return made.fused(torch.tensor(owners), len(places)) if known else made

    def _show(self, place: int) -> Tensor:
        image = self.examples.attempt(place, self.examples.plain)
        side = self.examples.preprocess.size
        return torch.zeros(3, side, side) if image is None else image

    def _before(self, place: int) -> tuple[Item, ...]:
        """The frames whose maps are laid over that of one."""
        if self.before is None or not self.method.neighbours:
            return ()
        return self.before(self.examples.items[place], self.method.neighbours)

    def _shown(self, item: Item) -> Tensor | None:
        try:
            return self.examples.of_item(item)
        except DataError:
            return None  # the frame itself can do without

    def _key(self, place: int) -> str | None:
        """The image's name in the store; None if its file cannot be read, which is noted."""
        if place in self.examples.refused:
            return None
        label = int(self.examples.labels[place])
        try:
            own = image_key(self.examples.items[place].path, label)
        except DataError as error:
            self.examples.refused[place] = str(error)
            return None
        earlier = []
        for item in self._before(place):
            with suppress(DataError):
                earlier.append(image_key(item.path, label))
        return "+".join([own, *earlier])


def _settings(training: Training, stage: str) -> Training:
    return replace(training, **check(Training, training.stages.get(stage, {}), f"training.stages.{stage}"))
