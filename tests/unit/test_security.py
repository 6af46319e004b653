"""What holds in all of the source, and of files that mean harm."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

import boxless
from boxless.cards import wrong
from boxless.cli.printable import printable
from boxless.errors import ConfigError
from boxless.parsing import MOST_BYTES, parse_json, parse_yaml
from boxless.recipe import read_recipe

SOURCE = Path(boxless.__file__).parent
RUNS_CODE = re.compile(
    r"\bc?pickle\b|\bmarshal\b|\bshelve\b|\bjoblib\b|\bdill\b|torch\.load(?!_)|np\.load|allow_pickle=True|hub\.load\b"
    r"|yaml\.(?:load|full_load|unsafe_load|Loader|FullLoader|UnsafeLoader)\b|(?<![.\w])(?:eval|exec|compile)\("
    r"|shell=True|os\.system|os\.popen|trust_remote_code|tarfile|unpack_archive|extractall"
)
ALLOWED = {
    ("backbones/weights.py", "torch.load"): "weights_only=True",  # of an installed package
    ("pseudo/rpn.py", "torch.load"): "weights_only=True",  # a state dict that the user names
    ("pseudo/rpn.py", "pickle"): "pickle",  # the error's name: what torch raises for a file that is none
    ("data/map_files.py", "np.load"): "allow_pickle=False",
    ("protocol/evaluations.py", "np.load"): "allow_pickle=False",
}
BOMB = "\n".join(["a: &a [x, x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi"))])


def test_nothing_in_the_source_runs_what_it_reads() -> None:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.partition(" # ")[0]
            for each in RUNS_CODE.findall(code) if '"""' not in line and "no pickle" not in line else ():
                found.setdefault((path.relative_to(SOURCE).as_posix(), each), []).append(line)
    assert {place: lines for place, lines in found.items() if place not in ALLOWED} == {}
    assert all(guard in line for place, guard in ALLOWED.items() for line in found.get(place, ()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 100,000 values"),
        ("&a [*a]", "refers to itself"),
        ("[" * 50_000, "deep in each other"),
        ("a: 2020-99-99", "month"),
        ("!!int ''", "index out of range"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_yaml_that_means_harm_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_recipe(tmp_path / "recipe.yaml")


def test_yaml_may_refer_to_its_own_values() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}


def test_a_yaml_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="8,000,000 bytes"):
        read_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "{"])
def test_json_that_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|digits|char"):
        parse_json(text)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/../../b", "C:\\x", "..\\x", "", "\0"])
def test_a_card_names_no_weights_outside_of_its_run(name: str) -> None:
    from ..fuzzing.readers import CARD

    criteria = {"last": {**CARD["criteria"]["pseudo:spectral"], "weights": name}}
    assert wrong(CARD) == ""
    assert wrong({**CARD, "criteria": criteria}).startswith("criteria.last.weights")


def test_a_terminal_gets_no_control_characters() -> None:
    assert printable("a\x1b[2Jb\x9b\u202e\ud800\r.jpg\n\té") == "a\\u001b[2Jb\\u009b\\u202e\\ud800\\u000d.jpg\n\té"
