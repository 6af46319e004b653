"""Proposals as lines of a file, each with its checksum."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxless.errors import RunError
from boxless.parsing import parse_json
from boxless.pseudo.records import Candidates, Proposals, collect

Row = dict[str, Any]
_NONE: Row = {"boxes": [], "scores": [], "maps": [], "kept_largest": False, "side": [0, 0], "activations": ""}


def rows_of(keys: Sequence[str], proposals: Proposals) -> Iterator[Row]:
    """What is kept of each image: the boxes that are valid, their scores and maps."""
    boxes, scores, maps = (each.cpu() for each in (proposals.boxes, proposals.scores, proposals.maps))
    counts, kept = proposals.valid.sum(1).tolist(), proposals.kept_largest.tolist()
    levels = proposals.activations.cpu().numpy().astype("<f2")
    for number, (key, count) in enumerate(zip(keys, counts, strict=True)):
        yield {
            "key": key,
            "grid": list(proposals.grid),
            "boxes": boxes[number, :count].tolist(),
            "scores": scores[number, :count].tolist(),
            "maps": maps[number, :count].tolist(),
            "kept_largest": kept[number],
            "side": list(levels.shape[2:]),
            "activations": base64.b64encode(levels[number, :count].tobytes()).decode("ascii"),
        }


def joined(rows: Sequence[Row | None], top_k: int, grid: tuple[int, int]) -> Proposals:
    """The proposals of images in the order of their rows; none of them are valid for None.

    Raises:
        RunError: A row, though its checksum is right, is none of `rows_of`.
    """
    known = [row or _NONE for row in rows]
    try:
        return collect([_best(row) for row in known], [_activations(row) for row in known], top_k, grid)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise RunError(f"kept proposals are damaged ({error!r}); delete their folder to make them anew.") from error


def encode(row: Row) -> bytes:
    """A line with its end."""
    content = json.dumps(row, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(content), content)


def decode(line: bytes) -> Row | None:
    """What a line holds, or None if it is not as it was written."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if not content or checksum != b"%08x" % zlib.crc32(content):
        return None
    try:
        row = parse_json(content.decode("ascii"))
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("key"), str) else None


def whole_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file from a place on, each with its own place; a last one without its end is left out."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield start, line
            start += len(line)


def rows_at(path: Path, offsets: Iterable[int]) -> Iterator[Row | None]:
    """What the lines at some places hold, or None for one that is not as it was written, or not there."""
    with ExitStack() as stack:
        file = None
        with suppress(OSError):
            file = stack.enter_context(path.open("rb"))
        for offset in offsets:
            if file is None:
                yield None
            else:
                file.seek(offset)
                yield decode(file.readline())


def _best(row: Row) -> tuple[Candidates, NDArray[np.float64]]:
    boxes = np.array(row["boxes"], dtype=np.float64).reshape(-1, 4)
    maps = np.array(row["maps"], dtype=np.int64)
    return Candidates(boxes, maps, row["kept_largest"]), np.array(row["scores"], dtype=np.float64)


def _activations(row: Row) -> Tensor:
    values = np.frombuffer(base64.b64decode(row["activations"]), dtype="<f2").astype(np.float16)
    return torch.from_numpy(values).reshape(len(row["boxes"]), *row["side"])
