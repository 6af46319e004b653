"""What a run tells while it works: to a file always, and to TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from boxless.errors import RunError
from boxless.files import atomic_write, unwritable
from boxless.parsing import parse_json


class MetricsLog:
    """``metrics.jsonl``: one line for each epoch, rewritten from the checkpoint's epoch on when a run is resumed."""

    def __init__(self, folder: Path, *, keep_epochs: int, tensorboard: bool = True) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in self._lines() if line["epoch"] < keep_epochs]
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in kept)
        self._writer = _tensorboard(folder) if tensorboard else None

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one epoch's record.

        Raises:
            RunError: The disk is full; the epoch is run again when the run is resumed.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(unwritable(self.path, error)) from error
        if self._writer is not None:
            for name, value in record.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, record["epoch"])

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            self._writer.close()

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = []
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = parse_json(text)
            except ValueError:  # the line that a kill cut short; its epoch is run again
                break
            if not isinstance(line, dict) or not isinstance(line.get("epoch"), int):
                break
            lines.append(line)
        return lines


def _tensorboard(folder: Path) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
