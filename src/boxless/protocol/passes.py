"""One pass of a run over labelled images: the map of each one's true class, and what the run says of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from boxless.data.images import read_image
from boxless.errors import DataError
from boxless.metrics.localization import top_k_class
from boxless.ops.maps import resize
from boxless.protocol.scoring import Named
from boxless.stream import batched, default_workers, ordered_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.runs import Run
    from boxless.types import Item


@dataclass(frozen=True, slots=True)
class Mapped:
    """A batch of images that were localized."""

    items: list[Item]
    sizes: list[tuple[int, int]]  # (width, height) of the originals
    maps: NDArray[np.float32]  # (b, side, side) in [0, 1], of the true class; of several that with the best score
    named: Named
    logits: NDArray[np.float64]  # (b, k) class scores

    def only(self, kept: Sequence[int]) -> Mapped:
        """The batch without the images that are not kept."""
        named = Named(*(each[list(kept)] for each in (self.named.first, self.named.five, self.named.maps)))
        items, sizes = [self.items[i] for i in kept], [self.sizes[i] for i in kept]
        return Mapped(items, sizes, self.maps[list(kept)], named, self.logits[list(kept)])


@dataclass(frozen=True, slots=True)
class _Decoded:
    item: Item
    size: tuple[int, int]
    tensor: Tensor


class Pass:
    """A run over images, in bounded memory: it keeps no map and no image.

    Args:
        run: The run.
        batch_size: Images in one forward pass.
        named: Whether maps of the classes that the run names are wanted too; else they are those of the true class.
    """

    def __init__(self, run: Run, batch_size: int, *, named: bool = True) -> None:
        self.run, self.batch_size, self.named = run, batch_size, named
        self.refused: list[tuple[str, str]] = []

    def over(self, items: Sequence[Item]) -> Iterator[tuple[int, Mapped | None]]:
        """How many images were done with since the last time, and those of them that could be read."""
        decoded = ordered_map(self._decode, items, workers=default_workers(), ahead=2 * self.batch_size)
        for batch in batched(decoded, self.batch_size):
            good = [each for each in batch if each is not None]
            yield len(batch), self._localize(good) if good else None

    def _decode(self, item: Item) -> _Decoded | None:
        preprocess = self.run.preprocess
        try:
            image, size = read_image(item.path, shrink_to=preprocess.size)
        except DataError as error:
            self.refused.append((item.name, str(error)))
            return None
        return _Decoded(item, size, preprocess(image))

    @torch.no_grad()  # not inference_mode: methods may take gradients inside
    def _localize(self, decoded: Sequence[_Decoded]) -> Mapped:
        run = self.run
        images = torch.stack([each.tensor for each in decoded]).to(run.device, memory_format=torch.channels_last)
        labels = [list(each.item.labels) for each in decoded]
        asked = torch.tensor([each[0] for each in labels], device=run.device)
        said = run.method.localize(images, asked[:, None])
        logits = said.logits.double().cpu().numpy()
        items = [each.item for each in decoded]
        _refuse_not_finite(logits, items, "scores of it")
        maps = self._on_grid(said.maps, items)
        best = torch.tensor([each[int(logits[i, each].argmax())] for i, each in enumerate(labels)], device=run.device)
        self._redraw(maps, images, items, best, asked)
        shown = maps.copy()
        if self.named:
            self._redraw(shown, images, items, torch.from_numpy(logits.argmax(axis=1)).to(run.device), best)
        first, five = top_k_class(logits, labels, 1), top_k_class(logits, labels, 5)
        return Mapped(items, [each.size for each in decoded], maps, Named(first, five, shown), logits)

    def _redraw(
        self, maps: NDArray[np.float32], images: Tensor, items: Sequence[Item], wanted: Tensor, had: Tensor
    ) -> None:
        """Put the maps of the wanted classes where they are not those that were had."""
        other = (wanted != had).nonzero()[:, 0]
        if len(other):
            said = self.run.method.localize(images[other], wanted[other, None])
            maps[other.cpu().numpy()] = self._on_grid(said.maps, [items[i] for i in other.tolist()])

    def _on_grid(self, maps: Tensor, items: Sequence[Item]) -> NDArray[np.float32]:
        _refuse_not_finite(maps.float().cpu().numpy(), items, "map of it")  # before clamping, which hides an infinity
        side = self.run.preprocess.size
        on_grid: NDArray[np.float32] = resize(maps.float(), (side, side))[:, 0].clamp(0, 1).cpu().numpy()
        return on_grid


def _refuse_not_finite(values: NDArray[Any], items: Sequence[Item], what: str) -> None:
    """Figures without such an image would flatter the run, so there are none."""
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if finite.all():
        return
    first = items[int(finite.argmin())]
    count = int((~finite).sum())
    others = f" (and {count - 1} more of its batch)" if count > 1 else ""
    raise DataError(
        f"{first.path}{others}: the run's {what} is not finite and cannot be measured; the run's weights are broken, "
        "so train again, with training.precision=32 and a lower training.learning_rate."
    )
