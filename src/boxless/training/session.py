"""Training from a recipe to a finished run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from boxless import runs
from boxless.backbones.open_clip_models import check_at_hand
from boxless.data.catalog import Catalog, read_catalog
from boxless.data.transforms import Augment, Preprocess
from boxless.devices import pick_device
from boxless.errors import ConfigError, InterruptedRunError, RunError
from boxless.files import unwritable
from boxless.listener import Listener
from boxless.maps.sanity import Warned
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.protocol.guard import Guard
from boxless.pseudo.teacher import is_zero_shot
from boxless.recipe import Recipe, from_dict, read_recipe
from boxless.training.caching import fill_caches, remove_caches
from boxless.training.checkpoints import Progress
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.training.feeding import Feeder
from boxless.training.interrupt import Stop, stoppable
from boxless.training.kept import Kept
from boxless.training.labelling import PSEUDO, Labelling, plan, settle
from boxless.training.loop import CHECKPOINT, Loop, Plan
from boxless.training.naming import name_classes, settle_text
from boxless.training.presence import learn_presence
from boxless.training.resolve import AUTO, resolve
from boxless.training.selection import Settled, guard, past_of
from boxless.training.shots import before, looked_at, rounds
from boxless.training.tracking import Tracker
from boxless.training.val_boxes import STORE, ValBoxes, settle_boxes
from boxless.training.validation import look_at_maps
from boxless.trust import code_of, flag, refuse_code


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of training."""

    folder: Path
    progress: Progress
    refused: tuple[tuple[str, str], ...]  # names of images that could not be read, and why


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    listener: Listener | None = None,
) -> Trained:
    """Train as the recipe says, into a run folder.

    Started by ``torchrun``, it uses every process as one device; the batch is shared among them.

    Args:
        recipe: The settings; with ``resume`` those kept in the folder are used instead, and may name no other code than
            these, see `boxless.trust`.
        folder: The run folder, made if need be.
        resume: Go on with an unfinished run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        listener: Hears of the progress.

    Raises:
        RunError: The folder already holds a run, holds none to resume, or cannot be written.
        DataError, ConfigError, WeightsError, TrainingError: As their names say.
        InterruptedRunError: The user stopped the run; it can be resumed.
    """
    listener = listener or Listener()
    recipe = _prepare(recipe, folder, resume=resume)
    fabric = make_fabric(device, recipe.training.precision)
    fabric.launch()
    if not fabric.is_global_zero:
        listener = Listener()
        fabric.barrier()  # the first process renders the sample, if it is that and not there yet
    catalog = _read(recipe, listener)
    if fabric.is_global_zero:
        fabric.barrier()
    for problem in catalog.problems:
        listener.note(f"{recipe.data.source}: {problem}.")
    with torch.random.fork_rng(), stoppable() as stop:
        try:
            return _train(recipe, catalog, folder, fabric, listener, stop)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "stopped; all that was done is saved. Go on with: "
                f"boxless train --resume --out {quote(str(folder))}{flag(recipe)}"
            ) from None


def _train(recipe: Recipe, catalog: Catalog, folder: Path, fabric: Fabric, listener: Listener, stop: Stop) -> Trained:
    accelerator = fabric.device.type != "cpu"
    chosen = resolve(recipe, catalog, accelerator=accelerator, listener=listener) if fabric.is_global_zero else recipe
    recipe = from_dict(fabric.broadcast(chosen.to_dict()), "recipe")
    torch.manual_seed(recipe.training.seed)
    recipe = settle_text(recipe, note=listener.note)
    method = runs.build_method(recipe, len(catalog.classes), pretrained=True)
    asked, recipe = recipe.pseudo.classifier, settle(recipe, method, catalog.classes)
    if is_zero_shot(recipe.pseudo.classifier) and not is_zero_shot(asked):
        listener.note(
            f"pseudo-labels come from {recipe.pseudo.classifier}, whose weights are here; --set pseudo.source=cam "
            "takes those of the method's own classifier."
        )
    recipe = settle_boxes(recipe, catalog.classes, folder)
    if is_zero_shot(recipe.pseudo.classifier):
        check_at_hand(recipe.pseudo.classifier)
    stages = plan(method, recipe.training, recipe.pseudo)
    name_classes(recipe, method, catalog.classes, note=listener.note)
    if fabric.is_global_zero:
        recipe.save(folder / runs.RECIPE)  # only now: what cannot be built leaves no folder behind
    fabric.barrier()  # the others write into that folder
    method = method.to(fabric.device)
    epochs = sum(int(settings.epochs) for _, settings in stages)
    train_set, val_set = _examples(recipe, catalog, method, epochs)
    ask = stop.raise_if_asked
    sets = ValBoxes(recipe, catalog, method, train_set, val_set, folder, fabric, listener, ask)()
    progress, caches, trains = Progress(), [], method.needs.trains
    if trains:
        caches = fill_caches(recipe, method, train_set, val_set, folder, fabric, listener, stop)
    tracker = Tracker(recipe.protocol, method, val_set, caches[1] if caches else None, sets, fabric)
    if trains:
        loop = _loop(recipe, catalog, method, stages, train_set, tracker, caches, folder, fabric, listener, stop)
        progress = loop.run()
    settled = Settled(recipe.protocol, sets, past_of(progress, tracker, trained=trains), trains)
    watched = guard(settled, tracker)
    if watched is not None and watched.warning:
        listener.note(watched.warning)
    warned = look_at_maps(method, (train_set, val_set), fabric.device, settled.threshold()["rule"])
    for each in warned:
        listener.note(each.sentence("maps looked at"))
    refused = _refused_anywhere([*_refused(train_set), *_refused(val_set)], fabric)
    if fabric.is_global_zero:
        present = learn_presence(recipe, catalog, method, settled, val_set, folder, listener)
        _finish(folder, method, recipe, catalog, settled, watched, progress, refused, warned, caches, present)
    fabric.barrier()
    return Trained(folder, progress, refused)


def _loop(
    recipe: Recipe,
    catalog: Catalog,
    method: Method,
    stages: Plan,
    train_set: Examples,
    tracker: Tracker,
    caches: list[FeatureCache],
    folder: Path,
    fabric: Fabric,
    listener: Listener,
    stop: Stop,
) -> Loop:
    settings, rank, world = recipe.training, fabric.global_rank, fabric.world_size
    cache = caches[0] if caches else None
    feeder = Feeder(
        train_set, cache, settings.batch_size, settings.accumulate, settings.seed, rank, world, fabric.device
    )
    label = Labelling(
        recipe,
        method,
        train_set,
        catalog.classes,
        folder,
        fabric,
        listener,
        stop.raise_if_asked,
        before(catalog.splits["train"]),
    )
    return Loop(fabric, stages, method, catalog.multi_label, feeder, tracker, label, folder, listener, stop.asked)


def _read(recipe: Recipe, listener: Listener) -> Catalog:
    data = recipe.data
    return read_catalog(data.source, format=data.format, images=data.images, listener=listener)


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for one device, or for the processes that ``torchrun`` started."""
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    world = int(os.environ.get("WORLD_SIZE", local))
    kind = pick_device(device).type
    if precision == "16" and kind == "cpu":
        raise ConfigError("training.precision: 16 needs an accelerator; on a CPU take 32 or bf16.")
    return Fabric(
        accelerator=kind,
        devices=local,
        num_nodes=max(world // local, 1),
        # Methods may leave parameters without a gradient in some steps, such as those of a branch drawn at random.
        strategy=DDPStrategy(find_unused_parameters=True) if world > 1 else "auto",
        precision=names[precision],  # type: ignore[arg-type]
    )


def _prepare(recipe: Recipe, folder: Path, *, resume: bool) -> Recipe:
    """Check that the folder fits what is asked; with ``resume``, the recipe kept there."""
    started, finished = (folder / runs.RECIPE).exists(), (folder / runs.CARD).exists()
    if resume:
        if not started:
            raise RunError(
                f"{folder}: there is no run to resume; start one with: boxless train DATA --out {quote(str(folder))}"
            )
        if finished:
            raise RunError(f"{folder}: this run is finished; nothing is left to resume.")
        kept = read_recipe(folder / runs.RECIPE)
        refuse_code(kept, folder / runs.RECIPE, own=code_of(recipe).values())
        return kept
    if recipe.method.name != AUTO:
        METHODS.load(recipe.method.name)  # a name that is wrong leaves no folder behind
    if int(os.environ.get("RANK", 0)) == 0:
        if started:
            how = "it is finished" if finished else f"go on with: boxless train --resume --out {quote(str(folder))}"
            raise RunError(f"{folder}: a run is already there ({how}); or choose another folder with --out.")
        _check_writable(folder)
    return recipe


def _check_writable(folder: Path) -> None:
    """Fail before the work and not after it; a folder that was not there is not there afterwards either."""
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".boxless-write-test"
        probe.write_bytes(b"")
        probe.unlink()
        if not there:
            folder.rmdir()
    except OSError as error:
        raise RunError(unwritable(folder, error)) from error


def _examples(recipe: Recipe, catalog: Catalog, method: Method, epochs: int) -> tuple[Examples, Examples]:
    size, backbone = int(recipe.data.image_size), method.backbone
    preprocess = Preprocess(size, backbone.mean, backbone.std)
    augment = Augment(size, backbone.mean, backbone.std) if recipe.data.augment else None
    count, seed = len(catalog.classes), recipe.training.seed
    train_set = Examples(rounds(catalog.splits["train"], epochs, seed), count, preprocess, augment, seed)
    return train_set, Examples(looked_at(catalog.splits.get("val", ())), count, preprocess, None, seed)


def _refused(examples: Examples) -> tuple[tuple[str, str], ...]:
    return tuple((examples.items[index].name, reason) for index, reason in sorted(examples.refused.items()))


def _refused_anywhere(mine: list[tuple[str, str]], fabric: Fabric) -> tuple[tuple[str, str], ...]:
    """What any device could not read: each sees its own share of the images."""
    gathered: list[list[tuple[str, str]] | None] = [mine]
    if fabric.world_size > 1:
        gathered = [None] * fabric.world_size
        torch.distributed.all_gather_object(gathered, mine)
    return tuple(sorted({name: reason for each in gathered for name, reason in each or ()}.items()))


def _finish(
    folder: Path,
    method: Method,
    recipe: Recipe,
    catalog: Catalog,
    settled: Settled,
    watched: Guard | None,
    progress: Progress,
    refused: tuple[tuple[str, str], ...],
    warned: tuple[Warned, ...],
    caches: list[FeatureCache],
    present: Mapping[str, Any],
) -> None:
    facts = {
        "supervision": settled.supervision(zero_shot=bool(method.needs.text)),
        "selection": settled.selection(),
        "threshold": settled.threshold(),
        "criteria": settled.criteria(runs.WEIGHTS),
        **({} if watched is None else {"guard": watched.to_dict()}),
        **present,
        "training_seconds": round(progress.seconds, 1),
        "refused": dict(refused),
        "map_warnings": {each.kind: {"count": each.count, "of": each.total} for each in warned},
    }
    runs.save_run(folder, method, recipe, catalog, facts)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    Kept(folder).only(settled.kept())
    remove_caches(recipe, caches, folder)
    for name in (PSEUDO, STORE):
        shutil.rmtree(folder / name, ignore_errors=True)
