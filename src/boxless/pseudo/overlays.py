"""The pictures of an annotation job, one for each image; those that are there and tell of the same job stay."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import torch
from PIL import Image
from torch import Tensor

from boxless.data.images import read_image
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.methods import METHODS
from boxless.pseudo.annotators import Annotator
from boxless.pseudo.material import Opened
from boxless.pseudo.pictures import HEIGHT, WIDEST, picture
from boxless.pseudo.pixels import sample_pixels
from boxless.pseudo.records import Proposals
from boxless.settings import settings_of
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples

BATCH = 16


@final
class Overlays:
    """Draws what an annotator made.

    Args:
        annotator: It, for its maps.
        name: Its name in the table; a method of that name learns from its proposals, and draws pixels by its defaults.
        opened: Its networks.
        folder: For the pictures.
        job: What tells this job from others.
    """

    def __init__(self, annotator: Annotator, name: str, opened: Opened, folder: Path, job: str) -> None:
        self.annotator, self.opened, self.folder, self.job = annotator, opened, folder, job
        self.sampling = _sampling(name)

    def write(self, examples: Examples, keys: Sequence[str | None], found: Proposals, listener: Listener) -> None:
        """Draw all pictures that are not there; an image with several classes gets one, about the first.

        Raises:
            RunError: They cannot be written.
        """
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key is not None:
                first.setdefault(examples.items[place].name, place)
        todo = [place for place in first.values() if not self._is_drawn(examples, place, str(keys[place]))]
        listener.begin("overlays", len(first), len(first) - len(todo))
        for places in batched(todo, BATCH):
            for place, drawn in zip(places, self._drawn(examples, keys, places, found), strict=True):
                with atomic_write(self._path(examples, place), "wb") as file:
                    drawn.save(file, "JPEG", quality=90, subsampling=0, comment=self._comment(str(keys[place])))
            listener.advance(len(places))
        listener.end()

    def _drawn(
        self, examples: Examples, keys: Sequence[str | None], places: list[int], found: Proposals
    ) -> Iterator[Image.Image]:
        tensors = list(ordered_map(examples.plain, places, workers=default_workers(), ahead=BATCH))
        device = self.opened.device
        images = torch.stack(tensors).to(device, memory_format=torch.channels_last)
        maps = self.annotator.maps(images, examples.labels[places].to(device), self.opened.material)

        def draw(row: int) -> Image.Image:
            own: Tensor | None = None if maps is None else maps[row].cpu()
            item = examples.items[places[row]]
            return picture(
                read_image(item.path, shrink_to=max(HEIGHT, WIDEST))[0],
                found.select(torch.tensor([places[row]])),
                own,
                label=self.opened.classes[item.labels[0]],
                settings=self.annotator.settings,
                scored=self.annotator.scored,
                sampling=self.sampling,
                seed=int(str(keys[places[row]])[:8], 16),
            )

        yield from ordered_map(draw, range(len(places)), workers=default_workers(), ahead=BATCH)

    def _path(self, examples: Examples, place: int) -> Path:
        """The suffix is added and replaces none: ``a.jpg`` and ``a.png`` are two images."""
        return self.folder / f"{examples.items[place].name}.jpg"

    def _comment(self, key: str) -> str:
        return f"boxless annotate {self.job} {key}"

    def _is_drawn(self, examples: Examples, place: int, key: str) -> bool:
        """A picture says in its comment what it is of: other settings, or a changed image, make it anew."""
        try:
            with Image.open(self._path(examples, place)) as image:
                return image.info.get("comment") == self._comment(key).encode()
        except OSError:
            return False


def _sampling(name: str) -> dict[str, Any] | None:
    """The defaults by which the method of an annotator's name draws pixels; None if none draws any."""
    if name not in METHODS:
        return None
    known = inspect.signature(sample_pixels).parameters
    chosen = {each.name: each.default for each in settings_of(METHODS.load(name)) if each.name in known}
    return chosen if {"foreground_share", "background_share", "count"} <= set(chosen) else None
