"""What ``auto`` means for a data set and a machine, so that the recipe kept with a run says everything."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median

from PIL import Image, UnidentifiedImageError

from boxless.backbones import weights
from boxless.data.catalog import Catalog
from boxless.listener import Listener
from boxless.methods import DEFAULT_METHOD, MULTI_LABEL_METHOD
from boxless.recipe import Recipe
from boxless.training.shots import in_shots
from boxless.types import Item

AUTO = "auto"
TARGET_STEPS = 800
SMALL_DATA = 1000  # training images below which a backbone is better left as it is
PROBED_IMAGES = 200


def resolve(recipe: Recipe, catalog: Catalog, *, accelerator: bool, listener: Listener) -> Recipe:
    """The recipe with every ``auto`` that can be settled before the network is built replaced by its value."""
    items = catalog.splits["train"]
    changes: dict[str, dict[str, object]] = {"data": {}, "backbone": {}, "training": {}, "method": {}}
    if recipe.method.name == AUTO:
        name = MULTI_LABEL_METHOD if catalog.multi_label else DEFAULT_METHOD
        changes["method"] = {"name": name, **recipe.method.settings}
    if recipe.backbone.name == "auto":
        name, reason = weights.choose()
        listener.note(reason)
        changes["backbone"]["name"] = name
    if recipe.backbone.freeze == "auto":
        changes["backbone"]["freeze"] = not accelerator or len(items) < SMALL_DATA
    if recipe.data.image_size == "auto":
        changes["data"]["image_size"] = pick_image_size(items, accelerator=accelerator)
    if recipe.training.epochs == "auto":
        shots = len(in_shots(items))  # each shows another frame in each epoch, so that more are no repetition
        steps = ceil(shots / recipe.training.batch_size)
        most = 60 * max(round(len(items) / max(shots, 1)), 1)
        changes["training"]["epochs"] = min(max(ceil(TARGET_STEPS / steps), 10), most)
    if weights.is_file(recipe.backbone.weights):
        changes["backbone"]["weights"] = str(Path(recipe.backbone.weights).expanduser().absolute())
    if recipe.training.features is not None:  # found again from any folder, for a run that is resumed
        changes["training"]["features"] = str(Path(recipe.training.features).absolute())
    return recipe.override(**changes)


def pick_image_size(items: Sequence[Item], *, accelerator: bool) -> int:
    """224 as the field has it, with an accelerator; on a CPU less for small images, 1.25 times their short side."""
    if accelerator:
        return 224
    step = max(len(items) // PROBED_IMAGES, 1)
    sides = []
    for item in items[::step]:
        try:
            with Image.open(item.path) as image:
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue  # training meets it again and says what is wrong with it
    typical = median(sides) if sides else 224
    return int(min(max(round(typical * 1.25 / 32) * 32, 128), 224))
