"""What a run is measured on: images as the run counts its classes, their true boxes, or pseudo-boxes of val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.box_files import read_box_file
from boxless.data.catalog import Catalog
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, DataError, MissingTruthError
from boxless.listener import Listener
from boxless.metrics.boxes import clip_to
from boxless.protocol.passes import Mapped
from boxless.protocol.provenance import PSEUDO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.recipe import Recipe
    from boxless.runs import Run
    from boxless.types import Item

PSEUDO_BOXES = "pseudo_boxes"  # the folder of a run with a file for each source


def items_of(catalog: Catalog, classes: Sequence[str], split: str) -> tuple[Item, ...]:
    """The images of a split, their labels as a run with these classes counts them.

    Raises:
        ConfigError: There are none.
        DataError: The data have a class that the run does not know.
    """
    if not catalog.splits.get(split):
        known = ", ".join(name for name, items in catalog.splits.items() if items)
        raise ConfigError(f"split {split!r}: {catalog.root} has no images in it; it has {known}.")
    unknown = sorted(set(catalog.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{catalog.root}: the run does not know the class {', '.join(map(repr, unknown))}; it knows "
            f"{', '.join(classes)}. Leave those images out, or train with them."
        )
    place = [list(classes).index(name) for name in catalog.classes]
    return tuple(replace(item, labels=tuple(place[label] for label in item.labels)) for item in catalog.splits[split])


def drawn_by(items: Sequence[Item]) -> list[str]:
    """What the bootstrap draws by: of a frame its video, whose frames are alike; of any other image its own name."""
    return [item.shot.video if item.shot else item.name for item in items]


def own_data(recipe: Recipe, source: Any, format: str, images: Any) -> tuple[Any, str, Any]:  # noqa: A002
    """The data to measure a run on: (source, format, images).

    Without a source those that it learnt from, as its recipe names them; and what is said of neither, for these same
    data, is as it was in training.

    Raises:
        ConfigError: It names none.
    """
    data = recipe.data
    if source is not None and not _same(source, data.source):
        return source, format, images
    if not data.source:
        raise ConfigError("data: the run does not say what it was trained on; name the data to evaluate it with.")
    return source or data.source, (data.format if format == "auto" else format), images or data.images


def _same(one: Any, other: str) -> bool:
    """Whether two sources are one folder or file, or one name of bundled data."""
    return bool(other) and Path(one).expanduser().absolute() == Path(other).expanduser().absolute()


def true_boxes(catalog: Catalog, split: str, listener: Listener) -> Truth:
    """The true boxes of a split; none, with a note, if the data have none."""
    try:
        return read_truth(catalog, split)
    except MissingTruthError as error:
        listener.note(f"{error} Until then only classes are measured.")
        return Truth({}, "none")


def own_pseudo_boxes(run: Run) -> Path | None:
    """The file of pseudo-boxes that a run keeps: of the source that selected its weights, else of its first source."""
    by = str(getattr(run, "card", {}).get("selection", {}).get("by", ""))
    sources = getattr(getattr(run.recipe, "protocol", None), "boxes", ())
    named = [] if isinstance(sources, str) else [Path(each).stem for each in sources]
    names = [by.removeprefix(PSEUDO), *named] if by.startswith(PSEUDO) else named
    paths = [Path(run.folder) / PSEUDO_BOXES / f"{name}.csv" for name in names]
    return next((path for path in paths if path.is_file()), None)


def read_pseudo_boxes(path: str | Path, catalog: Catalog, items: Sequence[Item]) -> Truth:
    """The pseudo-boxes of a file, of these images of the split val.

    Raises:
        DataError: The file cannot be read, or none of its images is among these.
    """
    pictures = {item.name: item.path for item in items}
    given = read_box_file(path, images=catalog.root, split="val", pseudo=True, pictures=pictures)
    boxes = {name: each for name, each in given.boxes.items() if name in pictures}
    if not boxes:
        raise DataError(
            f"{given.source}: none of its {len(given.boxes)} images is in the split val of {catalog.root}; paths are "
            f"relative to the data's folder, such as {items[0].name}."
        )
    return Truth(boxes, given.source)


def with_boxes(
    mapped: Mapped, truth: Truth, refused: list[tuple[str, str]]
) -> tuple[Mapped, list[NDArray[np.float64]]]:
    """A batch with the true boxes of its images; an image with a box wholly outside of it is refused."""
    boxes, kept = [], []
    for i, (item, size) in enumerate(zip(mapped.items, mapped.sizes, strict=True)):
        try:
            boxes.append(clip_to(truth.boxes.get(item.name, np.zeros((0, 4))), size, item.name))
            kept.append(i)
        except DataError as error:
            refused.append((item.name, str(error)))
    return (mapped if len(kept) == len(mapped.items) else mapped.only(kept)), boxes
