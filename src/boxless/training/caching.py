"""Whether the features of a run are cached, and the filled caches."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_fabric import Fabric

from boxless.errors import ConfigError
from boxless.listener import Listener
from boxless.methods.base import Method
from boxless.pseudo.store import network_digest
from boxless.recipe import Recipe
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.training.interrupt import Stop

FEATURES = "features"
LARGEST_CACHE = 0.5  # of the free disk space, above which 'auto' keeps no features


def fill_caches(
    recipe: Recipe,
    method: Method,
    train_set: Examples,
    val_set: Examples,
    folder: Path,
    fabric: Fabric,
    listener: Listener,
    stop: Stop,
) -> list[FeatureCache]:
    """The filled feature caches of train and val, or nothing where features are not to be cached."""
    if not _may_cache(recipe, method, fabric):
        return []
    pieces = recipe.to_dict()
    key = repr((pieces["backbone"], pieces["data"]["image_size"], method.backbone.tapped))
    if recipe.training.features is not None:
        key += network_digest(method.backbone)  # another run's random weights are others
    made = [
        FeatureCache(folder / FEATURES / name, method.backbone, examples, flips=flips, key=key)
        for name, examples, flips in (("train", train_set, recipe.data.augment), ("val", val_set, False))
    ]
    shared = None if recipe.training.features is None else Path(recipe.training.features)
    if shared is not None:
        _look_there(made, shared)
    needed, free = (
        sum(each.bytes_needed(fabric.device) for each in made if not each.is_full),
        shutil.disk_usage(folder).free,
    )
    if recipe.training.cache_features == "auto" and needed > LARGEST_CACHE * free:
        listener.note(f"features are not cached: they would take {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB free.")
        return []
    for name, cache in zip(("train", "val"), made, strict=True):
        if fabric.is_global_zero:
            cache.fill(fabric.device, listener, stop.raise_if_asked, name=name)
            if shared is not None and cache.folder.is_relative_to(folder):
                cache.publish(shared / cache.key)
        fabric.barrier()
        if shared is not None:
            _look_there([cache], shared)  # where the first process put it
        cache.open(fabric.device)
    train_set.check_readable()
    return made


def remove_caches(recipe: Recipe, caches: Sequence[FeatureCache], folder: Path) -> None:
    """Delete what the finished run has no more need of; what other runs may use stays."""
    if recipe.training.features is None:
        for cache in caches:
            cache.remove()
    shutil.rmtree(folder / FEATURES, ignore_errors=True)


def _look_there(caches: Sequence[FeatureCache], shared: Path) -> None:
    """Let caches use what another run has filled."""
    for cache in caches:
        own, cache.folder = cache.folder, shared / cache.key
        if not cache.is_full:
            cache.folder = own


def _may_cache(recipe: Recipe, method: Method, fabric: Fabric) -> bool:
    wish, frozen = recipe.training.cache_features, recipe.backbone.freeze is True
    if wish is True and not (frozen and not method.needs.own_forward):
        reason = "the backbone learns" if not frozen else f"method {recipe.method.name} changes what the backbone sees"
        raise ConfigError(f"training.cache_features: features cannot be cached, since {reason}; set it to auto.")
    if wish == "auto":
        return frozen and not method.needs.own_forward and fabric.world_size == 1
    return wish is True
