"""What CLIPSeg gives for classes is what transformers' own model gives for prompts, and what cannot be had is said."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.backbones import clipseg_models as models
from boxless.backbones import weights as weight_sources
from boxless.backbones.base import Backbone
from boxless.backbones.clipseg_backbone import ClipSegBackbone
from boxless.errors import ConfigError, DataError, MissingExtraError, UnknownNameError, WeightsError
from boxless.methods.clipseg import CLIPSeg
from boxless.text.classes import ClassTexts, class_texts
from boxless.text.clipseg_text import ClipSegText
from boxless.training.checkpoints import load_tensors, save_tensors
from boxless.types import Batch

transformers: Any = pytest.importorskip("transformers")

CLASSES, PLAIN, SIZE = ("cat", "dog", "a red fish"), ("{}",), 64
TOKENS = [*(f"{letter}{end}" for letter in f"{ascii_lowercase}." for end in ("", "</w>")), "ca", "cat</w>"]
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
START, END = len(TOKENS), len(TOKENS) + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny model of random weights, its tokenizer and its processor, as transformers does."""

    def write(**changes: Any) -> Path:
        place = tmp_path_factory.mktemp("clipseg")
        torch.manual_seed(3)
        transformers.CLIPSegForImageSegmentation(config(**changes)).save_pretrained(place)
        tokens = {token: number for number, token in enumerate([*TOKENS, *SPECIAL])}
        merges = [("c", "a"), ("ca", "t</w>")]
        transformers.CLIPTokenizer(vocab=tokens, merges=merges).save_pretrained(place)
        stated = {"size": {"height": 96, "width": 96}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
        (place / "preprocessor_config.json").write_text(json.dumps(stated))
        return place

    return write


@pytest.fixture(scope="module")
def place(folder: Callable[..., Path]) -> Path:
    return folder()


def config(**changes: Any) -> Any:
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = {"num_hidden_layers": 2, "vocab_size": END + 1, "max_position_embeddings": 12, "initializer_factor": 9.0}
    ends = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    vision = {"num_hidden_layers": 4, "image_size": 32, "patch_size": 16}
    decoder = {"reduce_dim": 8, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
    return transformers.CLIPSegConfig(
        **{
            "text_config": {**tower, **text, **ends},
            "vision_config": {**tower, **vision},
            "projection_dim": 6,
            "extract_layers": [0, 1, 3],
            **decoder,
            **changes,
        }
    )


def method_of(place: Path, templates: tuple[str, ...] = PLAIN) -> CLIPSeg:
    backbone = ClipSegBackbone(f"clipseg:{place}", image_size=SIZE)
    made = CLIPSeg(backbone, len(CLASSES)).eval()
    made.name_classes(texts_of(backbone, templates))
    return made.requires_grad_(requires_grad=False)


def texts_of(backbone: Backbone, templates: tuple[str, ...] = PLAIN) -> ClassTexts:
    return class_texts(backbone.text_tower(), CLASSES, templates=templates, note=lambda _: None)


def images(count: int = 2, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def reference(place: Path, shown: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Maps (b, n, h, w) and CLIP's scores (b, n) by transformers' own passes, an image and a prompt at a time."""
    whole = transformers.CLIPSegForImageSegmentation.from_pretrained(place).eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(place)(prompts, padding=True, return_tensors="pt")
    maps = [[whole(**row(tokens, n), pixel_values=image[None]).logits for n in range(len(prompts))] for image in shown]
    scores = whole.clip(**tokens, pixel_values=shown).logits_per_image
    return torch.stack([torch.stack([each.reshape(shown.shape[2:]) for each in of]) for of in maps]).sigmoid(), scores


def row(tokens: Any, number: int) -> dict[str, Tensor]:
    return {key: value[number : number + 1] for key, value in tokens.items()}


@pytest.mark.parametrize(
    "changes", [{}, {"use_complex_transposed_convolution": True}, {"conditional_layer": 1}], ids=str
)
def test_maps_and_scores_are_those_of_transformers(changes: dict[str, Any], folder: Callable[..., Path]) -> None:
    place = folder(**changes)
    method, shown = method_of(place), images()
    asked = torch.tensor([[0, 1, 2], [2, 0, 1]])
    said = method.localize(shown, asked)
    maps, scores = reference(place, shown, list(CLASSES))
    assert maps.std() > 0.05
    torch.testing.assert_close(said.maps[0], maps[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(said.maps[1], maps[1][asked[1]], atol=1e-5, rtol=0)
    torch.testing.assert_close(said.logits, scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(method.scores(shown), said.logits)
    assert (said.maps[0, 0] - said.maps[0, 1]).abs().max() > 0.01  # what the text says changes the map


def test_without_a_class_the_predicted_one_is_shown(place: Path) -> None:
    method, shown = method_of(place), images(5)
    said = method.localize(shown)
    assert torch.equal(said.classes, said.logits.argmax(1, keepdim=True))
    torch.testing.assert_close(said.maps, method.localize(shown, said.classes).maps)
    assert said.maps.shape == (5, 1, SIZE, SIZE)


def test_a_class_asked_twice_gives_a_map_twice_and_batch_mates_change_nothing(place: Path) -> None:
    method, shown = method_of(place), images(3)
    asked = torch.tensor([[1, 1], [0, 2], [2, 2]])
    said = method.localize(shown, asked)
    torch.testing.assert_close(said.maps[0, 0], said.maps[0, 1])
    for number in range(3):
        alone = method.localize(shown[number : number + 1], asked[number : number + 1])
        torch.testing.assert_close(alone.maps[0], said.maps[number], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.logits[0], said.logits[number], atol=1e-5, rtol=0)


def test_several_prompts_are_their_mean_direction_at_their_mean_length(place: Path) -> None:
    method = method_of(place, ("a {}.", "{}"))
    raw = torch.stack([ClipSegText(f"clipseg:{place}").raw([f"a {name}.", name]) for name in CLASSES])
    lengths = raw.norm(dim=2)
    directions = (raw / lengths[..., None]).mean(1)
    expected = directions / directions.norm(dim=1, keepdim=True) * lengths.mean(1, keepdim=True)
    torch.testing.assert_close(method.texts, expected)
    assert (lengths - 1).abs().min() > 0.1


def test_images_that_are_not_square_keep_their_place(place: Path) -> None:
    """A square decoder would make 4 x 4 of 2 x 8 patches: so the image is turned, and the map must turn with it."""
    backbone = ClipSegBackbone(f"clipseg:{place}", image_size=SIZE)
    with torch.no_grad():
        backbone.vision.embeddings.position_embedding.weight[1:] = 0  # else a turned image is another one
        for convolution in (backbone.vision.embeddings.patch_embedding, backbone.decoder.transposed_convolution):
            convolution.weight.copy_((convolution.weight + convolution.weight.mT) / 2)
        lying, condition = images(1, 32, 128), torch.randn(1, 2, 6)
        maps = backbone.decode(backbone.encode(lying), condition)
        turned = backbone.decode(backbone.encode(lying.mT), condition)
    assert maps.shape == (1, 2, 32, 128)
    torch.testing.assert_close(turned.mT, maps, atol=1e-5, rtol=1e-4)
    assert maps.std() > 0.01


def test_sizes_that_patches_do_not_divide_are_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match="multiples"):
        ClipSegBackbone(f"clipseg:{place}", image_size=72)
    with pytest.raises(ConfigError, match="64 x 40 pixels: its patches are of 16"):
        ClipSegBackbone(f"clipseg:{place}", image_size=64)(images(1, 64, 40))


def test_blocks_are_stages_with_grids_and_a_class_token(place: Path) -> None:
    backbone = ClipSegBackbone(f"clipseg:{place}", image_size=SIZE).eval()
    whole = transformers.CLIPSegForImageSegmentation.from_pretrained(place).eval()
    with torch.no_grad():
        blocks = whole.clip.vision_model(images(), output_hidden_states=True).hidden_states[1:]
        assert backbone.tap(0, -1)[1].channels == 16
        backbone.tap_tokens(2)
        found = backbone(images())
    for grid, block in zip(found.grids, (blocks[0], blocks[3]), strict=True):
        torch.testing.assert_close(grid.flatten(2).mT, block[:, 1:])
    assert found.prefix is not None
    torch.testing.assert_close(found.prefix[:, 0, 0], blocks[2][:, 0])
    assert (backbone.stages[0].stride, backbone.grid(32, 96)) == (16, (2, 6))


def test_the_state_round_trips_without_a_text_tower(place: Path, tmp_path: Path) -> None:
    method, shown = method_of(place), images()
    state = method.state_dict()
    assert not [name for name in state if "text_model" in name or "text_projection" in name]
    save_tensors(tmp_path / "weights.safetensors", state)
    again = CLIPSeg(ClipSegBackbone(f"clipseg:{place}", weights="random", image_size=SIZE), len(CLASSES)).eval()
    assert not torch.equal(again.scores(shown), method.scores(shown))
    again.load_state_dict(load_tensors(tmp_path / "weights.safetensors"))
    asked = torch.tensor([[0, 2], [1, 0]])
    assert torch.equal(again.localize(shown, asked).maps, method.localize(shown, asked).maps)


def test_random_weights_are_one_model_and_leave_the_random_state(place: Path) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    backbone = ClipSegBackbone(f"clipseg:{place}", weights="random", image_size=SIZE)
    tower = backbone.text_tower()
    assert torch.equal(torch.get_rng_state(), before)
    whole = models.create(f"clipseg:{place}", "random")
    tokens = models.tokenizer(f"clipseg:{place}")(["cat"], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(tower.raw(["cat"]), whole.clip.get_text_features(**tokens).pooler_output)
    assert torch.equal(whole.decoder.film_mul.weight, backbone.decoder.film_mul.weight)


def test_images_are_prepared_as_the_processor_says(place: Path, folder: Callable[..., Path]) -> None:
    backbone = ClipSegBackbone(f"clipseg:{place}")
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert models.preprocess(f"clipseg:{place}")[0] == 96
    assert models.preprocess("clipseg:CIDAS/clipseg-rd64-refined") == (352, models.MEAN, models.STD)
    other = folder()
    (other / "preprocessor_config.json").unlink()
    processor = {"image_processor": {"size": 48, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}}
    (other / "processor_config.json").write_text(json.dumps(processor))
    assert models.preprocess(f"clipseg:{other}") == (48, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_the_published_models_have_the_configurations_that_their_weights_fit() -> None:
    made = [models._config(name) for name in models.HUB]
    for given in made:
        assert (given.vision_config.patch_size, given.vision_config.hidden_size, given.projection_dim) == (16, 768, 512)
        assert (given.vision_config.image_size, given.text_config.vocab_size) == (224, 49408)
    shapes = [(each.reduce_dim, each.use_complex_transposed_convolution) for each in made]
    assert shapes == [(64, True), (64, False), (16, False)]


def test_weights_out_of_reach_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources, "hub_answers", lambda *_: False)
    for weights in ("auto", "hub"):
        with pytest.raises(WeightsError, match=r"out of reach.*clipseg:FOLDER"):
            ClipSegBackbone("clipseg:CIDAS/clipseg-rd16", weights=weights)
    with pytest.raises(WeightsError, match="no installed package"):
        ClipSegBackbone("clipseg:CIDAS/clipseg-rd16", weights="package")
    with pytest.raises(ConfigError, match="unknown source 'none'"):
        ClipSegBackbone("clipseg:CIDAS/clipseg-rd16", weights="none")


def test_folders_that_lack_something_are_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'CIDAS/clipseg-rd64'"):
        ClipSegBackbone("clipseg:CIDAS/clipseg-rd65")
    with pytest.raises(ConfigError, match=r"no config\.json of a CLIPSeg model"):
        ClipSegBackbone(f"clipseg:{tmp_path}")
    place = folder()
    (place / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="tokenizer's files are not there"):
        ClipSegText(f"clipseg:{place}")
    (place / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="could not be loaded"):
        ClipSegBackbone(f"clipseg:{place}", image_size=SIZE)
    save_tensors(place / "model.safetensors", {"clip.logit_scale": torch.tensor(2.0)})
    with pytest.raises(WeightsError, match="its weights lack"):
        ClipSegBackbone(f"clipseg:{place}", image_size=SIZE)


def test_a_prompt_that_is_too_long_is_named(place: Path) -> None:
    tower = ClipSegText(f"clipseg:{place}")
    assert tower(["abcdefghij"]).norm() == pytest.approx(1)
    with pytest.raises(DataError, match="prompt 'abcdefghijk': it has 13 tokens"):
        tower(["cat", "abcdefghijk"])
    assert tower([]).shape == (0, 6)


def test_prompts_in_several_passes_are_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = ClipSegText(f"clipseg:{place}")
    words = ["cat", "dogs", "a fish"]
    whole = tower.raw(words)
    monkeypatch.setattr("boxless.text.clipseg_text.CHUNK", 2)
    torch.testing.assert_close(tower.raw(words), whole)


def test_what_does_not_fit_is_refused(place: Path, pyramid: Callable[..., Backbone]) -> None:
    with pytest.raises(ConfigError, match="clipseg:CIDAS/clipseg-rd64-refined"):
        CLIPSeg(pyramid(), 2)
    method = method_of(place)
    with pytest.raises(ConfigError, match="learns nothing"):
        method.losses(Batch(images(), torch.zeros(2), torch.zeros(2, 3), torch.zeros(2)), 0.0)
    texts = texts_of(method.backbone)
    with pytest.raises(ConfigError, match="no length of their own"):
        method.name_classes(replace(texts, lengths=None))
    with pytest.raises(ConfigError, match=r"have 5 dimensions; the decoder .* takes 6"):
        method.name_classes(replace(texts, embeddings=texts.embeddings[:, :5]))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=r"boxless\[clipseg\]"):
        ClipSegBackbone("clipseg:CIDAS/clipseg-rd16", weights="random")
