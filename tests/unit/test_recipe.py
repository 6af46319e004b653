from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from boxless.api import with_settings
from boxless.cli.options import parse_settings
from boxless.errors import ConfigError
from boxless.recipe import RECIPE_VERSION, Recipe, from_dict, read_recipe


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    recipe = Recipe().override(
        data={"source": "фото", "image_size": 96}, method={"name": "other", "top": [1, 2]}, training={"clip": 1.5}
    )
    recipe.save(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert "фото" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_a_methods_settings_lie_beside_its_name_in_the_file(tmp_path: Path) -> None:
    Recipe().override(method={"name": "other", "top": 3}).save(tmp_path / "recipe.yaml")
    value = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert value["method"] == {"name": "other", "top": 3}
    assert value["version"] == RECIPE_VERSION


def test_notes_beside_the_sections_change_nothing() -> None:
    assert from_dict({"published": {"MaxBoxAcc": 60.1}, "ours": "not yet measured", "notes": "x"}, "file") == Recipe()


def test_overriding_one_setting_leaves_the_others() -> None:
    recipe = Recipe().override(training={"seed": 3}).override(training={"epochs": 2})
    assert (recipe.training.seed, recipe.training.epochs) == (3, 2)
    assert Recipe().training.seed == 0


def test_another_method_drops_the_settings_of_the_one_before() -> None:
    recipe = Recipe().override(method={"name": "one", "depth": 3})
    assert recipe.override(method={"name": "two"}).method.settings == {}
    assert recipe.override(method={"width": 4}).method.settings == {"depth": 3, "width": 4}


def test_texts_of_a_command_line_are_read_as_yaml_in_order() -> None:
    recipe = with_settings(
        Recipe(), parse_settings(
        ["training.epochs=3", "training.epochs=4", "training.clip=null", "backbone.freeze=true", "method.layers=[1, 2]",
         "training.learning_rate=3e-4", "protocol.threshold=0.2", "data.source=a=b"])
    )  # fmt: skip
    assert recipe.training.epochs == 4
    assert recipe.training.clip is None
    assert recipe.backbone.freeze is True
    assert recipe.method.settings == {"layers": [1, 2]}
    assert recipe.training.learning_rate == 0.0003
    assert recipe.protocol.threshold == 0.2
    assert recipe.data.source == "a=b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"version": 99}, "file: version 99"),
        ({"trainings": {}}, "file: 'trainings' is no section.*did you mean 'training'"),
        ({"training": 3}, "file: section training must hold settings, got 3"),
        ({"training": {"epoch": 3}}, r"training\.epoch: there is no such setting; did you mean 'epochs'"),
        ({"training": {"epochs": 0}}, r"training\.epochs: .*got 0"),
        ({"data": {"image_size": 16}}, r"data\.image_size: .*got 16"),
        ({"protocol": {"threshold": 1.0}}, r"protocol\.threshold: .*got 1\.0"),
    ],
)
def test_what_a_recipe_cannot_hold_is_named(value: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(value, "file")


@pytest.mark.parametrize("text", ["training.epochs", "epochs=3", "=3", ".epochs=3"])
def test_a_text_that_sets_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        with_settings(Recipe(), parse_settings([text]))


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "not valid YAML"), ("3", "got int"), (None, "cannot be read")]
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"recipe.yaml: .*{message}"):
        read_recipe(path)
