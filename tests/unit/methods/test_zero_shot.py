"""What CLIP localizes untrained: the authors' numbers (tests/golden/make_clip_golden.py), and rules worked by hand."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.open_clip_backbone import OpenClipBackbone
from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods.clip import CLIP
from boxless.methods.clip_es import BACKGROUND, CLIPES, filled, relation
from boxless.methods.naclip import NACLIP, neighbourhood
from boxless.methods.sclip import SCLIP
from boxless.methods.zero_shot import similarity, slide, starts
from boxless.ops.maps import normalize, resize
from boxless.ops.pamr import pamr
from boxless.text.classes import ClassTexts
from boxless.types import Batch

GOLDEN = Path(__file__).parents[2] / "golden"
CLASSES = 5
CLOSE = {"atol": 1e-4, "rtol": 0.0}  # the most seen is 4e-5, of CLIP-ES' refined maps; else 7e-6
LIKE = {"atol": 2e-6, "rtol": 0.0}  # of cosines, before they are brought to [0, 1]

pytest.importorskip("open_clip")

changed_blocks = pytest.mark.parametrize("kind", [SCLIP, NACLIP, CLIPES])
each = pytest.mark.parametrize("kind", [CLIP, SCLIP, NACLIP, CLIPES])
sizes = pytest.mark.parametrize("name", ["square", "wide"])


def load_cases() -> Any:
    specification = importlib.util.spec_from_file_location("clip_cases", GOLDEN / "clip_cases.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


cases = load_cases()


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "clip_maps.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def case(tiny_clip: Callable[..., str]) -> Callable[[str], tuple[OpenClipBackbone, Tensor]]:
    """CLIP with the weights of clip_cases, and images, by the name of their shape."""
    vision = {
        "image_size": cases.SIDE,
        "layers": cases.LAYERS,
        "width": cases.WIDTH,
        "head_width": cases.WIDTH // cases.HEADS,
        "patch_size": cases.PATCH,
    }
    name = tiny_clip(weights=False, vision=vision, embed_dim=cases.DIMENSIONS, quick_gelu=True)
    built: dict[str, OpenClipBackbone] = {}

    def build(shape: str) -> tuple[OpenClipBackbone, Tensor]:
        if shape not in built:
            backbone = OpenClipBackbone(name, weights="random", image_size=cases.SIDE)
            backbone.model.visual.load_state_dict(cases.image_tower(flat=shape != "square"))
            backbone.model.log_scale.fill_(math.log(cases.SCALE))
            built[shape] = backbone.eval()
        return built[shape], cases.images({"square": cases.SQUARE, "wide": cases.WIDE, "large": cases.LARGE}[shape])

    return build


def named(method: Any) -> Any:
    """The method, told of the texts of clip_cases."""
    classes, background = cases.texts()
    words = tuple((f"class {index}",) for index in range(cases.CLASSES))
    method.name_classes(ClassTexts(classes, words, lambda words: background))
    return method


def five(images: Tensor) -> Tensor:
    return torch.arange(5).expand(len(images), 5)


def pixels(maps: Tensor) -> Tensor:
    return maps[..., cases.EVERY // 2 :: cases.EVERY, cases.EVERY // 2 :: cases.EVERY]


# The authors' numbers


@sizes
@torch.no_grad()
def test_clip_compares_patches_as_the_original_does(case: Any, said: Any, name: str) -> None:
    backbone, images = case(name)
    method, expected = named(CLIP(backbone, cases.CLASSES)), torch.tensor(said["sclip"][name]["clip_maps"])
    torch.testing.assert_close(similarity(method.embeddings(images)[1], method.texts[five(images)]), expected, **LIKE)
    found = method.localize(images, five(images))
    torch.testing.assert_close(found.maps, normalize(expected), **CLOSE)
    torch.testing.assert_close(found.logits, torch.tensor(said["sclip"][name]["clip_scores"]), **CLOSE)


@sizes
@torch.no_grad()
def test_sclip_is_as_its_authors_code(case: Any, said: Any, name: str) -> None:
    backbone, images = case(name)
    method, expected = named(SCLIP(backbone, cases.CLASSES)), torch.tensor(said["sclip"][name]["maps"])
    torch.testing.assert_close(similarity(method.embeddings(images)[1], method.texts[five(images)]), expected, **LIKE)
    found = method.localize(images, five(images))
    torch.testing.assert_close(found.maps, normalize(expected), **CLOSE)
    torch.testing.assert_close(found.logits, torch.tensor(said["sclip"][name]["clip_scores"]), **CLOSE)


@sizes
@torch.no_grad()
def test_naclip_is_as_its_authors_code(case: Any, said: Any, name: str) -> None:
    backbone, images = case(name)
    method, expected = named(NACLIP(backbone, cases.CLASSES)), said["naclip"][name]
    maps = similarity(method.embeddings(images)[1], method.texts[five(images)])
    large = resize(maps, images.shape[2:])
    torch.testing.assert_close(pixels(large), torch.tensor(expected["maps"]), **LIKE)
    refined = pamr(images, large)
    torch.testing.assert_close(pixels(refined), torch.tensor(expected["refined"]), **LIKE)
    torch.testing.assert_close(method.localize(images, five(images)).maps, normalize(refined), **LIKE)
    method = named(NACLIP(backbone, cases.CLASSES, refine=0))
    torch.testing.assert_close(method.localize(images, five(images)).maps, normalize(maps), **LIKE)


@sizes
@torch.no_grad()
def test_classes_may_be_scored_by_the_changed_network(case: Any, said: Any, name: str) -> None:
    backbone, images = case(name)
    for kind, peer in ((SCLIP, "sclip"), (NACLIP, "naclip")):
        expected = torch.tensor(said[peer][name]["scores"])
        torch.testing.assert_close(
            named(kind(backbone, cases.CLASSES, scored="changed")).scores(images), expected, **CLOSE
        )


@torch.no_grad()
def test_windows_slide_as_in_the_authors_code(case: Any, said: Any) -> None:
    backbone, images = case("large")
    method = named(NACLIP(backbone, cases.CLASSES, window=cases.WINDOW, refine=0))
    maps = slide(images, cases.WINDOW, lambda part: similarity(method.embeddings(part)[1], method.texts[five(images)]))
    torch.testing.assert_close(pixels(maps), torch.tensor(said["naclip"]["windows"]), **LIKE)
    torch.testing.assert_close(method.localize(images, five(images)).maps, normalize(maps), **LIKE)


def test_refinement_by_colours_is_as_in_the_authors_code(said: Any) -> None:
    refined = pamr(cases.images(cases.LARGE), cases.masks(cases.LARGE), steps=10, dilations=(8, 16))
    torch.testing.assert_close(pixels(refined), torch.tensor(said["naclip"]["pamr"]), atol=5e-6, rtol=0)


@sizes
@pytest.mark.parametrize("image", [0, 1])
def test_clip_es_is_as_its_authors_code(case: Any, said: Any, name: str, image: int) -> None:
    backbone, images = case(name)
    asked = torch.tensor([cases.LABELS[image]])
    rows = slice(0, 1) if image == 0 else slice(1, 3)
    for refine, key in ((False, "cams"), (True, "maps")):
        method = named(CLIPES(backbone, cases.CLASSES, refine=refine))
        found = method.localize(images[image : image + 1], asked)
        torch.testing.assert_close(found.maps[0], torch.tensor(said["clip_es"][name][key])[rows], **CLOSE)
        expected = torch.tensor(said["sclip"][name]["clip_scores"])[image]
        torch.testing.assert_close(found.logits[0], expected, **CLOSE)


# Rules worked by hand


def test_a_neighbourhood_is_a_gaussian_of_the_distance_between_patches() -> None:
    near = neighbourhood((2, 3), 2.0)
    assert near.shape == (6, 6)
    assert near[0].tolist() == pytest.approx([math.exp(-d / 8) for d in (0, 1, 4, 1, 2, 5)])
    assert torch.equal(near, near.T)


def test_a_relation_is_attention_balanced_made_symmetric_and_squared() -> None:
    balanced = torch.tensor([[[0.75, 0.25], [0.25, 0.75]]])
    torch.testing.assert_close(relation(3 * balanced), torch.tensor([[[0.625, 0.375], [0.375, 0.625]]]))
    # Of two patches the balanced matrix is [[p, 1 - p], [1 - p, p]] with p / (1 - p) the root of ad / bc: here 2.
    found = relation(torch.tensor([[[4.0, 2.0], [0.5, 1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[5 / 9, 4 / 9], [4 / 9, 5 / 9]]]), atol=2e-3, rtol=0)


def test_a_relation_is_taken_of_each_image_apart() -> None:
    both = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(relation(both)[1:], relation(both[1:]))


def test_boxes_are_filled_but_for_the_last_row_and_column() -> None:
    cam = torch.zeros(5, 6)
    cam[0, 1] = cam[1, 2] = 1.0  # one component, for corners touch: its box is 2 x 2
    cam[3, 4:] = 0.5  # reaches the last column, which is cut
    cam[4, 0] = 0.9  # in the last row alone
    cam[2, 5] = 0.39
    expected = torch.zeros(5, 6)
    expected[0:2, 1:3] = 1
    expected[3, 4] = 1
    assert torch.equal(filled(cam, 0.4), expected)
    assert not filled(torch.zeros(5, 6), 0.4).any()


def test_a_box_in_the_last_row_is_filled_if_there_is_no_other() -> None:
    cam = torch.zeros(4, 4)
    cam[3, 1:3] = 1
    assert torch.equal(filled(cam, 0.4), cam)


def test_windows_begin_half_a_side_on_and_the_last_ends_with_the_image() -> None:
    assert tuple(starts(224, 224)) == (0,)
    assert tuple(starts(100, 224)) == (0,)
    assert tuple(starts(336, 224)) == (0, 112)
    assert tuple(starts(340, 224)) == (0, 112, 116)


def test_windows_are_averaged_where_they_overlap() -> None:
    numbers = iter((1.0, 2.0, 4.0))
    maps = slide(torch.zeros(2, 3, 4, 8), 4, lambda part: torch.full((2, 1, 2, 2), next(numbers)))
    assert maps.shape == (2, 1, 4, 8)
    assert maps[1, 0, 3].tolist() == [1, 1, 1.5, 1.5, 3, 3, 4, 4]


# What holds for each


def tiny(name: Callable[..., str], kind: type[Any], model: str = "vit", **settings: Any) -> tuple[Any, Tensor]:
    """A method of a tiny CLIP that was told of random names, and images that are not square."""
    draws = torch.Generator().manual_seed(8)
    backbone = OpenClipBackbone(name(model), image_size=64)
    method = kind(backbone, CLASSES, **settings).eval()
    method.name_classes(told(backbone.text_dimensions, draws))
    return method, torch.randn(3, 3, 40, 70, generator=torch.Generator().manual_seed(9))


def told(dimensions: int, draws: torch.Generator, names: Sequence[str] = "abcde") -> ClassTexts:
    def embed(words: Sequence[str]) -> Tensor:
        return torch.stack([F.normalize(word_vector(word, dimensions), dim=0) for word in words])

    classes = F.normalize(torch.randn(len(names), dimensions, generator=draws), dim=1)
    return ClassTexts(classes, tuple((each, f"{each} again") for each in names), embed)


def word_vector(word: str, dimensions: int) -> Tensor:
    """The same for a word whatever others there are."""
    return torch.randn(dimensions, generator=torch.Generator().manual_seed(sum(map(ord, word))))


@each
@pytest.mark.parametrize("model", ["vit", "eva", "siglip"])
def test_images_of_any_shape_give_a_map_for_each_class_asked_for(
    tiny_clip: Callable[..., str], kind: type[Any], model: str
) -> None:
    method, images = tiny(tiny_clip, kind, model)
    asked = torch.tensor([[0, 3], [1, 1], [4, 2]])
    with torch.inference_mode():
        found = method.localize(images, asked)
        again, alone = method.localize(images, asked), method.localize(images[2:], asked[2:])
    assert found.logits.shape == (3, CLASSES)
    assert found.maps.shape[:2] == (3, 2)
    assert found.maps.shape[2] < found.maps.shape[3]
    assert found.maps.dtype == torch.float32
    assert torch.equal(found.maps, again.maps)
    assert torch.equal(found.maps.amin((2, 3)), torch.zeros(3, 2))
    assert torch.equal(found.maps.amax((2, 3)), torch.ones(3, 2))
    assert torch.equal(found.maps[1, 0], found.maps[1, 1])
    assert (found.maps[0, 0] - found.maps[0, 1]).abs().max() > 0.1
    torch.testing.assert_close(alone.maps, found.maps[2:], **CLOSE)
    torch.testing.assert_close(alone.logits, found.logits[2:], **CLOSE)
    torch.testing.assert_close(method.scores(images), found.logits, **CLOSE)


@each
def test_the_class_is_given_or_predicted(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    method, images = tiny(tiny_clip, kind)
    predicted = method.localize(images)
    assert torch.equal(predicted.classes, predicted.logits.argmax(1, keepdim=True))
    given = method.localize(images, predicted.classes)
    torch.testing.assert_close(given.maps, predicted.maps)
    other = method.localize(images, (predicted.classes + 1) % CLASSES)
    assert not torch.allclose(other.maps, predicted.maps, atol=0.05)
    torch.testing.assert_close(other.logits, predicted.logits)


@each
def test_a_run_that_is_opened_need_not_be_told_again(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    method, images = tiny(tiny_clip, kind)
    fresh = kind(OpenClipBackbone(tiny_clip(), image_size=64), CLASSES).eval()
    assert not torch.allclose(fresh.scores(images), method.scores(images))
    fresh.load_state_dict(method.state_dict())
    with torch.no_grad():
        found, expected = fresh.localize(images), method.localize(images)
    assert torch.equal(found.maps, expected.maps)
    assert torch.equal(found.logits, expected.logits)


@each
def test_nothing_is_left_behind(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    method, images = tiny(tiny_clip, kind)
    before, random = images.clone(), torch.get_rng_state()
    found = method.localize(images)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(parameter.requires_grad for parameter in method.parameters())
    if kind is CLIPES:
        assert not found.maps.requires_grad
    with torch.inference_mode():
        method.localize(images)
    with torch.no_grad():
        torch.testing.assert_close(method.localize(images).maps, found.maps)


@each
def test_it_learns_nothing(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    method, images = tiny(tiny_clip, kind)
    batch = Batch(images, torch.zeros(3, dtype=torch.long), torch.zeros(3, CLASSES), torch.arange(3))
    with pytest.raises(ConfigError, match=f"{kind.__name__} localizes as it is built"):
        method.losses(batch, 0.0)
    assert not kind.needs.trains


@each
def test_a_network_without_texts_is_refused(kind: type[Any]) -> None:
    with pytest.raises(ConfigError, match=r"test_vit is no image tower of CLIP; fitting: .*open_clip"):
        kind(TimmBackbone("test_vit", weights="random", image_size=64), CLASSES)


@changed_blocks
def test_a_convolutional_network_is_refused_where_blocks_are_changed(
    tiny_clip: Callable[..., str], kind: type[Any]
) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__} works on the patch tokens of a CLIP transformer"):
        kind(OpenClipBackbone(tiny_clip("resnet"), image_size=64), CLASSES)


@each
def test_texts_of_another_width_are_refused(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    method = kind(OpenClipBackbone(tiny_clip(), image_size=64), CLASSES)
    with pytest.raises(ConfigError, match="got 5 embeddings of 7 dimensions; expected 5 of 24"):
        method.name_classes(told(7, torch.Generator()))


# CLIP, SCLIP and NACLIP


@pytest.mark.parametrize("model", ["resnet", "convnext"])
def test_clip_reads_convolutional_networks_cell_by_cell(tiny_clip: Callable[..., str], model: str) -> None:
    method, _ = tiny(tiny_clip, CLIP, model)
    images = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, (image, cells) = method.localize(images), method.backbone.embeddings(images)
    expected = F.cosine_similarity(cells, method.texts[found.classes[:, 0]][:, :, None, None])
    torch.testing.assert_close(found.maps[:, 0], normalize(expected))
    torch.testing.assert_close(found.logits, method.factor * F.normalize(image) @ method.texts.T)


@pytest.mark.parametrize("kind", [CLIP, SCLIP, NACLIP])
def test_windows_and_refinement_give_maps_of_the_images_size(tiny_clip: Callable[..., str], kind: type[Any]) -> None:
    whole, images = tiny(tiny_clip, kind, refine=0)
    whole, wide, refined = (
        tiny(tiny_clip, kind, **settings)[0].localize(images).maps
        for settings in ({"refine": 0, "window": 70}, {"refine": 0, "window": 32}, {"refine": 2})
    )
    assert whole.shape[2:] == (5, 9)  # patches of 8 pixels; a window as large as the image changes nothing
    assert wide.shape[2:] == refined.shape[2:] == (40, 70)


def test_without_its_changes_naclip_is_clip_with_keys_alone(tiny_clip: Callable[..., str]) -> None:
    narrow, images = tiny(tiny_clip, NACLIP, refine=0, std=1e-3, reduced=False)
    tower = narrow.tower
    with torch.no_grad():
        x, grid = tower.tokens(images)
        for index in range(tower.depth - 1):
            x = tower.block(index, x, grid)
        last = tower.depth - 1
        _, k, v = tower.qkv(last, tower.normed(last, x), grid)
        near = torch.diag(torch.ones(k.shape[2]))  # of so narrow a Gaussian each patch alone is left
        near[0, 0] = 0
        attended = tower.mixed(last, (k @ k.mT / 4 + near).softmax(-1), v)  # heads are 16 wide
        expected = tower.embed(tower.mlp(last, tower.residual(last, x, attended)))[:, 1:]
        found = narrow.embeddings(images)[1]
    torch.testing.assert_close(found.flatten(2).mT, expected, atol=1e-5, rtol=0)


# CLIP-ES


def test_words_that_are_names_of_classes_are_no_background(tiny_clip: Callable[..., str]) -> None:
    words = ("sky", "Water", " tree", "road")
    maps = {}
    for names, background in (("abcde", words), (("a", "water", "b", "c", "tree"), words), ("abcde", ("sky", "road"))):
        method, images = tiny(tiny_clip, CLIPES, background=background)
        method.name_classes(told(24, torch.Generator().manual_seed(8), names))
        maps[names[1], len(background)] = method.localize(images, torch.tensor([[0], [1], [2]])).maps
    torch.testing.assert_close(maps["water", 4], maps["b", 2])
    assert not torch.allclose(maps["water", 4], maps["b", 4], atol=1e-3)


def test_a_background_of_classes_alone_is_refused(tiny_clip: Callable[..., str]) -> None:
    method = CLIPES(OpenClipBackbone(tiny_clip(), image_size=64), CLASSES, background=("a", "b again"))
    with pytest.raises(ConfigError, match="each of a, b again is the name of a class"):
        method.name_classes(told(24, torch.Generator()))


def test_background_is_that_of_the_authors() -> None:
    assert len(BACKGROUND) == len(set(BACKGROUND)) == 25


def test_classes_asked_for_together_compete_and_one_asked_for_twice_counts_once(tiny_clip: Callable[..., str]) -> None:
    method, images = tiny(tiny_clip, CLIPES, refine=False)
    likely = method.scores(images).topk(2).indices
    alone = method.localize(images, likely[:, 1:]).maps
    together = method.localize(images, likely).maps
    twice = method.localize(images, likely.repeat(1, 2)).maps
    assert not torch.allclose(alone[:, 0], together[:, 1], atol=1e-3)
    torch.testing.assert_close(twice, together.repeat(1, 2, 1, 1))


def test_a_class_that_is_very_unlikely_has_a_map_too(tiny_clip: Callable[..., str]) -> None:
    method, images = tiny(tiny_clip, CLIPES, refine=False)
    warm = method.localize(images).maps
    method.backbone.model.log_scale.fill_(math.log(2000.0))  # its score is 0 in single precision
    least = method.scores(images).argmin(1, keepdim=True)
    found = method.localize(images, least).maps
    assert torch.equal(found.amax((2, 3)), torch.ones(3, 1))
    assert not torch.allclose(found, warm, atol=0.05)


def test_the_threshold_the_layers_and_the_refinement_change_the_map(tiny_clip: Callable[..., str]) -> None:
    settings: tuple[dict[str, Any], ...] = ({}, {"refine": False}, {"layers": 1}, {"box_threshold": 0.9})
    maps = [tiny(tiny_clip, CLIPES, **each)[0].localize(tiny(tiny_clip, CLIPES)[1]).maps for each in settings]
    for changed in maps[1:]:
        assert not torch.allclose(changed, maps[0], atol=1e-3)
    torch.testing.assert_close(tiny(tiny_clip, CLIPES, layers=99)[0].localize(tiny(tiny_clip, CLIPES)[1]).maps, maps[0])


def test_its_prompts_are_those_of_its_authors() -> None:
    assert CLIPES.needs.templates == "origami"
    assert {kind.needs.templates for kind in (CLIP, SCLIP, NACLIP)} == {"imagenet"}
