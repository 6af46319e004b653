"""What all trials of a search share, made once: the data read, ``auto`` settled, val's pseudo-boxes, features."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from boxless import runs
from boxless.data.catalog import read_catalog
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError
from boxless.listener import Listener
from boxless.methods import METHODS
from boxless.methods.base import Method, Stage
from boxless.recipe import Recipe
from boxless.training.caching import FEATURES, fill_caches
from boxless.training.examples import Examples
from boxless.training.interrupt import Stop
from boxless.training.labelling import plan, settle
from boxless.training.naming import settle_text
from boxless.training.resolve import resolve
from boxless.training.session import make_fabric
from boxless.training.shots import looked_at, rounds
from boxless.training.tracking import PSEUDO
from boxless.training.val_boxes import FOLDER, STORE, ValBoxes, settle_boxes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What trials start from."""

    recipe: Recipe  # with every auto settled, so that it is the same in all of them
    stage: str  # the one whose figures are compared
    epochs: int  # of that stage


def prepare(recipe: Recipe, folder: Path, *, device: str, listener: Listener) -> Prepared:
    """Settle the recipe, and put val's pseudo-boxes into ``folder``, where `give_boxes` finds them.

    There too are the features of a backbone that stays frozen, unless the recipe names another place for them.

    Raises:
        DataError: Val has no images, or no pseudo-boxes where those are to select.
        ConfigError: The recipe selects by nothing that tells trials apart, or does not fit.
    """
    if recipe.protocol.select == "last":
        raise ConfigError(
            "protocol.select: last compares no figures, so there is nothing to search by; take pseudo or "
            "classification."
        )
    kind: type[Method] = METHODS.load(recipe.method.name)
    data = recipe.data
    catalog = read_catalog(data.source, format=data.format, images=data.images, listener=listener)
    if not catalog.splits.get("val"):
        raise DataError(
            f"{data.source}: val has no images, and trials are compared by what they do there; add a split val."
        )
    fabric = make_fabric(device, recipe.training.precision)
    recipe = resolve(recipe, catalog, accelerator=fabric.device.type != "cpu", listener=listener)
    recipe = settle_text(recipe, note=listener.note)
    if recipe.training.features is None:
        recipe = recipe.override(training={"features": str(folder / FEATURES)})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        method = runs.build_method(recipe, len(catalog.classes), pretrained=True)
    recipe = settle_boxes(settle(recipe, method, catalog.classes), catalog.classes, folder)
    preprocess = Preprocess(int(recipe.data.image_size), method.backbone.mean, method.backbone.std)
    settings = {stage.name: each for stage, each in plan(method, recipe.training, recipe.pseudo)}
    shown = rounds(catalog.splits["train"], sum(int(each.epochs) for each in settings.values()), recipe.training.seed)
    train_set, val_set = (
        Examples(items, len(catalog.classes), preprocess, seed=recipe.training.seed)
        for items in (shown, looked_at(catalog.splits["val"]))
    )
    method = method.to(fabric.device)
    sets = ValBoxes(recipe, catalog, method, train_set, val_set, folder, fabric, listener, lambda: None)()
    if recipe.protocol.select == PSEUDO and sets and not sets[0].count:
        raise DataError(
            f"{data.source}: no image of val has a pseudo-box by {sets[0].name}, and trials are compared by them; name "
            "another source, as in --set protocol.boxes=spectral (see 'boxless list annotators'), or compare by --set "
            "protocol.select=classification."
        )
    if kind.needs.trains:
        making = folder / STORE
        making.mkdir(parents=True, exist_ok=True)
        fill_caches(recipe, method, train_set, val_set, making, fabric, listener, Stop())
    shutil.rmtree(folder / STORE, ignore_errors=True)
    stage = judged_stage(kind, recipe.protocol.select)
    return Prepared(recipe, stage.name, int(settings[stage.name].epochs) if kind.needs.trains else 1)


def judged_stage(kind: type[Method], select: str) -> Stage:
    """The last stage of training whose figures change: figures of an earlier one may be of another criterion."""
    changes = [stage for stage in kind.stages if (stage.classifies if select == "classification" else stage.localizes)]
    return (changes or list(kind.stages))[-1]


def remove_features(recipe: Recipe, folder: Path) -> None:
    """Delete the features that were kept for the trials; those that the user keeps elsewhere stay."""
    if recipe.training.features == str(folder / FEATURES):
        shutil.rmtree(folder / FEATURES, ignore_errors=True)


def give_boxes(folder: Path, trial: Path) -> None:
    """Put the search's pseudo-boxes of val into a trial's folder, where training finds them made."""
    if (folder / FOLDER).is_dir():
        shutil.copytree(folder / FOLDER, trial / FOLDER, dirs_exist_ok=True)
