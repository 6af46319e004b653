"""Every code block of the documentation does what it says: it is run, page by page, or says why not.

Pages are run as a reader would, top to bottom in one folder that holds ``photos`` and ``new-photos``; what is changed
to make that quick is listed in `blocks.SUBSTITUTIONS`. Of the blocks that are not run, and of code within sentences,
verbs, options, settings and names are known to exist. ``pytest -rs`` lists what is not run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from typer.main import get_command

from boxless import api
from boxless.cli.app import app
from boxless.methods import METHODS
from boxless.predict.options import Options
from boxless.recipe import Recipe
from boxless.training import session

from .blocks import (
    OUTPUT,
    PAGES,
    SHELL,
    Block,
    Page,
    World,
    blocks_of,
    make_clip,
    make_maps,
    make_page,
    make_slide,
    make_videos,
)

COMMANDS = get_command(app).commands
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]
RUN = [block for block in BLOCKS if block.reason is None and block.language not in OUTPUT]

# Runs that a page supposes beside `runs/photos`, and how they were trained.
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "docs/evaluation": {"runs/a": {"method": "cam"}, "runs/b": {"method": "cam", "seed": 1}},
}
# Files that it supposes.
FILES = {
    "docs/evaluation": make_maps,
    "docs/large-images": make_slide,
    "docs/learning-from-videos": make_videos,
    "docs/video": make_clip,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Callable[[], str]) -> World:
    return World(tmp_path_factory.mktemp("trained"), tiny_clip, session.train)


@pytest.mark.parametrize("name", [page for page in PAGES if any(block.page == page for block in RUN)])
def test_the_blocks_of_a_page_run(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "train", world.train)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    make_page(tmp_path)
    FILES.get(name, lambda _: None)(tmp_path)
    for folder, how in supposed_runs(name).items():
        api.train("photos", folder, **how)
    page = Page(tmp_path, world)
    for block in blocks_of(name):
        if block.reason is None:
            page.run(block)


def supposed_runs(name: str) -> dict[str, dict[str, Any]]:
    """What `RUNS` says, and `runs/photos` if the page speaks of it and does not train it."""
    text = "".join(block.text for block in blocks_of(name) if block.reason is None)
    trained = re.search(r"train\b.*\bruns/photos\b", text)
    return ({"runs/photos": {}} if "runs/photos" in text and not trained else {}) | RUNS.get(name, {})


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.where)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert re.match(r"(it )?(needs|starts|opens|takes|shows|part of) \w+", block.reason or ""), (
        f"{block.where}: say why, plainly"
    )
    pytest.skip(f"{block.where}: {block.reason}")


def test_most_blocks_are_run() -> None:
    assert len(RUN) > 2 * len(NOT_RUN), [f"{block.where}: {block.reason}" for block in NOT_RUN]


@pytest.mark.parametrize("name", PAGES)
def test_commands_options_and_settings_exist(name: str) -> None:
    for block in blocks_of(name):
        assert block.language, f"{block.where}: say what language it is; text, if none"
        for words in block.commands if block.language in SHELL else []:
            if words[0] == "boxless":
                check_command(words[1:], block.where)
    for code in re.findall(r"`([^`\n]+)`", without_blocks(name)):
        if code.startswith("boxless ") and " " in code and not re.search(r"[:;]", code):
            check_command(shlex.split(code.replace("...", ""))[1:], f"{name}: {code}", whole=False)
        for option in re.findall(r"(?<!\S)(--[a-z][a-z-]+)", code) if not OTHERS.search(code) else ():
            assert option in ALL_OPTIONS, f"{name}: no verb has {option}"
        for setting in re.findall(r"--set ['\"]?([a-z_.]+)=", code):
            assert known(setting), f"{name}: there is no setting {setting}"


@pytest.mark.parametrize("name", PAGES)
def test_names_of_python_exist(name: str) -> None:
    for dotted in set(re.findall(r"`(boxless(?:\.\w+)+)", without_blocks(name))) - ENTRY_POINTS:
        find(dotted)
    for block in blocks_of(name):
        if block.language != "python" or (block.reason or "").startswith("part of"):
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("boxless"):
                for alias in node.names:
                    find(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "boxless":
                find(f"boxless.{node.attr}")


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml" and not b.title], ids=lambda b: b.where)
def test_settings_shown_as_yaml_are_those_of_a_recipe(block: Block) -> None:
    for section, settings in yaml.safe_load(block.text).items():
        for setting in settings:
            assert known(f"{section}.{setting}"), f"{block.where}: a recipe has no {section}.{setting}"


OTHERS = re.compile(r"^(pip|git|torchrun|cvat-cli|g\+\+|python|label-studio|yolo|docker|make|ray)\b")
ALL_OPTIONS = {option for command in COMMANDS.values() for param in command.params for option in param.opts}
ALL_OPTIONS |= {option for command in COMMANDS.values() for param in command.params for option in param.secondary_opts}
ALL_OPTIONS |= {"--help", "--version"}


def check_command(words: list[str], where: str, *, whole: bool = True) -> None:
    """Refuse a verb or an option that there is not; with ``whole`` also what the command line would refuse."""
    if not words or words[0] in ("--help", "--version"):
        return
    verb, rest = words[0], words[1:]
    if not (whole or re.fullmatch("[a-z]+", verb)):
        return  # VERB and its like
    assert verb in COMMANDS, f"{where}: there is no verb {verb}"
    command = COMMANDS[verb]
    for setting in re.findall(r"--set ['\"]?([a-z_.]+)=", " ".join(rest)):
        assert known(setting), f"{where}: there is no setting {setting}"
    if whole:
        try:
            command.make_parser(click.Context(command)).parse_args(list(rest))
        except click.UsageError as error:
            pytest.fail(f"{where}: {error.format_message()}")
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0] in ALL_OPTIONS, f"{where}: {verb} has no {word}"


def known(setting: str) -> bool:
    """Whether a recipe has it, of any method or pseudo-label source; without a section, prediction."""
    section, dot, name = setting.partition(".")
    if not dot:
        return section in Options.__dataclass_fields__
    if section == "method":
        return name in ("name", "NAME") or any(
            name in inspect.signature(METHODS.load(each)).parameters for each in METHODS
        )
    if section == "pseudo" and name in SOURCE_SETTINGS:
        return True
    if section not in Recipe.__dataclass_fields__:
        return False
    name = name.split(".")[0]
    return name in type(getattr(Recipe(), section)).__dataclass_fields__


ENTRY_POINTS = {"boxless.sources", "boxless.annotators", "boxless.methods"}  # groups, and no modules
SOURCE_SETTINGS = {"heads", "vectors", "threshold", "stride", "layers", "path", "NAME", "KEY"}


def find(dotted: str) -> object:
    """What a dotted name stands for."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            assert hasattr(found, part), f"there is no {dotted}"
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {dotted}")


def without_blocks(name: str) -> str:
    return re.sub(r"(?ms)^\s*```.*?^\s*```", "", PAGES[name].read_text(encoding="utf-8"))
