"""The images that an exported model is checked and measured on: labelled ones, or any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxless.data.catalog import BUNDLED, read_catalog, read_truth
from boxless.data.images import read_image
from boxless.errors import DataError, MissingTruthError
from boxless.listener import Listener
from boxless.predict.engine import Engine
from boxless.predict.sources import Sources

SPLITS = ("test", "val", "train")  # the first that has images


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and what is known of it."""

    path: Path
    name: str
    labels: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None  # (n, 4) true ones, in pixels of the upright image


def find_pictures(data: str | Path, *, format: str = "auto", listener: Listener | None = None) -> tuple[Picture, ...]:  # noqa: A002
    """The images of the first split that has any, with labels and true boxes; or else all images under a folder.

    Raises:
        DataError: There are none.
        UnknownNameError: There is no such format.
    """
    try:
        catalog = read_catalog(data, format=format, listener=listener)
    except DataError:
        if format != "auto" or data in BUNDLED or not Path(data).expanduser().exists():
            raise
        return tuple(Picture(each.path, each.name) for each in Sources(Path(data).expanduser()))
    split = next(name for name in SPLITS if catalog.splits[name])
    try:
        boxes = read_truth(catalog, split).boxes
    except MissingTruthError:
        boxes = {}
    return tuple(
        Picture(item.path, item.name, tuple(catalog.classes[label] for label in item.labels), boxes.get(item.name))
        for item in catalog.splits[split]
    )


def spread(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """So many of them, evenly: data sorted by class show all classes."""
    if len(pictures) <= count:
        return list(pictures)
    return [pictures[index * len(pictures) // count] for index in range(count)]


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as a network takes it."""

    picture: Picture
    square: NDArray[np.uint8]  # (size, size, 3)
    size: tuple[int, int]  # (width, height) of the upright image


def look(pictures: Sequence[Picture], engine: Engine, refused: list[tuple[str, str]]) -> Iterator[Seen]:
    """Decode them one by one; those that cannot be read are added to ``refused``."""
    for picture in pictures:
        try:
            image, size = read_image(picture.path, shrink_to=engine.size)
        except DataError as error:
            refused.append((picture.name, str(error)))
            continue
        yield Seen(picture, engine.resize(image), size)
