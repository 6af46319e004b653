"""The networks of an annotation job, opened and matched to the data: classifier, backbone, preparation of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch

from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone, preprocessing_of
from boxless.data.catalog import Catalog
from boxless.data.transforms import Preprocess
from boxless.devices import pick_device
from boxless.errors import ConfigError, DataError
from boxless.listener import Listener
from boxless.pseudo.annotators import Material
from boxless.pseudo.probed import open_probed
from boxless.pseudo.store import network_digest
from boxless.pseudo.teacher import AS_NAMED, PROBE, ZERO_SHOT, is_zero_shot, open_teacher
from boxless.recipe import Text, read_recipe
from boxless.runs import RECIPE, read_card
from boxless.types import Item


@dataclass(frozen=True, slots=True)
class Opened:
    """Networks on a device, and what they say of images and classes."""

    material: Material
    preprocess: Preprocess  # of the backbone that gives the maps
    classes: tuple[str, ...]  # of the classifier; labels are places in it
    device: torch.device
    known: tuple[str, ...]  # the classes of the data

    def translated(self, items: Sequence[Item]) -> list[Item]:
        """Items of the data with their labels as the classifier counts classes."""
        place = [self.classes.index(name) for name in self.known]
        return [replace(item, labels=tuple(place[label] for label in item.labels)) for item in items]

    def digests(self) -> dict[str, Any]:
        """What proposals depend on here, by the names that a training run keeps it under."""
        return {
            "backbone": network_digest(self.material.backbone),
            "classifier": network_digest(self.material.teacher.network),
            "size": self.preprocess.size,
        }


def open_material(
    classifier: str,
    catalog: Catalog,
    *,
    backbone: str | None,
    image_size: int | None,
    device: str,
    text: Text = AS_NAMED,
    folder: Path | None = None,
    listener: Listener | None = None,
) -> Opened:
    """Load what an annotator needs; a run may know more classes than the data have.

    Args:
        classifier: A run folder, a timm model, a CLIP model, or ``probe`` for one that is fitted to the train split.
        catalog: The data.
        backbone: Of any family, for the maps; None takes that of the run, or the classifier's own network. A probe is
            fitted on it.
        image_size: Side of the square that images are resized to; None takes that of the classifier.
        device: Where all goes.
        text: Names and templates of classes, which a CLIP model reads and nothing else does.
        folder: Where a probe is kept, so that it is fitted once.
        listener: Hears of the progress, and of names that look like codes.

    Raises:
        ConfigError, DataError, RunError: The classifier is none of these, is not finished, or is of other classes;
            names or templates do not fit, or nothing reads them.
        UnknownNameError, WeightsError: A network does not exist, or its weights cannot be had.
    """
    if text != AS_NAMED and not is_zero_shot(classifier):
        raise ConfigError(
            f"names and templates of classes: the classifier {classifier} does not read them; leave them out, or take "
            f"a CLIP model such as {ZERO_SHOT}."
        )
    chosen, run, hears = pick_device(device), Path(classifier), listener or Listener()
    if classifier == PROBE:
        probed = open_probed(catalog, chosen, backbone=backbone, image_size=image_size, folder=folder, listener=hears)
        return Opened(
            Material(probed.backbone, probed.teacher, len(catalog.classes), probed.preprocess),
            probed.preprocess,
            catalog.classes,
            chosen,
            catalog.classes,
        )
    if run.is_dir():
        classes = tuple(read_card(run)["classes"])
        _check_classes(catalog, classes)
        recipe = read_recipe(run / RECIPE)
        own, size = recipe.backbone.name, int(recipe.data.image_size)
    elif is_zero_shot(classifier) or timm.is_model(classifier):
        classes, own = catalog.classes, classifier
        size = preprocessing_of(classifier)[0]
    else:
        raise ConfigError(
            f"classifier {classifier!r}: no folder of a finished run and no timm model; give one of these, a CLIP "
            f"model such as {ZERO_SHOT}, or {PROBE!r}."
        )
    name, side = backbone or own, image_size or size
    preprocess = Preprocess(side, *preprocessing_of(name)[1:])
    teacher = open_teacher(classifier, classes, preprocess, chosen, text=text, note=hears.note, image_size=image_size)
    if backbone is None and teacher.method is not None:
        network: Backbone = teacher.method.backbone
    else:
        network = build_backbone(name, image_size=side).to(chosen).eval().requires_grad_(requires_grad=False)
    return Opened(Material(network, teacher, len(classes), preprocess), preprocess, classes, chosen, catalog.classes)


def _check_classes(catalog: Catalog, classes: Sequence[str]) -> None:
    unknown = sorted(set(catalog.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{catalog.root}: the run does not know the class {', '.join(map(repr, unknown))}; it knows "
            f"{', '.join(classes)}. Leave those images out, or train with them."
        )
