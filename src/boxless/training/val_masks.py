"""Masks of val in place of boxes, where PxAP selects (thesis, section 4.6.6): a classifier's, and the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from boxless.data.masks import Masks, read_masks
from boxless.errors import ConfigError, MissingTruthError, RunError, nearest
from boxless.files import atomic_write
from boxless.pseudo.masks import class_masks
from boxless.stream import batched
from boxless.training.tracking import ORACLE, MaskSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.data.catalog import Catalog
    from boxless.training.val_boxes import ValBoxes

FOLDER, SOURCE = "pseudo_masks", "class_maps"
BATCH = 32


def absent_classes(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The places of classes that show no object.

    Raises:
        ConfigError: There is no such class.
    """
    for name in names:
        if name not in classes:
            raise ConfigError(f"protocol.absent: the data have no class {name!r}; {nearest(name, classes)}")
    return [classes.index(name) for name in names]


def pseudo_masks(work: ValBoxes) -> MaskSet:
    """The masks of the classifier's maps, kept as PNG files in the run folder and made once; one process makes them."""
    folder = work.folder / FOLDER
    if work.fabric.is_global_zero:
        _make(work, folder)
    work.fabric.barrier()
    masks = {}
    for item in work.val_set.items:
        path = _file(folder, item.name)
        if path.exists():
            masks[item.name] = _read(path)
    return MaskSet(SOURCE, {}, "", masks)


def true_masks(catalog: Catalog) -> MaskSet:
    """The masks that the data have for val.

    Raises:
        MissingTruthError: They have none.
    """
    found: Masks | None = read_masks(catalog, "val")
    if found is None:
        raise MissingTruthError(
            f"{catalog.root}: val has no true masks, which protocol.oracle asks for with protocol.measure=pxap; add a "
            "folder masks with PNG files that repeats the images' paths, or leave it out."
        )
    return MaskSet(ORACLE.upper(), {}, "", found)


def _make(work: ValBoxes, folder: Path) -> None:
    todo = [place for place, item in enumerate(work.val_set.items) if not _file(folder, item.name).exists()]
    if not todo:
        return
    absent = absent_classes(work.recipe.protocol.absent, work.catalog.classes)
    with torch.random.fork_rng():
        material = work.material("")
        work.listener.begin("pseudo-masks", len(work.val_set), len(work.val_set) - len(todo))
        for places in batched(iter(todo), BATCH):
            shown = [(place, work.val_set.attempt(place, work.val_set.plain)) for place in places]
            kept = [(place, image) for place, image in shown if image is not None]
            if kept:
                images = torch.stack([image for _, image in kept]).to(work.fabric.device)
                labels = work.val_set.labels[[place for place, _ in kept]].to(work.fabric.device)
                for (place, _), mask in zip(kept, class_masks(images, labels, material, absent=absent), strict=True):
                    _write(_file(folder, work.val_set.items[place].name), mask)
            work.listener.advance(len(places))
            work.stop()
        work.listener.end()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _write(path: Path, mask: NDArray[np.bool_]) -> None:
    with atomic_write(path, "wb") as file:
        Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")


def _read(path: Path) -> NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            mask: NDArray[np.bool_] = np.asarray(image) > 0
            return mask
    except OSError as error:
        raise RunError(f"{path}: cannot be read as a pseudo-mask ({error}); the run is damaged.") from error
