"""Variables of MATLAB files, as several data sets keep their annotations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from boxless.errors import DataError, MissingExtraError


def read_matlab(path: Path, name: str) -> Any:
    """One variable of a ``.mat`` file of MATLAB 5 to 7, as an array of two dimensions or more.

    Raises:
        DataError: The file is missing, cannot be read, or has no such variable.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("reading MATLAB files", "scipy", "video") from error
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; unpack the data set's archives again.")
    try:
        found = loadmat(str(path), appendmat=False, variable_names=[name])
    except Exception as error:  # rubbish makes scipy raise nearly anything
        raise DataError(f"{path}: cannot be read as a MATLAB file ({error}); copy it again.") from error
    if not isinstance(found.get(name), np.ndarray):
        raise DataError(f"{path}: has no variable {name!r}; this is another file than expected.")
    return found[name]


def records(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """The elements of a struct array whose first field is a text: that text, and what the second field holds."""
    found = read_matlab(path, name)
    if not found.size:
        return
    if found.dtype.names is None or len(found.dtype.names) < 2:
        raise DataError(f"{path}: the variable {name!r} is no array of structs with two fields; copy the file again.")
    for number, record in enumerate(found.reshape(-1), start=1):
        text = np.asarray(record[0]).reshape(-1)
        if text.size != 1 or text.dtype.kind != "U":
            raise DataError(f"{path}: the name of element {number} of {name!r} is no text; copy the file again.")
        yield str(text[0]), record[1]


def numbers_in(values: object, columns: int, where: str) -> list[list[float]]:
    """Rows of so many numbers, or the only row written as a column; none of an empty array.

    Raises:
        DataError: They are no such numbers; the message begins with ``where``.
    """
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.zeros(1)
    if table.size and table.shape[-1] != columns and table.size != columns:
        raise DataError(f"{where}: expected rows of {columns} numbers; copy the file again.")
    rows: list[list[float]] = table.reshape(-1, columns).tolist()
    return rows
