"""The journal of a prediction job: one JSON line an image, the single truth of what is done.

Lines are only ever appended, one write a batch. A job that is killed leaves at worst a torn last line, which the next
opening drops; everything before it stands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path
from typing import Any, final

from boxless.errors import RunError
from boxless.files import atomic_write, unwritable
from boxless.parsing import parse_json
from boxless.predict.lines import prediction_fields, prediction_of, refusal_fields
from boxless.predict.options import Options
from boxless.types import Prediction

FILE_NAME = "predictions.jsonl"
VERSION = 2


@dataclass(frozen=True, slots=True)
class Header:
    """What every prediction in a journal has in common; two jobs may share a journal if all but the last two agree."""

    run: str  # digest of the weights and the recipe
    threshold: str | float
    options: Mapping[str, Any]  # what differs from the usual way of finding boxes
    classes: tuple[str, ...]
    roots: tuple[str, ...]  # the folders that names are relative to: with others a name could mean another image
    selected_by: str = ""  # what selected the weights, in words, as the digest decides it
    threshold_from: str = ""

    def line(self) -> bytes:
        """The first line of the journal."""
        return _line({"boxless_predictions": VERSION, **{each.name: getattr(self, each.name) for each in fields(self)}})


@final
class Journal:
    """An open journal; close it, or use it in a ``with`` statement.

    Args:
        path: The file; it is made, with its folder, at the first `write`.
        header: What this job's predictions have in common.
        overwrite: Forget what the file holds. It is replaced at the first `write`, so that a job that fails before it
            has anything to say leaves the old predictions.

    Raises:
        RunError: The file is there and is no journal, is damaged, or belongs to another run, other settings or other
            source folders.
    """

    def __init__(self, path: Path, header: Header, *, overwrite: bool = False) -> None:
        self.path = path
        self.header = header
        self._offsets: dict[str, int] = {}  # where the latest line of each image begins
        self._refused: dict[str, str] = {}
        self._warnings: dict[str, str] = {}  # of the images that are done
        self._file: FileIO | None = None
        self._end = 0
        if not overwrite and path.exists():
            self._scan()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def refused(self) -> dict[str, str]:
        """Names of the images that could not be used, with the reason."""
        return dict(self._refused)

    def is_done(self, name: str) -> bool:
        """Whether the image has a prediction; one that was refused is not done."""
        return name in self._offsets

    def warning(self, name: str) -> str | None:
        """What is wrong with the map of an image that is done."""
        return self._warnings.get(name)

    def write(self, entries: Sequence[Prediction | tuple[Path, str, str]]) -> None:
        """Append predictions and refusals (path, name, reason), in one write to the operating system.

        Raises:
            RunError: They cannot be written; what was there before stays readable.
        """
        file = self._file or self._begin()
        entries = [each for each in entries if isinstance(each, Prediction) or self._refused.get(each[1]) != each[2]]
        lines, offsets, offset = [], {}, self._end
        for entry in entries:
            fields = prediction_fields(entry) if isinstance(entry, Prediction) else refusal_fields(*entry)
            lines.append(_line(fields))
            offsets[fields["name"]] = offset
            offset += len(lines[-1])
        try:
            _write_all(file, b"".join(lines))
        except OSError as error:
            self._drop_torn(file)
            raise RunError(self._unwritable(error)) from error
        self._end = offset
        for entry in entries:
            if isinstance(entry, Prediction):
                self._note_done(entry.name, offsets[entry.name], entry.warning)
            else:
                self._note_refused(entry[1], entry[2])

    def predictions(self, order: Iterable[str] = ()) -> Iterator[Prediction]:
        """Read the predictions one by one: those named in ``order``, then the others if their image is still there."""
        if not self._offsets:
            return
        rest = dict(self._offsets)
        with self.path.open("rb") as file:
            for name in order:
                offset = rest.pop(name, None)
                if offset is not None:
                    yield self._read(file, offset)
            for offset in rest.values():
                other = self._read(file, offset)
                if other.path.exists():
                    yield other

    def close(self) -> None:
        """Make the file safe on disk and let it go; more can be written after that."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                with file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(self._unwritable(error)) from error

    def _begin(self) -> FileIO:
        """Open for appending; a new file gets its header whole or not at all."""
        if self._end == 0:
            with atomic_write(self.path, "wb") as new:
                new.write(self.header.line())
            self._end = len(self.header.line())
        try:
            self._file = FileIO(self.path, "r+b")
            self._file.truncate(self._end)  # a torn last line
            self._file.seek(self._end)
        except OSError as error:
            raise RunError(self._unwritable(error)) from error
        return self._file

    def _drop_torn(self, file: FileIO) -> None:
        try:
            file.truncate(self._end)
            file.seek(self._end)
        except OSError:
            self._file = None  # the next opening drops the torn line

    def _scan(self) -> None:
        """Learn what is done. The last line counts only with its line end."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise RunError(
                f"{self.path}: cannot be read ({error.strerror}); mend it or choose another --out."
            ) from error
        with file:
            first = file.readline()
            if not first.endswith(b"\n") and self.header.line().startswith(first):
                return  # killed before the header was whole: nothing is lost
            self._check_header(first)
            self._end = len(first)
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n"):
                    return
                self._learn(line, number)
                self._end += len(line)

    def _learn(self, line: bytes, number: int) -> None:
        fields = _parse(line)
        name = None if fields is None else fields.get("name")
        if fields is None or not isinstance(name, str):
            raise RunError(
                f"{self.path}, line {number}: not a line of a journal of predictions, got {line[:60]!r}; "
                "delete that line, or start afresh with --overwrite."
            )
        if "refused" in fields:
            self._note_refused(name, str(fields["refused"]))
        else:
            self._note_done(name, self._end, fields.get("warning"))

    def _note_done(self, name: str, offset: int, warning: str | None) -> None:
        self._refused.pop(name, None)
        self._warnings.pop(name, None)
        self._offsets[name] = offset
        if warning is not None:
            self._warnings[name] = sys.intern(warning)

    def _note_refused(self, name: str, reason: str) -> None:
        self._refused[name] = reason
        self._offsets.pop(name, None)
        self._warnings.pop(name, None)

    def _check_header(self, line: bytes) -> None:
        found, wanted = _parse(line), json.loads(self.header.line())
        if found is None or "boxless_predictions" not in found:
            raise RunError(
                f"{self.path}: is not a journal of predictions, got {line[:60]!r}; "
                "choose another folder with --out, or replace the file with --overwrite."
            )
        differing = [
            f"{said} was {_short(found.get(key))} and is now {_short(wanted[key])}"
            for key, said in _SAID.items()
            if found.get(key) != wanted[key]
        ] + _other_options(found.get("options"), wanted["options"])
        if differing:
            what = "; ".join(differing)
            raise RunError(
                f"{self.path}: holds the predictions of another job ({what}); "
                "choose another folder with --out, or start afresh with --overwrite."
            )

    def _read(self, file: Any, offset: int) -> Prediction:
        file.seek(offset)
        fields = _parse(file.readline())
        if fields is None:
            raise RunError(f"{self.path}: was changed while it was read; run the same command again.")
        try:
            return prediction_of(fields, self.header.classes)
        except ValueError as error:
            raise RunError(
                f"{self.path}: the line of {fields.get('name')!r} is damaged ({error}); start afresh with --overwrite."
            ) from error

    def _unwritable(self, error: OSError) -> str:
        kept = f"The {len(self._offsets):,} predictions in it are kept: the same command goes on from there."
        return unwritable(self.path, error).replace("Nothing there changed.", kept)


_SAID = {
    "boxless_predictions": "the journal's version",
    "run": "the run",
    "threshold": "the threshold",
    "classes": "the class list",
    "roots": "the source folder",
}


def _other_options(found: object, wanted: Mapping[str, Any]) -> list[str]:
    """What is said of each option that is not what it was."""
    usual = json.loads(json.dumps(asdict(Options())))
    before, now = {**usual, **(found if isinstance(found, dict) else {})}, {**usual, **wanted}
    return [
        f"--{key.replace('_', '-')} was {_short(before[key])} and is now {_short(now[key])}"
        for key in now
        if before[key] != now[key]
    ]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _write_all(file: FileIO, content: bytes) -> None:
    """`FileIO.write` may take only a part, as it does just before a disk is full."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _line(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, separators=(",", ":")) + "\n").encode("ascii")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        fields = parse_json(line.decode())
    except ValueError:  # not UTF-8 among it
        return None
    return fields if isinstance(fields, dict) else None
