"""A run at each of its epochs: the weights kept as it trains, and the maps of all of them from one pass over images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from boxless.data.images import read_image
from boxless.errors import DataError, RunError
from boxless.listener import Listener
from boxless.ops.maps import resize
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.checkpoints import learnt_state, load_tensors, save_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.runs import Run
    from boxless.types import Item

CHECKPOINT = "checkpoint.safetensors"  # of a run in training, with everything that it needs to go on
PREFIX = "model/"  # of what the method has learnt, in it


class KeepEpochs(Listener):
    """Keeps the learnt weights of every epoch of a training, which a run itself does not.

    Args:
        run: The folder that is trained into.
        kept: Where ``epoch-000.safetensors`` and so on are put; made if need be.
    """

    def __init__(self, run: str | Path, kept: str | Path) -> None:
        self.run, self.kept = Path(run), Path(kept)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Copy what was learnt out of the checkpoint that was just written."""
        tensors = load_tensors(self.run / CHECKPOINT)
        learnt = {name.removeprefix(PREFIX): each for name, each in tensors.items() if name.startswith(PREFIX)}
        self.kept.mkdir(parents=True, exist_ok=True)
        save_tensors(self.kept / f"epoch-{record['epoch']:03d}.safetensors", learnt)


def read_epochs(kept: str | Path) -> list[dict[str, Tensor]]:
    """What `KeepEpochs` kept, in order.

    Raises:
        RunError: There is nothing, or a file is damaged.
    """
    files = sorted(Path(kept).glob("epoch-*.safetensors"))
    if not files:
        raise RunError(f"{kept}: no weights of epochs are there; train with the listener KeepEpochs of this folder.")
    return [load_tensors(each) for each in files]


@dataclass(frozen=True, slots=True)
class EpochMaps:
    """A batch of images, as a run sees it at each of its epochs."""

    items: list[Item]
    sizes: list[tuple[int, int]]  # (width, height) of the originals
    images: Tensor  # (b, 3, side, side), on the run's device
    maps: NDArray[np.float32]  # (e, b, side, side) in [0, 1], of the image's first label
    right: NDArray[np.bool_]  # (e, b) whether the class is recognised


@torch.no_grad()
def look(
    run: Run, states: Sequence[Mapping[str, Tensor]], items: Sequence[Item], *, batch_size: int = 32
) -> Iterator[EpochMaps]:
    """The maps of all epochs, batch by batch; the run's own weights are put back at the end.

    Features of a frozen backbone are computed once for all epochs.

    Args:
        run: The finished run, whose recipe and backbone the weights belong to.
        states: The learnt weights of each epoch; also those of runs that differ in their training alone.
        items: Their labels are places in the run's classes.
        batch_size: Images at a time; the maps of all epochs of a batch are in memory at once.

    Raises:
        DataError: An image cannot be read, or a map is not finite.
    """
    method, preprocess, side = run.method, run.preprocess, run.preprocess.size
    own = {name: each.clone() for name, each in learnt_state(method).items()}
    shared = bool(getattr(method.backbone, "frozen", False)) and not method.needs.own_forward
    decoded = ordered_map(
        lambda item: (item, *read_image(item.path, shrink_to=side)),
        items,
        workers=default_workers(),
        ahead=2 * batch_size,
    )
    try:
        for batch in batched(decoded, batch_size):
            images = torch.stack([preprocess(image) for _, image, _ in batch])
            images = images.to(run.device, memory_format=torch.channels_last)
            labels = torch.tensor([item.labels[0] for item, _, _ in batch], device=run.device)
            features = method.backbone(images) if shared else None
            maps, right = [], []
            for state in states:
                method.load_state_dict(state, strict=False)
                with nullcontext() if features is None else method.backbone.replay(images, features):
                    said = method.localize(images, labels[:, None])
                maps.append(resize(said.maps.float(), (side, side))[:, 0].clamp(0, 1).cpu().numpy())
                right.append((said.logits.argmax(1) == labels).cpu().numpy())
            stacked = np.stack(maps)
            if not np.isfinite(stacked).all():
                raise DataError(f"{batch[0][0].path} or one after it: a map of the run is not finite; train it again.")
            yield EpochMaps(
                [each for each, _, _ in batch], [size for _, _, size in batch], images, stacked, np.stack(right)
            )
    finally:
        method.load_state_dict(own, strict=False)
