from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from boxless.backbones import open_clip_models as models
from boxless.backbones import weights as weight_sources
from boxless.errors import ConfigError, MissingExtraError, UnknownNameError, WeightsError

pytest.importorskip("open_clip")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources, "hub_answers", lambda: False)


def test_a_name_has_an_architecture_and_a_tag(tiny_clip: Callable[..., str]) -> None:
    assert models.parse("open_clip:ViT-B-16/openai") == ("ViT-B-16", "openai")
    assert models.parse("ViT-B-16") == ("ViT-B-16", None)
    folder = tiny_clip(weights=False)
    assert models.parse(folder) == (folder.removeprefix("open_clip:"), None)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("open_clip:ViT-B16/openai", UnknownNameError, "unknown architecture of open_clip 'ViT-B16'; .*'ViT-B-16'"),
        ("open_clip:", UnknownNameError, "unknown architecture of open_clip ''"),
        ("open_clip:ViT-B-16/opnai", ConfigError, "no weights 'opnai' of ViT-B-16; did you mean 'openai'"),
        ("open_clip:ViT-B-16/zzz", ConfigError, "no weights 'zzz' of ViT-B-16; known: openai, laion400m_e31"),
        ("open_clip:local-dir:/none", ConfigError, r"/none/open_clip_config\.json cannot be read"),
    ],
)
def test_a_name_that_says_no_model_is_refused_everywhere(name: str, error: type[Exception], message: str) -> None:
    for use in (models.parse, models.dimensions, models.preprocess, models.create):
        with pytest.raises(error, match=message):
            use(name)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_folder_with_another_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"open_clip_config\.json"):
        models.create(f"open_clip:local-dir:{tmp_path}", "random")


def test_images_and_width_are_known_without_the_model(tiny_clip: Callable[..., str]) -> None:
    assert models.dimensions("open_clip:ViT-B-16/openai") == 512
    assert models.dimensions("open_clip:EVA02-L-14/merged2b_s4b_b131k") == 768
    assert models.preprocess("open_clip:ViT-L-14-336/openai") == (336, MEAN, STD)
    assert models.preprocess("open_clip:ViT-B-16") == (224, MEAN, STD)
    assert models.preprocess("open_clip:ViT-B-16-SigLIP/webli") == (224, HALVES, HALVES)
    assert models.dimensions(tiny_clip()) == 24
    assert models.preprocess(tiny_clip()) == (32, MEAN, STD)


def test_a_folder_states_its_own_preprocessing(tmp_path: Path) -> None:
    config = {"embed_dim": 8, "vision_cfg": {"image_size": [48, 48]}, "text_cfg": {}}
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0, 0.5, 1], "std": [1, 2, 3]}}))
    assert models.preprocess(f"open_clip:local-dir:{tmp_path}") == (48, (0, 0.5, 1), (1, 2, 3))
    config["vision_cfg"] = {"image_size": [48, 64]}
    path.write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(ConfigError, match=r"images are of \[48, 64\] pixels"):
        models.preprocess(f"open_clip:local-dir:{tmp_path}")


def test_a_folder_gives_its_weights(tiny_clip: Callable[..., str]) -> None:
    from safetensors.torch import load_file

    name = tiny_clip()
    stored = load_file(Path(name.removeprefix("open_clip:local-dir:")) / "open_clip_model.safetensors")
    for source in ("auto", "hub"):
        found = models.create(name, source).state_dict()
        assert found.keys() == stored.keys()
        assert all(torch.equal(found[key], stored[key]) for key in stored)
    assert not torch.equal(models.create(name, "random").text_projection, stored["text_projection"])


def test_random_weights_are_the_same_each_time_and_leave_the_random_state_alone(tiny_clip: Callable[..., str]) -> None:
    name = tiny_clip(weights=False)
    torch.manual_seed(3)
    first = models.create(name, "random").state_dict()
    state = torch.get_rng_state()
    second = models.create(name, "random").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_handler_is_left_in_the_log(tiny_clip: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    models.create(tiny_clip(weights=False), "random")
    assert root.handlers == []


def test_the_activation_is_that_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    asked: dict[str, bool] = {}
    monkeypatch.setattr(
        open_clip, "create_model", lambda name, **options: asked.update({name: options["force_quick_gelu"]})
    )
    models.create("open_clip:ViT-B-16/openai", "random")
    models.create("open_clip:ViT-B-32/laion2b_s34b_b79k", "random")
    assert asked == {"ViT-B-16": True, "ViT-B-32": False}


def test_a_folder_without_weights_or_with_others_is_told(tiny_clip: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"could not be built and loaded .*needs open_clip_model\.safetensors"):
        models.create(tiny_clip(weights=False))
    config = json.loads((Path(tiny_clip().removeprefix("open_clip:local-dir:")) / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 16
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    stored = Path(tiny_clip().removeprefix("open_clip:local-dir:")) / "open_clip_model.safetensors"
    (tmp_path / stored.name).write_bytes(stored.read_bytes())
    with pytest.raises(WeightsError, match="that fits its configuration"):
        models.create(f"open_clip:local-dir:{tmp_path}")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["open_clip:ViT-B-16/openai", "open_clip:ViTamin-S/datacomp1b"])
def test_weights_out_of_reach_are_told_before_anything_is_built(name: str) -> None:
    for source in ("auto", "hub"):
        with pytest.raises(WeightsError, match=rf"{name}: its weights are on the hub \(.*\), which is out of reach"):
            models.create(name, source)


def test_weights_in_the_cache_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import open_clip

    asked: list[tuple[str, str]] = []

    def cached(repository: str, file: str) -> str | None:
        asked.append((repository, file))
        return "somewhere" if file.endswith(".bin") else None

    def never() -> bool:
        raise AssertionError

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(weight_sources, "hub_answers", never)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **options: options["pretrained"])
    assert models.create("open_clip:ViT-B-16/openai") == "openai"
    repository = "timm/vit_base_patch16_clip_224.openai"
    assert asked == [(repository, "open_clip_model.safetensors"), (repository, "open_clip_pytorch_model.bin")]


def test_a_name_without_a_tag_has_random_weights_only() -> None:
    with pytest.raises(ConfigError, match=r"no tag says which weights.*one of the tags openai, .*or random weights"):
        models.create("open_clip:ViT-B-16")


def test_other_sources_of_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="no installed package has its weights"):
        models.create("open_clip:ViT-B-16/openai", "package")
    with pytest.raises(ConfigError, match="unknown source 'huub'; known: auto, package, hub, random"):
        models.create("open_clip:ViT-B-16/openai", "huub")


def test_without_open_clip_the_command_that_installs_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"open_clip_torch; install it with: pip install 'boxless\[clip\]'"):
        models.parse("open_clip:ViT-B-16/openai")
