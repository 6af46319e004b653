"""The work of an annotation job: images read and shown to an annotator, what it made kept, and read as boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from boxless.data.images import read_size
from boxless.errors import DataError
from boxless.formats.records import check_name
from boxless.listener import Listener
from boxless.ops.boxes import clip, scale
from boxless.pseudo.annotators import Annotator, Material
from boxless.pseudo.material import Opened
from boxless.pseudo.quality import Figures, on_grid, stage_figures
from boxless.pseudo.records import Proposals
from boxless.pseudo.store import ProposalStore, image_key
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.types import Box, Item, Prediction

if TYPE_CHECKING:
    from boxless.types import Boxes

BATCH = 32  # images whose boxes are scored together, and between two writes


@final
class Job:
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
        for batch in self._batches(todo):
            self._make(batch)
        self.listener.end()
        for place, key in enumerate(self.keys):
            if key is not None and key not in self.store:  # also a copy of a file that cannot be read
                self.examples.attempt(place, self.examples.plain)
                self.keys[place] = None
        if not any(self.keys):
            reason = next(iter(self.examples.refused.values()))
            raise DataError(f"none of the {len(self.keys):,} images can be used; the first: {reason}")
        return before

    def _make(self, batch: Sequence[tuple[int, Tensor]]) -> None:
        if not batch:
            return
        proposals = self.annotator(*self._given(batch))
        self.store.write([str(self.keys[place]) for place, _ in batch], proposals)

    def stages(self, truth: Mapping[str, Boxes]) -> dict[str, dict[str, Figures]]:
        """What each stage of the choice is worth, of each image with a true box; none if there are no stages."""
        if type(self.annotator).selections is Annotator.selections:
            return {}
        first: dict[str, int] = {}
        for place, key in enumerate(self.keys):
            if key is not None and len(truth.get(self.examples.items[place].name, ())):
                first.setdefault(self.examples.items[place].name, place)
        self.listener.begin("stages", len(first))
        found = {}
        for batch in self._batches([*first.values()]):
            chosen = self.annotator.selections(*self._given(batch)) if batch else []
            for (place, image), selection in zip(batch, chosen or (), strict=True):
                item = self.examples.items[place]
                boxes = on_grid(truth[item.name], read_size(item.path), (image.shape[1], image.shape[2]))
                found[item.name] = stage_figures(selection, boxes)
        self.listener.end()
        return found

    def _batches(self, places: Sequence[int]) -> Iterator[list[tuple[int, Tensor]]]:
        """Places with their images, some at a time; those that cannot be read are left out."""
        shown = ordered_map(
            lambda place: self.examples.attempt(place, self.examples.plain),
            places,
            workers=default_workers(),
            ahead=2 * BATCH,
        )
        for batch in batched(zip(places, shown, strict=True), BATCH):
            yield [(place, image) for place, image in batch if image is not None]
            self.listener.advance(len(batch))

    def _given(self, batch: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, Tensor, Material, list[Item]]:
        """What an annotator is called with."""
        places, device = [place for place, _ in batch], self.opened.device
        images = torch.stack([image for _, image in batch]).to(device, memory_format=torch.channels_last)
        items = [self.examples.items[place] for place in places]
        return images, self.examples.labels[places].to(device), self.opened.material, items

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
