"""The names by which prompts call the classes: from the classes' own names, or from a file of names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from boxless.data.documents import read_text
from boxless.errors import ConfigError, DataError, nearest
from boxless.parsing import compose_yaml
from boxless.text.prompts import templates

_SYNSET = re.compile(r"n\d{8}")  # WordNet's number of a noun, by which ImageNet names its classes
_PREFIX = re.compile(r"(?:\d+\.|n\d{8}-)(?=[^\W\d_])")  # the numbers in names of CUB and of Stanford Dogs
_CODES = (
    re.compile(r"[\W\d_]*"),  # no letter
    re.compile(r"[^\W\d_]"),  # a single one
    re.compile(r"(?:c|cls|class|cat|category|id|item|label|type)[\W_]*\d+", re.IGNORECASE),
    re.compile(r"(?=[a-f]*\d)[0-9a-f-]{7,}", re.IGNORECASE),  # hashes
    _SYNSET,
)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Named:
    """What prompts call one class."""

    names: tuple[str, ...]  # its name, then its synonyms
    templates: tuple[str, ...] | None = None  # its own; None: those of all


def name_classes(classes: Sequence[str], file: Path | None, note: Callable[[str], None]) -> list[Named]:
    """The names of classes, in their order.

    Without a file, underscores and hyphens of a class become spaces, the numbers before a name as in
    ``001.Black_footed_Albatross`` go, and numbers of WordNet such as ``n01440764`` become its first word for them, or,
    where two classes share that, the names of Radford et al. ("Learning Transferable Visual Models", ICML 2021).

    Args:
        classes: As the data name them.
        file: YAML or JSON with a key for each class, and for that its name, a list of its name and synonyms, or a
            mapping of ``names`` to such a list and of ``templates`` to templates for this class.
        note: Told in a sentence of names that look like codes.

    Raises:
        ConfigError: The file misses a class, has one that the data have not, or has a template without its place.
        DataError: The file cannot be read, a name is empty or no text, or two classes have the same name.
    """
    named = [Named((name,)) for name in _from_classes(classes, note)] if file is None else _from_file(classes, file)
    _check_distinct(classes, named, file)
    return named


def _from_classes(classes: Sequence[str], note: Callable[[str], None]) -> list[str]:
    words = {each: _words(each) for each in classes if _SYNSET.fullmatch(each)}
    found = {each: first for each, first in _resolved(words).items() if first}
    if found:
        note(
            f"{len(found)} of {len(classes)} classes are numbers of WordNet; prompts call them by its words, such as "
            f"{_examples(f'{key} {name!r}' for key, name in found.items())}; a file of names would replace these."
        )
    names = [found.get(each) or " ".join(re.split(r"[\s_-]+", _PREFIX.sub("", each))).strip() for each in classes]
    if codes := codes_among(classes):
        note(
            f"{len(codes)} of {len(classes)} class names look like codes ({_examples(map(repr, codes))}), which mean "
            "nothing to a text model; give a file with their names."
        )
    return names


def codes_among(classes: Sequence[str]) -> list[str]:
    """Those of the names that mean nothing to a text model: codes, but no numbers that WordNet has words for."""
    return [
        each
        for each in classes
        if any(code.fullmatch(each) for code in _CODES) and not (_SYNSET.fullmatch(each) and _words(each))
    ]


def _resolved(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The first word of each; where several have it, the names of Radford et al.; none where WordNet has no words."""
    firsts = [each[0].casefold() for each in words.values() if each]
    return {
        key: (_curated().get(key, each[0]) if firsts.count(each[0].casefold()) > 1 else each[0]) if each else ""
        for key, each in words.items()
    }


def _words(synset: str) -> tuple[str, ...]:
    """The words that WordNet has for it; none if it does not know it."""
    try:
        return tuple(_wordnet().label_name_to_description(synset).split(", "))
    except KeyError:
        return ()


@cache
def _wordnet() -> Any:
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-1k")


def _curated() -> dict[str, str]:
    from boxless.backbones.open_clip_models import library

    return dict(zip(_wordnet().label_names(), library().IMAGENET_CLASSNAMES, strict=True))


def _from_file(classes: Sequence[str], path: Path) -> list[Named]:
    content = _read(path)
    missing = [each for each in classes if each not in content]
    unknown = [each for each in content if each not in set(classes)]
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]!r} is no class of the data; {nearest(unknown[0], classes)}")
    if missing:
        raise ConfigError(
            f"{path}: it lacks {len(missing)} of {len(classes)} classes: {_examples(map(repr, missing), 12)}; add them."
        )
    return [_named(path, each, content[each]) for each in classes]


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a file, with numbers left as text: '007' is a name, and in YAML so is 'no'."""
    text = read_text(path)
    try:
        if path.suffix.lower() == ".json":
            content = json.loads(text, object_pairs_hook=partial(_mapping, path), parse_int=str, parse_float=str)
        else:
            content = _plain(path, compose_yaml(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not valid YAML or JSON ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping of each class to its names, such as 'n01440764: tench'.")
    return content


def _plain(path: Path, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(path, [(_plain(path, key), _plain(path, value)) for key, value in node.value])
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, each) for each in node.value]
    return node and node.value


def _mapping(path: Path, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str) or key in content:
            raise DataError(f"{path}: the key {key!r} is there twice, or is no text; leave one.")
        content[key] = value
    return content


def _named(path: Path, label: str, value: Any) -> Named:
    own = None
    if isinstance(value, dict):
        unknown = [key for key in value if key not in ("names", "templates")]
        if unknown or "names" not in value:
            raise ConfigError(f"{path}: class {label!r} has the keys {', '.join(value)}; known: names, templates.")
        if "templates" in value:
            own = templates(value["templates"])
        value = value["names"]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise DataError(f"{path}: class {label!r}: expected a name, or a list of its name and synonyms; got {value!r}.")
    return Named(tuple(" ".join(each.split()) for each in names), own)


def _check_distinct(classes: Sequence[str], named: Sequence[Named], file: Path | None) -> None:
    where = "give a file with other names" if file is None else f"change one in {file}"
    owners: dict[str, str] = {}
    for label, each in zip(classes, named, strict=True):
        for name in each.names:
            if not name:
                raise DataError(f"class {label!r}: a name is empty, and there is nothing to embed; {where}.")
            key = name.casefold()
            if key in owners:
                raise DataError(
                    f"classes {owners[key]!r} and {label!r} have the same name {name!r}, and no text tells them apart; "
                    f"{where}."
                    if owners[key] != label
                    else f"class {label!r} has the name {name!r} twice; {where}."
                )
            owners[key] = label


def _examples(items: Any, limit: int = _SHOWN) -> str:
    listed = list(islice(items, limit + 1))
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
