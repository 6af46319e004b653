"""The weights of epochs that some criterion chose, one file an epoch whoever chose it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from boxless.training.checkpoints import learnt_state, load_tensors, save_tensors

SELECTED = "selected"


def name_of(epoch: int) -> str:
    """The file of an epoch, counted from 0 over all stages, relative to the run folder."""
    return f"{SELECTED}/epoch-{epoch:03d}.safetensors"


@dataclass(frozen=True, slots=True)
class Kept:
    """The files in a run folder; a frozen backbone is in none of them."""

    folder: Path

    def save(self, epoch: int, method: nn.Module) -> None:
        """Write an epoch's weights, whole or not at all."""
        save_tensors(self.folder / name_of(epoch), learnt_state(method))

    def __contains__(self, epoch: int) -> bool:
        return (self.folder / name_of(epoch)).exists()

    def load(self, epoch: int, method: nn.Module) -> None:
        """Put an epoch's weights into the method.

        Raises:
            RunError: They are missing or damaged.
        """
        method.load_state_dict(load_tensors(self.folder / name_of(epoch)), strict=False)

    def only(self, epochs: Iterable[int]) -> None:
        """Delete the files of all other epochs, and the folder if none is left."""
        wanted = {Path(name_of(epoch)).name for epoch in epochs}
        found = list((self.folder / SELECTED).glob("epoch-*.safetensors"))
        for path in found:
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        if found and not wanted.intersection(path.name for path in found):
            (self.folder / SELECTED).rmdir()
