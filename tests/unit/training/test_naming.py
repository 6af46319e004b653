"""What a recipe means by text, what a method is told, and that training with it can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tools import StopAfter, assert_same, weights

from boxless.errors import ConfigError, InterruptedRunError
from boxless.recipe import Recipe, Text, read_recipe
from boxless.runs import build_method
from boxless.text import open_text, write_text_file
from boxless.text.classes import ClassTexts
from boxless.training.naming import name_classes, settle_text
from boxless.training.session import train

TED_LOC = {"name": "ted_loc", "width": 8, "hidden": 0, "resolution": 8}
TinyClip = Callable[..., str]


def silent(text: str) -> None:
    pytest.fail(text)


def asked(method: str, backbone: str = "test_efficientnet", **text: object) -> Recipe:
    return Recipe().override(backbone={"name": backbone}, method={"name": method}, text=text)


def test_auto_is_the_tower_of_the_backbone_with_the_templates_of_the_paper(tiny_clip: TinyClip) -> None:
    settled = settle_text(asked("clip_es", tiny_clip()), note=silent)
    assert settled.text == Text(model=tiny_clip(), templates="origami", names=None)
    assert dict(settled.method.settings) == {}
    own = settle_text(asked("clip_es", tiny_clip(), templates=["a {}"]), note=silent)
    assert own.text.templates == ("a {}",)
    assert settle_text(settled, note=silent) == settled


def test_where_there_is_no_text_an_optional_method_is_told_and_a_required_one_refused() -> None:
    notes: list[str] = []
    settled = settle_text(asked("ted_loc"), note=notes.append)
    assert settled.text == Text(model="none")
    (note,) = notes
    assert "test_efficientnet has no text tower" in note
    assert settle_text(asked("ted_loc", model="none"), note=silent).text == Text(model="none")
    for refused in (asked("clip_es"), asked("clip_es", model="none")):
        with pytest.raises(ConfigError, match=r"text\.model: method clip_es reads class names.*ViT-B-16/openai"):
            settle_text(refused, note=silent)
    with pytest.raises(ConfigError, match=r"none are asked for; leave this setting out"):
        settle_text(asked("clip_es", "open_clip:ViT-B-16/openai", model="none"), note=silent)


def test_towers_of_two_models_are_told_of(tiny_clip: TinyClip) -> None:
    notes: list[str] = []
    settle_text(asked("clip_es", tiny_clip(), model=tiny_clip(quick_gelu=True)), note=notes.append)
    (note,) = notes
    assert "means nothing unless both towers were trained together" in note


def test_dimensions_are_those_of_the_text_unless_the_recipe_says(tiny_clip: TinyClip, tmp_path: Path) -> None:
    settled = settle_text(asked("ted_loc", model=tiny_clip()), note=silent)
    assert settled.method.settings["dimensions"] == 24
    write_text_file(tmp_path / "own.safetensors", ["a", "b"], torch.eye(2, 7))
    settled = settle_text(asked("ted_loc", model=str(tmp_path / "own.safetensors")), note=silent)
    assert settled.method.settings["dimensions"] == 7
    said = asked("ted_loc", model=tiny_clip()).override(method={"dimensions": 9})
    assert settle_text(said, note=silent).method.settings["dimensions"] == 9


def test_a_method_that_reads_no_names_takes_no_text_unless_its_teacher_does(tiny_clip: TinyClip) -> None:
    with pytest.raises(ConfigError, match=r"text: neither method cam nor .* leave this section out"):
        settle_text(asked("cam", templates="photo"), note=silent)
    taught = asked("dips", templates="photo").override(pseudo={"classifier": tiny_clip()})
    assert settle_text(taught, note=silent).text.templates == "photo"
    assert settle_text(asked("cam"), note=silent) == asked("cam")


@pytest.mark.parametrize("method", ["clip_es", "dips"])
def test_paths_are_made_whole(
    tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    folder = Path(tiny_clip().rpartition(":")[2])
    monkeypatch.chdir(folder.parent)
    near = f"open_clip:local-dir:{folder.name}"
    recipe = asked(method, near, names="names.yaml").override(pseudo={"classifier": near})
    settled = settle_text(recipe, note=silent)
    assert settled.backbone.name == tiny_clip()
    assert settled.text.names == str(folder.parent / "names.yaml")
    other = settle_text(asked("ted_loc", model=near), note=silent)
    assert other.text.model == tiny_clip()
    write_text_file(Path("own.safetensors"), ["a", "b"], torch.eye(2, 7))
    file = settle_text(asked("ted_loc", model="own.safetensors"), note=silent)
    assert file.text.model == str(folder.parent / "own.safetensors")
    (folder.parent / "own.safetensors").unlink()


def test_a_method_hears_of_classes_in_their_order(tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = settle_text(asked("clip", tiny_clip()).override(data={"image_size": 32}), note=silent)
    method = build_method(recipe, 3, pretrained=True)
    heard: list[ClassTexts] = []
    monkeypatch.setattr(type(method), "name_classes", lambda _, texts: heard.append(texts))
    for classes in (["red_fox", "owl", "sea-lion"], ["owl", "sea-lion", "red_fox"]):
        name_classes(recipe, method, classes, note=silent)
    first, turned = heard
    assert first.names == (("red fox",), ("owl",), ("sea lion",))
    assert torch.equal(turned.embeddings, first.embeddings[[1, 2, 0]])
    wanted = open_text(tiny_clip())(["a photo of a owl."])  # type: ignore[operator]
    alone = settle_text(recipe.override(text={"templates": "photo"}), note=silent)
    name_classes(alone, method, ["owl"], note=silent)
    torch.testing.assert_close(heard[2].embeddings, wanted)


@pytest.fixture
def named(recipe: Recipe, tiny_clip: TinyClip) -> Recipe:
    return recipe.override(
        backbone={"name": "test_efficientnet", "freeze": True},
        method=TED_LOC,
        text={"model": tiny_clip()},
        training={"epochs": 2},
    )


@pytest.mark.parametrize(("task", "steps"), [("proposals", 24), ("localization", 4)])
def test_a_named_run_stopped_anywhere_ends_as_an_unbroken_one(
    named: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, steps: int
) -> None:
    folder = Path(named.text.model.rpartition(":")[2])
    monkeypatch.chdir(folder.parent)
    near = f"open_clip:local-dir:{folder.name}"
    named = named.override(pseudo={"source": "run", "classifier": near}, text={"model": near})
    train(named, tmp_path / "whole", device="cpu")
    with pytest.raises(InterruptedRunError):
        train(named, tmp_path / "broken", device="cpu", listener=StopAfter(steps, task))
    monkeypatch.chdir(tmp_path)
    train(named, tmp_path / "broken", device="cpu", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "broken")
    kept = read_recipe(tmp_path / "whole" / "recipe.yaml")
    assert (kept.text.model, kept.pseudo.classifier) == (f"open_clip:local-dir:{folder}",) * 2
    anchors = weights(tmp_path / "whole")["anchors"]
    torch.testing.assert_close(anchors @ anchors.T, torch.eye(3), atol=1e-5, rtol=0)


def test_a_folder_with_the_name_of_the_own_classifier_is_left_alone(
    named: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    few = named.override(training={"epochs": 1})
    train(few, tmp_path / "run", device="cpu")
    assert read_recipe(tmp_path / "run" / "recipe.yaml").pseudo.classifier == "own"


def test_a_method_and_its_zero_shot_teacher_have_each_the_templates_of_their_papers(tiny_clip: TinyClip) -> None:
    asked_for = asked("ted_loc", "test_vit", model=tiny_clip())
    assert settle_text(asked_for, note=silent).text.templates == "imagenet"
    taught = asked_for.override(pseudo={"source": "run", "classifier": tiny_clip()})
    assert settle_text(taught, note=silent).text.templates == "auto"
