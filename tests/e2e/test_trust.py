"""Files that name code: nothing of it is loaded until the user says so, by any verb."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from boxless import api
from boxless.errors import ConfigError
from boxless.recipe import Recipe

from .conftest import TINY, Boxless

CODE = "planted:Evil"
VERBS = {
    "predict": ("predict", "RUN", "DATA/test", "--out", "OUT"),
    "evaluate": ("evaluate", "RUN", "DATA"),
    "evaluate, a table": ("evaluate", "RUN", "DATA", "--protocol", "both"),
    "annotate": ("annotate", "DATA", "--classifier", "RUN", "--out", "OUT"),
    "train by a recipe": ("train", "DATA", "--recipe", "RUN/recipe.yaml", "--out", "OUT"),
    "train by a recipe's source": ("train", "DATA", "--recipe", "SOURCE", "--out", "OUT", *TINY),
    "train, resumed": ("train", "--resume", "--out", "UNFINISHED"),
    "train with a classifier": (
        *("train", "DATA", "--method", "dips", "--set", "pseudo.classifier=RUN", "--out", "OUT"),
        *(*TINY, "--no-freeze", "--select-by", "classification"),
    ),
    "search": ("search", "DATA", "--recipe", "RUN/recipe.yaml", "--out", "OUT"),
    "search, its space": ("search", "DATA", "--recipe", "RUN/recipe.yaml", "--show-space"),
    "search, a space's file": ("search", "DATA", "--space", "SPACE", "--out", "OUT"),
    "search, resumed": ("search", "--resume", "--out", "SEARCH"),
    "benchmark": ("benchmark", "BENCHMARK", "--out", "OUT"),
    "benchmark, a dry run": ("benchmark", "BENCHMARK", "--out", "OUT", "--dry-run"),
    "benchmark, a configuration": ("benchmark", "CONFIGURATION", "--out", "OUT"),
}
QUIET = {"show": ("show", "run", "RUN"), "show, a recipe": ("show", "recipe", "RUN/recipe.yaml")}


@pytest.fixture
def planted(tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with hostile files, and on Python's path a module that is seen to be loaded."""
    (tmp_path / "planted.py").write_text("raise RuntimeError('planted code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = {
        "method": {"name": CODE},
        "data": {"source": str(shapes), "image_size": 64},
        "backbone": {"name": "test_resnet", "weights": "random"},
    }
    for name in ("RUN", "UNFINISHED"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    card = {
        "run_version": 2,
        "classes": ["blue", "green", "red"],
        "threshold": {"rule": "otsu", "source": "otsu"},
        "criteria": {"last": {"weights": "model.safetensors", "threshold": None}},
        "selection": {"by": "last", "epoch": 1, "value": None},
        "method": CODE,
        "multi_label": False,
        "data": {"images": {"train": 2}, "source": "x", "format": "folder"},
        "backbone": {"name": "test_resnet", "licence": "none", "frozen": True},
        "resolution": 64,
        "supervision": "image labels",
        "box_rule": "largest",
        "seed": 0,
        "date": "2026-01-01",
        "boxless": "1.0",
        "training_seconds": 1,
        "refused": {},
    }
    (tmp_path / "RUN" / "card.json").write_text(json.dumps(card))
    (tmp_path / "RUN" / "model.safetensors").write_bytes(b"")
    (tmp_path / "SOURCE").write_text(yaml.safe_dump({"method": {"name": "dips"}, "pseudo": {"source": CODE}}))
    (tmp_path / "SPACE").write_text(yaml.safe_dump({"pseudo.source": ["attention", CODE]}))
    data = {"shapes": {"source": "DATA"}}
    (tmp_path / "BENCHMARK").write_text(yaml.safe_dump({"datasets": data, "methods": {"evil": {"method": CODE}}}))
    changed = {"datasets": data, "methods": {"cam": None}, "configurations": {"method.name": ["cam", CODE]}}
    (tmp_path / "CONFIGURATION").write_text(yaml.safe_dump(changed))
    (tmp_path / "SEARCH").mkdir()
    kept = {"plan": {"trials": 2}, "space": {}, "recipe": recipe, "stage": "method", "epochs": 2, "search_version": 1}
    (tmp_path / "SEARCH" / "search.json").write_text(json.dumps(kept))
    return tmp_path


def whole(part: str, planted: Path, shapes: Path) -> str:
    for name in ("RUN", "UNFINISHED", "SOURCE", "SPACE", "BENCHMARK", "CONFIGURATION", "SEARCH", "OUT"):
        part = part.replace(name, str(planted / name)) if name in part.split("=")[-1].split("/") else part
    return part.replace("DATA", str(shapes))


@pytest.mark.parametrize("verb", VERBS)
def test_code_that_a_file_names_is_not_loaded(verb: str, boxless: Boxless, planted: Path, shapes: Path) -> None:
    arguments = [whole(part, planted, shapes) for part in VERBS[verb]]
    done = boxless(*arguments)
    assert done.code == 2, done.out + done.err
    assert repr(CODE) in done.err
    assert "--trust" in done.err
    assert "planted" not in sys.modules


@pytest.mark.parametrize("verb", ["predict", "evaluate", "train, resumed", "search, its space", "benchmark, a dry run"])
def test_code_that_the_user_trusts_is_loaded(verb: str, boxless: Boxless, planted: Path, shapes: Path) -> None:
    with pytest.raises(RuntimeError, match="planted code was run"):
        boxless(*(whole(part, planted, shapes) for part in VERBS[verb]), "--trust")


@pytest.mark.parametrize("verb", QUIET)
def test_a_file_that_names_code_can_be_looked_at(verb: str, boxless: Boxless, planted: Path, shapes: Path) -> None:
    done = boxless(*(whole(part, planted, shapes) for part in QUIET[verb]), "--json")
    assert done.code == 0, done.err
    assert CODE in done.out
    assert "planted" not in sys.modules


def test_what_the_user_names_is_the_users_own(planted: Path, shapes: Path) -> None:
    for given in ({"method": CODE}, {"settings": {"method.name": CODE}}, {"recipe": recipe()}):
        with pytest.raises(RuntimeError, match="planted code was run"):
            api.train(shapes, planted / "OUT", **given)


def test_a_method_named_on_the_command_line_does_not_vouch_for_another_of_the_file(planted: Path, shapes: Path) -> None:
    with pytest.raises(ConfigError, match="takes no method"):
        api.train(None, planted / "UNFINISHED", resume=True, method="toys:Toy")
    with pytest.raises(ConfigError, match="names code"):
        api.train(shapes, planted / "OUT", method="toys:Toy", recipe=planted / "SOURCE")


def recipe() -> Recipe:
    return Recipe().override(method={"name": CODE})
