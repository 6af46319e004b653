"""CSV files with a header, read strictly: every error names the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxless.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, by column."""

    where: str  # "file:line", to begin an error message with
    values: dict[str, str]  # stripped of blanks around


@dataclass(frozen=True, slots=True)
class Table:
    """A whole CSV file."""

    columns: tuple[str, ...]
    rows: list[Row]


def read_table(path: Path, required: Sequence[str]) -> Table:
    """Read a comma-separated file in UTF-8, with or without a byte order mark; blank lines are skipped.

    Raises:
        DataError: A column is missing or named twice, a line has more or fewer fields than the header, a quote is not
            closed, or the file is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = _lines(path, reader)
            _, header = next(lines, (0, []))
            columns = tuple(name.strip().lower() for name in header)
            _check_header(path, columns, required)
            return Table(columns, [_row(f"{path}:{number}", columns, fields) for number, fields in lines])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: this is not a UTF-8 text file ({error.reason}); save it as CSV in UTF-8.") from error


def header_of(path: Path) -> tuple[str, ...]:
    """The columns of a CSV file; none if it has no readable header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(name.strip().lower() for name in next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def _lines(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    line = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{line + 1}: not valid CSV ({error}); mend the quotes in this line.") from error
        line = reader.line_num  # type: ignore[attr-defined]
        if any(field.strip() for field in fields):
            yield line, fields


def _check_header(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    if missing := [name for name in required if name not in columns]:
        found = f"found {', '.join(map(repr, columns))}" if columns else "the file is empty"
        raise DataError(
            f"{path}:1: column {missing[0]!r} is missing, {found}; the first line must name the columns "
            f"{','.join(required)}, separated by commas."
        )
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{path}:1: column {twice[0]!r} is named twice; rename or remove one.")


def _row(where: str, columns: Sequence[str], fields: Sequence[str]) -> Row:
    if len(fields) != len(columns):
        raise DataError(
            f"{where}: {len(fields)} fields where the header has {len(columns)} ({','.join(columns)}); "
            'put a value that has a comma in double quotes, "like, this".'
        )
    return Row(where, {name: field.strip() for name, field in zip(columns, fields, strict=True)})
