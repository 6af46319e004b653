"""Inputs that nobody would write by hand: sound seeds, changed at random by what their kind of file is made of."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import yaml

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 0.5, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**400),
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\ufeff",
        "a\nb",
        "../../../etc/passwd",
        "/etc/passwd",
        "..",
        "C:\\x",
        "~",
        "x" * 5000,
    ),
    *("<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\x1b[2J", "otsu", "boxless.methods.cam:CAM", "%s%n", "{}"),
    *([], {}, [[]], [None], {"": {}}, {"a": [1, {"b": None}]}, [[[[[[[[]]]]]]]], "1e999", "0x10", "1_000", "nan"),
)
PIECES = (
    *(b"\x00", b"\xff", b"\xff" * 8, b"\x00" * 64, b"\r\n", b"\n\n", b",", b'"', b"'", b"[", b"{", b"]" * 9, b"}" * 9),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 20_000),
    *(
        b"*a",
        b"&a ",
        b"!!python/object/apply:os.system [ls]",
        b"<<: *a",
        b"? ",
        b": ",
        b"- " * 200,
        b"\t",
        b"%YAML 9\n",
    ),
    *(b"../" * 20, b"=1+1", b"\x1b]0;x\x07", b"x" * 70_000, b"0,0,0,0", b"-1", b"null", b"2020-99-99", b"1:2:3"),
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(random: Random, seeds: tuple[bytes, ...], kind: str) -> bytes:
    """One changed seed of a kind: ``json``, ``lines`` of JSON, ``yaml``, ``table`` or ``bytes``."""
    content = random.choice(seeds)
    if kind != "bytes" and random.random() < 0.6:
        try:
            return _BY_KIND[kind](random, content)
        except (ValueError, yaml.YAMLError, RecursionError):
            return content
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        content = _changed(random, content, random.choice(seeds))
    return content


def _changed(random: Random, content: bytes, other: bytes) -> bytes:
    size = len(content)
    start = random.randint(0, min(size, 64) if random.random() < 0.3 else size)  # headers decide most
    end = min(size, start + random.choice((1, 2, 4, 8, 64, 1024)))
    way = random.randrange(8)
    if way == 0 and size:
        place = min(start, size - 1)
        return content[:place] + bytes([content[place] ^ (1 << random.randrange(8))]) + content[place + 1 :]
    if way == 1:
        return content[:start] + content[end:]
    if way == 2:
        return content[:start] + random.choice(PIECES) + content[start:]
    if way == 3:
        return content[:start] + random.choice(PIECES) + content[end:]
    if way == 4:
        width = random.choice((1, 2, 4, 8))
        number = (random.choice(NUMBERS) & (256**width - 1)).to_bytes(width, random.choice(("big", "little")))
        return content[:start] + number + content[start + width :]
    if way == 5:
        return content[:end] + content[start:end] * random.choice((1, 2, 16)) + content[end:]
    if way == 6:
        return content[:start]
    place = random.randint(0, len(other))
    return content[:start] + other[place:]


def _json(random: Random, content: bytes) -> bytes:
    return json.dumps(_value(random, json.loads(content))).encode()


def _lines(random: Random, content: bytes) -> bytes:
    lines = content.splitlines()
    place = random.randrange(len(lines))
    if random.random() < 0.2:
        lines.insert(place, random.choice(lines))
    lines[place] = _json(random, lines[place])
    return b"\n".join(lines) + b"\n"


def _yaml(random: Random, content: bytes) -> bytes:
    return yaml.safe_dump(_value(random, yaml.safe_load(content)), sort_keys=False).encode("utf-8", "surrogatepass")


def _table(random: Random, content: bytes) -> bytes:
    rows = [line.split(b",") for line in content.split(b"\n")]
    for _ in range(random.choice((1, 1, 2, 3))):
        row = random.choice(rows)
        row[random.randrange(len(row))] = _field(random)
    return b"\n".join(b",".join(row) for row in rows)


def _field(random: Random) -> bytes:
    value = random.choice(HOSTILE)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()


def _value(random: Random, value: Any) -> Any:
    """The value with one part of it, anywhere inside, replaced, left out, doubled or renamed."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        changed = dict(value)
        if (way := random.random()) < 0.12:
            del changed[key]
        elif way < 0.2:
            changed[random.choice([each for each in HOSTILE if isinstance(each, str)])] = changed.pop(key)
        else:
            changed[key] = _value(random, value[key])
        return changed
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        if (way := random.random()) < 0.1:
            return value[:place] + value[place + 1 :]
        if way < 0.2:
            return [*value, *value[place : place + 1] * random.choice((1, 50))]
        return [*value[:place], _value(random, value[place]), *value[place + 1 :]]
    return random.choice(HOSTILE)


_BY_KIND = {"json": _json, "lines": _lines, "yaml": _yaml, "table": _table}
