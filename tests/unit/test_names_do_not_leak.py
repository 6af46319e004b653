"""The loop, the protocol, prediction and the command line know a method by its contract, and never by its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import boxless
from boxless.maps import MAPS
from boxless.methods import DEFAULT_METHOD, DEFAULT_ZERO_SHOT, METHODS, MULTI_LABEL_METHOD
from boxless.pseudo.table import ANNOTATORS, MAP_SOURCES

SOURCE = Path(boxless.__file__).parent
FAMILIES = {"clip", "clipseg"}  # of networks and of the extras that have them; and boxes are clipped


def leaks(text: str, names: set[str], words: frozenset[str] = frozenset()) -> Iterator[str]:
    """Places where code uses a method's name: as an identifier, a module, or a text that would choose the method.

    Names that are words of the field too may be identifiers and modules, but none of the methods.
    """
    chosen = re.compile(rf"(?:--method|method\.name|method)[ =:]+['\"]?({'|'.join(map(re.escape, names))})\b")
    for node in ast.walk(ast.parse(text)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in names or chosen.search(node.value):
                yield f"line {line}: {node.value!r}"
        elif isinstance(node, ast.Name) and node.id.lower() in names - words:
            yield f"line {line}: {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr.lower() in names - words:
            yield f"line {line}: .{node.attr}"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            parts = {part for each in node.names for part in each.name.split(".")}
            parts |= set((getattr(node, "module", None) or "").split("."))
            if found := {part.lower() for part in parts} & (names if "methods" in parts else names - words):
                yield f"line {line}: import of {', '.join(sorted(found))}"


def test_no_method_is_named_outside_its_folder() -> None:
    names, words = set(METHODS), frozenset(MAP_SOURCES) | FAMILIES
    of_networks = {"backbones", "text", "ops"}
    tables = {  # of their own: a map, its source or an annotator may be called as a method that uses it
        SOURCE / "maps" / "table.py": set(MAPS),
        SOURCE / "pseudo" / "table.py": {*MAP_SOURCES, *ANNOTATORS},
    }

    def allowed(path: Path) -> set[str]:
        return tables.get(path, FAMILIES if path.relative_to(SOURCE).parts[0] in of_networks else set())

    found = [
        f"{path.relative_to(SOURCE)}, {leak}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] != "methods"
        for leak in leaks(path.read_text(encoding="utf-8"), names - allowed(path), words)
    ]
    assert found == []


def test_within_the_folder_only_the_table_and_the_default_hold_names() -> None:
    table = (SOURCE / "methods" / "__init__.py").read_text(encoding="utf-8")
    allowed = [rf'^        "{name}": "[\w.]+:\w+",$' for name in METHODS]
    allowed += [rf'^DEFAULT_METHOD = "{DEFAULT_METHOD}"', rf'^DEFAULT_ZERO_SHOT = "{DEFAULT_ZERO_SHOT}"']
    allowed += [rf'^MULTI_LABEL_METHOD = "{MULTI_LABEL_METHOD}"']
    rest = "\n".join(line for line in table.splitlines() if not any(re.match(each, line) for each in allowed))
    assert list(leaks(rest, set(METHODS))) == []
    base = (SOURCE / "methods" / "base.py").read_text(encoding="utf-8")
    assert list(leaks(base, set(METHODS))) == []


def test_a_leak_would_be_seen() -> None:
    text = (
        'import boxless.methods.toy\nif name == "toy":\n    Toy()\nprint("use --method toy")\n"""A toy in prose."""\n'
    )
    assert [leak.partition(":")[0] for leak in leaks(text, {"toy"})] == ["line 1", "line 2", "line 4", "line 3"]


def test_a_word_of_the_field_may_be_an_identifier_but_chooses_no_method() -> None:
    text = (
        "import toolbox.toy\ntoy = box.toy\nfrom boxless.methods import toy\nimport boxless.methods.toy\n"
        'if name == "toy":\n    pass\nprint("use method.name=toy")\n'
    )
    found = [leak.partition(":")[0] for leak in leaks(text, {"toy"}, frozenset({"toy"}))]
    assert found == ["line 3", "line 4", "line 5", "line 7"]
