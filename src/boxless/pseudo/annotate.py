"""From class-labelled images to annotation files: proposals made, kept so that the job can be stopped, and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from boxless import formats as files
from boxless.data.catalog import Catalog, read_catalog
from boxless.data.images import read_size
from boxless.errors import ConfigError, DataError, UnknownNameError
from boxless.formats.records import check_name
from boxless.listener import Listener
from boxless.ops.boxes import clip, scale
from boxless.pseudo.annotators import Annotator, make_annotator
from boxless.pseudo.material import Opened, open_material
from boxless.pseudo.overlays import Overlays
from boxless.pseudo.records import Proposals
from boxless.pseudo.store import ProposalStore, image_key
from boxless.pseudo.table import DEFAULT_ANNOTATOR
from boxless.pseudo.teacher import PROBE
from boxless.recipe import Text
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.types import Box, Item, Prediction

KEPT, OVERLAYS = ".proposals", "overlays"
BATCH = 32  # images whose boxes are scored together, and between two writes
ALL = "all"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What an annotation job did."""

    images: int  # that are in the files
    boxes: int
    empty: int  # images without a box
    before: int  # proposals, one for each image and class, that an earlier call had made
    refused: tuple[tuple[str, str], ...]  # (name, reason) of the images that could not be used
    files: tuple[Path, ...]  # what each format's writer made, in the order asked for
    overlays: Path | None  # the folder of pictures
    made_from: Mapping[str, Any]  # the annotator's own words, such as the source of its maps
    remarks: tuple[str, ...]  # what the user should know of the proposals


def annotate(
    source: str | Path,
    out: str | Path,
    *,
    classifier: str | Path | None = None,
    annotator: str = DEFAULT_ANNOTATOR,
    settings: Mapping[str, Any] | None = None,
    names: str | Path | None = None,
    templates: str | Sequence[str] = "auto",
    backbone: str | None = None,
    image_size: int | None = None,
    split: str = "train",
    formats: Sequence[str] = ("coco",),
    overlays: bool = False,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> Annotated:
    """Give boxes to images whose class is known, and write them as annotations; nothing is trained.

    A box is of the image's own class, its score what the annotator chose it by. Proposals are kept in
    ``out/.proposals`` by the image's content, so that a job that was stopped goes on there; training finds them too, if
    ``pseudo.folder`` names that folder. The files are written anew each time.

    Args:
        source: Labelled images: a folder with one folder for each class, a list, or ``sample``.
        out: The folder for everything that is written; not inside ``source``.
        classifier: A finished run that knows the classes, whose backbone gives the maps as well, a timm model that was
            trained on these classes, in this order, or a CLIP model, which tells them by their names. None takes the
            one that the annotator is made for, if there is one.
        annotator: One of ``boxless list annotators``.
        settings: Of the annotator, such as ``{"top_k": 3}``.
        names: For a CLIP model: a file with names and synonyms of classes, see :mod:`boxless.text`; None takes them
            from the data.
        templates: For a CLIP model: the sentences that names are put in, or the name of some; ``auto`` takes those of
            the paper.
        backbone: Another network, of timm, to take the maps from.
        image_size: Side of the square that images are resized to; None takes that of the classifier.
        split: ``train``, ``val``, ``test``, or ``all``.
        formats: Names of the table ``boxless.formats.FORMATS``.
        overlays: Write ``out/overlays/<name>.jpg`` for each image: its maps, its proposals, pixels drawn about one of
            them. Of an image with several classes it is about the first.
        format: The format of ``source``, if it is not to be found out.
        images: Where the pictures are, for formats that list them.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        listener: Hears of the progress.

    Raises:
        BoxlessError: One of its kinds, whose message says what to do.
    """
    for name in formats:
        if name not in files.FORMATS:
            raise UnknownNameError("format", name, files.FORMATS)
    hears, folder = listener or Listener(), Path(out)
    made = make_annotator(annotator, settings or {})
    text = Text(
        names=None if names is None else str(names),
        templates=templates if isinstance(templates, str) else tuple(templates),
    )
    teacher = str(classifier or made.classifier or PROBE)
    catalog = read_catalog(source, format=format, images=images, listener=hears)
    items = _items(catalog, split, folder)
    opened = open_material(
        teacher,
        catalog,
        backbone=backbone,
        image_size=image_size,
        device=device,
        text=text,
        folder=folder / KEPT,
        listener=hears,
    )
    made_from = made.made_from(opened.material)
    with ProposalStore(folder / KEPT, made.settings, {**made_from, **opened.digests()}) as store:
        job = _Job(made, opened, store, opened.translated(items), hears)
        before = job.fill()
        found = store.read(job.keys)
    if overlays:
        pictures = Overlays(made, annotator, opened, folder / OVERLAYS, store.folder.name)
        pictures.write(job.examples, job.keys, found, hears)
    predictions = job.predictions(found)
    return Annotated(
        images=len(predictions),
        boxes=sum(len(each.boxes) for each in predictions),
        empty=sum(not each.boxes for each in predictions),
        before=before,
        refused=job.refused(),
        files=tuple(files.write(name, predictions, opened.classes, folder) for name in formats),
        overlays=folder / OVERLAYS if overlays else None,
        made_from=made_from,
        remarks=found.remarks(),
    )


@final
class _Job:
    """The images of one job: each stands there once for each class that it shows."""

    def __init__(
        self, annotator: Annotator, opened: Opened, store: ProposalStore, items: Sequence[Item], listener: Listener
    ) -> None:
        self.annotator, self.opened, self.store, self.listener = annotator, opened, store, listener
        single = [replace(item, labels=(label,)) for item in items for label in item.labels]
        self.examples = Examples(single, len(opened.classes), opened.preprocess)
        self.keys: list[str | None] = [self._key(place) for place in range(len(single))]

    def fill(self) -> int:
        """Make what is not there, and return how many were; images that cannot be read are left out, and told.

        Raises:
            DataError: None can be read.
        """
        todo = self.store.pending(self.keys)
        known = sum(key is not None for key in self.keys)
        before = known - len(todo)
        self.listener.begin("proposals", known, before)
        shown = ordered_map(
            lambda place: self.examples.attempt(place, self.examples.plain),
            todo,
            workers=default_workers(),
            ahead=2 * BATCH,
        )
        for batch in batched(zip(todo, shown, strict=True), BATCH):
            self._make([(place, image) for place, image in batch if image is not None])
            self.listener.advance(len(batch))
        self.listener.end()
        for place, key in enumerate(self.keys):
            if key is not None and key not in self.store:  # also a copy of a file that cannot be read
                self.examples.attempt(place, self.examples.plain)
                self.keys[place] = None
        if not any(self.keys):
            reason = next(iter(self.examples.refused.values()))
            raise DataError(f"none of the {len(self.keys):,} images can be used; the first: {reason}")
        return before

    def _make(self, batch: list[tuple[int, Tensor]]) -> None:
        if not batch:
            return
        places = [place for place, _ in batch]
        device = self.opened.device
        images = torch.stack([image for _, image in batch]).to(device, memory_format=torch.channels_last)
        proposals = self.annotator(images, self.examples.labels[places].to(device), self.opened.material)
        self.store.write([str(self.keys[place]) for place in places], proposals)

    def _key(self, place: int) -> str | None:
        item = self.examples.items[place]
        try:
            check_name(item.name)  # now, and not when the first output file cannot hold it
            return image_key(item.path, item.labels[0])
        except DataError as error:
            self.examples.refused[place] = str(error)
            return None

    def predictions(self, found: Proposals) -> list[Prediction]:
        """Of each image that could be read its boxes of all its classes, in pixels of the original."""
        places = (place for place, key in enumerate(self.keys) if key is not None)
        said = []
        for _, group in groupby(places, key=lambda place: self.examples.items[place].name):
            own = list(group)
            item = self.examples.items[own[0]]
            size = read_size(item.path)
            boxes = tuple(box for place in own for box in self._boxes(found, place, size))
            index = item.labels[0]
            score = max((box.score for box in boxes), default=0.0)
            # Each region was cut by its own map's threshold: there is no one number.
            said.append(Prediction(item.path, item.name, size, self.opened.classes[index], index, score, boxes, 0.0))
        return said

    def _boxes(self, found: Proposals, place: int, size: tuple[int, int]) -> Iterator[Box]:
        """The valid proposals of one place, best first."""
        valid = found.valid[place]
        corners = clip(scale(found.boxes[place][valid].numpy(), (found.grid[1], found.grid[0]), size), size)
        index = self.examples.items[place].labels[0]
        for (x0, y0, x1, y1), score in zip(corners.tolist(), found.scores[place][valid].tolist(), strict=True):
            yield Box((x0, y0, x1, y1), self.opened.classes[index], index, score)

    def refused(self) -> tuple[tuple[str, str], ...]:
        """Names and reasons, each image once."""
        items = self.examples.items
        return tuple({items[place].name: reason for place, reason in sorted(self.examples.refused.items())}.items())


def _items(catalog: Catalog, split: str, out: Path) -> tuple[Item, ...]:
    """The images of a split, none twice.

    Raises:
        ConfigError: There is no such split, or ``out`` lies in the data.
    """
    folder = catalog.source or catalog.root
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{out}: lies in the data {folder}, where what is written would be taken for images of a class; choose an "
            "--out beside it."
        )
    found = catalog.items if split == ALL else catalog.splits.get(split, ())
    if not found:
        known = ", ".join([*(name for name, items in catalog.splits.items() if items), ALL])
        raise ConfigError(f"split {split!r}: {folder} has no images in it; it has {known}.")
    return tuple({item.name: item for item in found}.values())
