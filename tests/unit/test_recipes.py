"""Each recipe file against today's signatures: one that cannot be run any more is a lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from boxless.recipe import read_recipe
from boxless.runs import build_method

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_builds_its_method_with_settings_that_exist(path: Path) -> None:
    recipe = read_recipe(path)
    method = build_method(recipe, 10, pretrained=False)
    assert type(method).__name__.lower() == recipe.method.name.replace("_", "")
    assert path.name == f"{recipe.method.name}-{recipe.backbone.name.partition('.')[0]}.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_says_what_was_published_and_what_was_measured_here(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "published" in content
    ours = content["ours"]
    assert ours == "not yet measured" or {"date", "machine", "commit"} <= ours.keys()


def test_there_are_recipes() -> None:
    assert RECIPES
