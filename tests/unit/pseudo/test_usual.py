"""Where pseudo-labels come from if nobody says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from boxless.backbones.build import build_backbone
from boxless.errors import ConfigError
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.pseudo.teacher import OWN, ZERO_SHOT
from boxless.pseudo.usual import usual_source
from boxless.recipe import Recipe
from boxless.training.labelling import settle

WORDS, SOURCES = ("cat", "dog"), ("run", "cam", "spectral")


def method(backbone: str, name: str = "tr_cam_v") -> Method:
    torch.manual_seed(0)
    made: Method = METHODS.load(name)(
        build_backbone(backbone, image_size=32, weights="auto" if ":" in backbone else "random"), 2
    )
    return made


@pytest.fixture
def clip_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    return lambda here: monkeypatch.setattr("boxless.pseudo.usual._clip_is_here", lambda: here)


@pytest.mark.parametrize(
    ("here", "backbone", "classes", "expected"),
    [
        (True, "test_efficientnet", WORDS, ("run", ZERO_SHOT)),
        (True, "test_vit", WORDS, ("run", ZERO_SHOT)),
        (False, "test_efficientnet", WORDS, ("cam", OWN)),
        (False, "test_vit", WORDS, ("spectral", OWN)),  # a head on class tokens has no CAM
        (True, "test_efficientnet", ("cat", "c_07"), ("cam", OWN)),  # a code means nothing to CLIP
    ],
)
def test_clip_teaches_if_it_is_at_hand_else_cam_else_normalized_cuts(
    clip_here: Callable[[bool], None], here: bool, backbone: str, classes: Sequence[str], expected: tuple[str, str]
) -> None:
    clip_here(here)
    assert usual_source(SOURCES, method(backbone), OWN, classes) == expected


def test_the_clip_that_the_method_is_on_teaches_it(
    clip_here: Callable[[bool], None], tiny_clip: Callable[..., str]
) -> None:
    clip_here(False)
    name = tiny_clip("vit")
    assert usual_source(SOURCES, method(name, "fcam"), OWN, WORDS) == ("run", name)
    convolutional = tiny_clip("resnet")  # whose maps are not those of a transformer
    assert usual_source(SOURCES, method(convolutional, "fcam"), OWN, WORDS) == ("cam", OWN)


def test_a_classifier_that_is_named_gives_its_own_maps_or_a_map_is_taken_of_it(tmp_path: Path) -> None:
    learner = method("test_efficientnet")
    assert usual_source(SOURCES, learner, ZERO_SHOT, WORDS) == ("run", ZERO_SHOT)
    assert usual_source(SOURCES, learner, str(tmp_path), WORDS) == ("run", str(tmp_path))
    assert usual_source(SOURCES, learner, "resnet18", WORDS) == ("cam", "resnet18")


def test_other_methods_have_what_they_had(clip_here: Callable[[bool], None]) -> None:
    clip_here(True)
    assert usual_source(("cam",), method("test_efficientnet", "fcam"), OWN, WORDS) == ("cam", OWN)
    assert usual_source(("cam",), method("test_vit", "dips"), OWN, WORDS) == ("cam", OWN)  # refused later, by name
    assert usual_source(("attention", "spectral"), method("test_vit", "dips"), OWN, WORDS) == ("attention", OWN)
    assert usual_source(("attention", "spectral"), method("test_efficientnet", "dips"), OWN, WORDS)[0] == "spectral"
    with pytest.raises(ConfigError, match="no attention"):
        usual_source(("attention",), method("test_efficientnet", "dips"), OWN, WORDS)


def test_a_recipe_says_afterwards_what_was_taken(
    clip_here: Callable[[bool], None], tiny_clip: Callable[..., str]
) -> None:
    clip_here(False)
    learner, name = method("test_efficientnet"), tiny_clip("vit")

    def settled(**pseudo: Any) -> tuple[str, str]:
        chosen = settle(Recipe().override(method={"name": "tr_cam_v"}, pseudo=pseudo), learner, WORDS).pseudo
        return chosen.source, chosen.classifier

    assert settled() == ("cam", OWN)
    assert settled(classifier=name) == ("run", name)
    assert settled(source="spectral") == ("spectral", OWN)
    assert settled(source="layercam", classifier=name) == ("layercam", name)
