"""The file of a review: one JSON line for each thing that happened, safe on disk before the page shows what follows.

Lines are only ever appended. A process that is killed leaves at worst a torn last line, which the next opening drops.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from boxless.errors import RunError
from boxless.files import atomic_write
from boxless.parsing import parse_json

VERSION = 1
_MARK = "boxless_review"


@final
class Record:
    """An open record.

    Args:
        path: The file; it is made, with its folder, at the first `append`.
        classes: Of the run: the boxes in the file name them by index.
        folder: Which the images' names are relative to; empty if there is none.

    Raises:
        RunError: The file is there and is no record, is damaged, or belongs to other classes or another folder.
    """

    def __init__(self, path: Path, classes: Sequence[str], folder: str) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []  # what the file held when it was opened, in order
        self._header = {_MARK: VERSION, "classes": list(classes), "folder": folder}
        self._end = 0
        if path.exists():
            self._read()

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry; when this returns it is on the disk.

        Raises:
            RunError: It cannot be written; what was there before stays as it is.
        """
        try:
            if self._end == 0:
                with atomic_write(self.path) as file:
                    file.write(_line(self._header).decode())
                self._end = len(_line(self._header))
            with self.path.open("r+b") as file:
                file.truncate(self._end)  # a torn line
                file.seek(self._end)
                file.write(_line(entry))
                file.flush()
                os.fsync(file.fileno())
                self._end = file.tell()
        except OSError as error:
            raise RunError(
                f"{self.path}: the decision cannot be kept ({error.strerror}); free space on the disk, or see why the "
                "file cannot be written. Decisions made before are safe."
            ) from error

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise RunError(
                f"{self.path}: cannot be read ({error.strerror}); mend it or choose another --save-to."
            ) from error
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole and _line(self._header).startswith(b"".join(lines)):
            return  # killed before the first line was whole: nothing is lost
        self._check(whole[0] if whole else b"".join(lines))
        for number, line in enumerate(whole[1:], start=2):
            entry = _parse(line)
            if entry is None:
                raise RunError(
                    f"{self.path}, line {number}: not a line of a review, got {line[:60]!r}; "
                    "delete that line, or choose another folder with --save-to."
                )
            self.entries.append(entry)
        self._end = sum(map(len, whole))

    def _check(self, first: bytes) -> None:
        header = _parse(first)
        if header is None or _MARK not in header:
            raise RunError(
                f"{self.path}: is not the record of a review, got {first[:60]!r}; "
                "choose another folder with --save-to, or move the file away."
            )
        for key, what in ((_MARK, "format"), ("classes", "classes"), ("folder", "folder of images")):
            if header.get(key) != self._header[key]:
                raise RunError(
                    f"{self.path}: holds the review of another {what} ({_short(header.get(key))}; now it is "
                    f"{_short(self._header[key])}); choose another folder with --save-to."
                )


def _line(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry, separators=(",", ":")) + "\n").encode("ascii")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line.decode())
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
