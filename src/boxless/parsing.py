"""JSON and YAML of files that anybody may have written: what is wrong with a text is a ``ValueError``, whatever it is.

The parsers themselves answer to rubbish with more than their own errors: brackets a thousand deep end in a
``RecursionError`` or, in C, in the end of the process, numbers of ten thousand digits and dates such as 2020-99-99 in a
plain ``ValueError``, and a few lines of YAML can stand for more values than fit in memory
(https://en.wikipedia.org/wiki/Billion_laughs_attack).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MOST_NODES = 100_000  # of a YAML text, each counted as often as it is referred to
MOST_DEPTH = 100  # of lists and mappings in each other
MOST_BYTES = 8_000_000  # of a YAML file: recipes have some kilobytes, names of 20,000 classes under one megabyte


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, of plain values alone.

    Raises:
        ValueError: It is none, is nested too deeply, or stands for too many values.
    """
    node = compose_yaml(text)
    try:
        return None if node is None else _Loader("").construct_document(node)
    except Exception as error:  # rubbish makes constructors raise nearly anything
        raise ValueError(_reason(error)) from None


def compose_yaml(text: str) -> Any:
    """The node of a YAML text, None if it is empty; errors are those of `parse_yaml`."""
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_Loader)
        _count(node, {})
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_reason(error)) from None
    return node


def read_yaml(path: Path) -> Any:
    """The value of a YAML file in UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, or as `parse_yaml` says.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes, which no file of this kind needs")
    return parse_yaml(content.decode("utf-8-sig"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Written in C where there is such a one."""


def _check_depth(text: str) -> None:
    """Before nodes are made, which is done by calls within calls."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise yaml.YAMLError(f"it has lists or mappings more than {MOST_DEPTH} deep in each other")


def _count(node: Any, known: dict[int, int]) -> int:
    """How many nodes this one stands for, with all that it refers to."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # as long as it is not counted: what refers to itself has no end
        inner = [] if node is None or isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if known[id(node)] > MOST_NODES:
        raise yaml.YAMLError(f"its references make more than {MOST_NODES:,} values of it, or one refers to itself")
    return known[id(node)]


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
