"""What the source says of things in words: a table entry's first sentences, and the meaning of each setting.

It is read as text, so that listing names does not import the network libraries.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from boxless.registry import Registry


def summary(table: Registry, name: str) -> str:
    """The first paragraph of the docstring of the module that a table entry lives in; empty if there is none."""
    try:
        spec = find_spec(table.target(name).partition(":")[0])
    except ImportError:  # of a plugin that is broken; loading it will say so
        return ""
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "")


def class_summary(table: Registry, name: str) -> str:
    """The first paragraph of the docstring of the class that a table entry names; empty if there is none."""
    module, _, attribute = table.target(name).partition(":")
    try:
        spec = find_spec(module)
    except ImportError:
        return ""
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    found = (ast.get_docstring(node) for node in body if isinstance(node, ast.ClassDef) and node.name == attribute)
    return " ".join((next(found, None) or "").partition("\n\n")[0].split()).replace("``", "")


def argument_docs(factory: Callable[..., object]) -> dict[str, str]:
    """What the ``Args`` section of a docstring says of each argument."""
    docstring = inspect.getdoc(factory) or ""
    match = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    docs: dict[str, str] = {}
    name = ""
    for line in (match.group(1) if match else "").splitlines():
        if found := re.match(r"    (\w+): (.*)", line):
            name = found.group(1)
            docs[name] = found.group(2)
        elif name and line.strip():
            docs[name] += f" {line.strip()}"
    return {key: text.replace("``", "") for key, text in docs.items()}


def field_docs(record: type) -> dict[str, str]:
    """The comment beside each field of a record's source."""
    found = re.findall(r"^    (\w+): [^\n#]*#[ ]*(.+)$", inspect.getsource(record), re.MULTILINE)
    return dict(found)
