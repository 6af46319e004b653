"""Files that say what classes are called in the output, such as breeds that are all to be called dog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from boxless.data.documents import read_text
from boxless.data.tables import read_table
from boxless.errors import DataError, nearest
from boxless.parsing import compose_yaml

_EXAMPLE = "such as 'beagle: dog' in YAML, or the columns fine,coarse in CSV"


def read_label_map(path: str | Path, classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of a class and what it is to be called, from a CSV file (``fine,coarse``), or a YAML or JSON mapping.

    Classes that the file leaves out keep their name.

    Args:
        path: The file; how it is read goes by its suffix, ``.csv``, ``.yaml``, ``.yml`` or ``.json``.
        classes: Those that there are.

    Raises:
        DataError: A file that cannot be read as that, an empty name, or a class that is not there or stands twice.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        rows = read_table(path, ("fine", "coarse")).rows
        pairs = [(row.where, row.values["fine"], row.values["coarse"]) for row in rows]
    elif path.suffix.lower() in (".yaml", ".yml", ".json"):
        pairs = [(str(path), fine, coarse) for fine, coarse in _mapping(path)]
    else:
        raise DataError(f"{path}: a label map is a .csv, .yaml or .json file, {_EXAMPLE}.")
    seen: set[str] = set()
    for where, fine, coarse in pairs:
        if fine not in classes:
            raise DataError(f"{where}: there is no class {fine!r}; {nearest(fine, classes)}")
        if fine in seen:
            raise DataError(f"{where}: class {fine!r} stands twice; give each class one name.")
        if not coarse:
            raise DataError(f"{where}: class {fine!r} gets an empty name; name it, or leave it out to keep its own.")
        seen.add(fine)
    return tuple((fine, coarse) for _, fine, coarse in pairs)


def _mapping(path: Path) -> list[tuple[str, str]]:
    """The pairs as they stand in the file, so that a key that stands twice is seen, and every name is text."""
    try:
        node = compose_yaml(read_text(path))  # JSON is YAML
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not valid YAML or JSON ({error}); mend it.") from error
    if not isinstance(node, yaml.MappingNode):
        raise DataError(f"{path}: not a mapping of classes to names; write one, {_EXAMPLE}.")
    return [(_text(path, key), _text(path, value)) for key, value in node.value]


def _text(path: Path, node: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise DataError(f"{path}:{node.start_mark.line + 1}: expected one name for one class, {_EXAMPLE}.")
    return str(node.value).strip()
