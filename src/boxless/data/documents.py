"""JSON and text-line files, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boxless import parsing
from boxless.errors import DataError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: this is not a UTF-8 text file ({error.reason}); save it in UTF-8.") from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with its place ("file:line")."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if text := line.strip():
            yield f"{path}:{number}", text


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str, line: int | None = None) -> Any:
    """Parse JSON; ``line`` is the place in ``where`` if the text is one line of a longer file."""
    try:
        return parsing.parse_json(text)
    except json.JSONDecodeError as error:
        place = f"{where}:{line or error.lineno}"
        raise DataError(f"{place}: not valid JSON ({error.msg}, column {error.colno}); export it again.") from error
    except ValueError as error:
        raise DataError(f"{where}{f':{line}' * bool(line)}: not valid JSON ({error}); export it again.") from error
