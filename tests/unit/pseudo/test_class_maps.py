"""Boxes and pseudo-labels from the maps that a classifier gives of the class itself: a run's, or CLIP's of its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import boxless
from boxless.backbones import open_clip_models
from boxless.backbones.build import build_backbone
from boxless.data.catalog import read_catalog
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, UnknownNameError, WeightsError
from boxless.maps import DEFAULT_MAP
from boxless.methods import DEFAULT_ZERO_SHOT, METHODS
from boxless.methods.base import Scores
from boxless.methods.head import GridClassifier
from boxless.pseudo.annotators import ClassMaps, Material, make_annotator
from boxless.pseudo.labels import made_from
from boxless.pseudo.material import open_material
from boxless.pseudo.teacher import ZERO_SHOT, Teacher, check_teacher, open_teacher
from boxless.recipe import Text
from boxless.text.classes import class_texts
from boxless.types import Localization

NAMES = ("blue", "green", "red")
PREPARED = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CPU = torch.device("cpu")


@dataclass
class Known:
    """A method whose maps and scores are known by hand: it gives the map of each class asked for."""

    maps: Tensor  # (b, k, h, w)
    logits: Tensor

    def localize(self, images: Tensor, classes: Tensor) -> Localization:
        rows = torch.arange(len(images))[:, None]
        return Localization(self.logits, self.maps[rows, classes], classes)


def material(maps: Tensor, logits: Tensor) -> Material:
    known: Any = Known(maps, logits)
    return Material(nn.Module(), Teacher(nn.Identity(), lambda images: images, known), maps.shape[1])  # type: ignore[arg-type]


def test_the_box_is_of_the_largest_region_above_otsus_threshold() -> None:
    maps = torch.zeros(3, 2, 8, 8)
    maps[0, 1, 1:3, 1:4] = 0.9  # 6 cells, and by their corner
    maps[0, 1, 3:5, 4:5] = 0.8  # 2 more: one region, since diagonals count
    maps[0, 1, 6, 0:6] = 1.0  # 6 cells
    maps[0, 0, :, 7] = 1.0  # of the other class
    maps[1, 0, 5:7, 2:8] = 0.7
    maps[1, 0, 0:5, 0:7] = torch.linspace(0, 0.2, 35).view(5, 7)  # background that is not black
    logits = torch.tensor([[1.0, 3.0], [2.0, 2.0], [0.0, 9.0]])
    found = ClassMaps()(torch.zeros(3, 3, 8, 8), torch.tensor([1, 0, 1]), material(maps, logits))
    assert found.boxes[:, 0].tolist() == [[1, 1, 5, 5], [2, 5, 8, 7], [0, 0, 0, 0]]
    assert found.valid[:, 0].tolist() == [True, True, False]  # the third map is flat
    expected = [torch.tensor(2.0).sigmoid().item(), 0.5, 0.0]
    assert found.scores[:, 0].tolist() == pytest.approx(expected)
    assert found.grid == (8, 8)
    torch.testing.assert_close(found.activations[0, 0].float(), maps[0, 1], atol=1e-3, rtol=0)
    assert ClassMaps().settings.top_k == found.boxes.shape[1] == 1


def test_a_coarse_map_is_cut_at_the_size_of_the_images() -> None:
    maps = torch.zeros(1, 1, 2, 2)
    maps[0, 0, 0, 1] = 1.0
    found = ClassMaps()(torch.zeros(1, 3, 32, 64), torch.tensor([0]), material(maps, torch.zeros(1, 1)))
    x0, y0, x1, y1 = found.boxes[0, 0].tolist()
    assert (y0, x1) == (0, 64)
    assert 24 < x0 < 40  # between the middles of two cells, where the map is linear
    assert 12 < y1 < 20
    assert found.grid == (32, 64)
    assert ClassMaps().maps(torch.zeros(1, 3, 4, 4), torch.tensor([0]), material(maps, torch.zeros(1, 1))).equal(maps)


def test_a_classifier_that_localizes_nothing_itself_is_asked_for_a_map_of_its_grid() -> None:
    network = GridClassifier(lambda images: images[:, :, ::4, ::4], (), nn.Linear(3, 2))
    with torch.no_grad():
        network.fc.weight.copy_(torch.tensor([[0.0, 0, 1], [2, 0, 0]]))
        network.fc.bias.zero_()
    pixels = torch.zeros(2, 3, 32, 32)
    pixels[0, 0, 8:16, 4:24] = 1.0  # what the second class goes by
    pixels[1, 2, :, 28:] = 1.0
    plain = Material(nn.Module(), Teacher(network, lambda images: images), 2)  # type: ignore[arg-type]
    found = ClassMaps()(pixels, torch.tensor([1, 1]), plain)
    assert found.valid[:, 0].tolist() == [True, False]
    x0, y0, x1, y1 = found.boxes[0, 0].tolist()
    assert (4 <= x0 <= 8, 20 <= x1 <= 28, 4 <= y0 <= 10, 14 <= y1 <= 20) == (True,) * 4
    assert found.scores[0, 0].item() == pytest.approx(torch.tensor(2 * 10 / 64).sigmoid().item())
    assert ClassMaps().made_from(plain)["maps"] == DEFAULT_MAP
    with pytest.raises(ConfigError, match=r"pseudo\.top_k: there is no such setting"):
        make_annotator("clip", {"top_k": 2})


def test_maps_of_two_methods_with_the_same_weights_are_kept_apart() -> None:
    known: Any = Known(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1))
    one, other = (Teacher(nn.Identity(), lambda images: images, known, {"name": each}) for each in ("one", "other"))
    assert made_from("boxes", "run", {}, one) != made_from("boxes", "run", {}, other)
    assert made_from("boxes", "spectral", {}, one) == made_from("boxes", "spectral", {}, other)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images of 48 x 32 pixels of each class."""
    random = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            pixels = random.integers(0, 60, (32, 48, 3)).astype(np.uint8)
            pixels[8:24, 10:30, 2 - NAMES.index(name)] += 150
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_a_clip_model_is_a_teacher_told_the_names_of_classes(tiny_clip: Callable[..., str], tmp_path: Path) -> None:
    name = tiny_clip()
    teacher = open_teacher(name, NAMES, PREPARED, CPU)
    side, backbone = 32, build_backbone(name, image_size=32)
    kind = METHODS.load(DEFAULT_ZERO_SHOT)
    method = kind(backbone, 3).eval()
    told = class_texts(backbone.text_tower(), NAMES, templates=kind.needs.templates, note=lambda _: None)
    method.name_classes(told)
    labels = torch.tensor([2, 0])
    given = images()
    normalised = (given * 0.5 + 0.5 - torch.tensor(backbone.mean)[:, None, None]) / torch.tensor(backbone.std)[
        :, None, None
    ]
    expected = method.localize(normalised, labels[:, None])
    said = teacher.localize(given, labels)
    torch.testing.assert_close(said.maps, expected.maps, atol=1e-4, rtol=0)
    torch.testing.assert_close(teacher(given), expected.logits, atol=1e-3, rtol=0)
    assert isinstance(teacher.network, Scores)
    assert teacher.settings == {"name": DEFAULT_ZERO_SHOT}
    assert not any(each.requires_grad for each in teacher.network.parameters())
    assert teacher.prepare(torch.zeros(1, 3, 64, 64)).shape[2:] == (side, side)
    larger = open_teacher(name, NAMES, PREPARED, CPU, image_size=64)
    assert larger.prepare(given).shape[2:] == (64, 64)
    names = tmp_path / "names.yaml"
    names.write_text("blue: [sky, sea]\ngreen: grass\nred: fire\n", encoding="utf-8")
    renamed = open_teacher(name, NAMES, PREPARED, CPU, text=Text(names=str(names)))
    plain = open_teacher(name, NAMES, PREPARED, CPU, text=Text(templates="plain"))
    for other in (renamed, plain):
        assert (other(given) - teacher(given)).abs().max() > 0.01


def test_codes_for_names_are_noted(tiny_clip: Callable[..., str]) -> None:
    heard: list[str] = []
    open_teacher(tiny_clip(), ("class_1", "class_2"), PREPARED, CPU, note=heard.append)
    assert len(heard) == 1


def test_boxes_of_a_clip_model_are_files_kept_by_names_and_templates(tiny_clip: Callable[..., str], data: Path) -> None:
    options: dict[str, Any] = {"annotator": "clip", "classifier": tiny_clip(), "split": "all", "device": "cpu"}
    done = boxless.annotate(data, data.parent / "out", overlays=True, **options)
    assert (done.images, done.before) == (6, 0)
    assert done.boxes + done.empty == 6
    assert done.boxes > 0
    assert done.made_from["localizer"] == {"name": DEFAULT_ZERO_SHOT}
    assert len(list((data.parent / "out" / "overlays").rglob("*.jpg"))) == 6
    assert boxless.annotate(data, data.parent / "out", **options).before == 6
    assert boxless.annotate(data, data.parent / "out", templates=("a {}",), **options).before == 0
    assert boxless.annotate(data, data.parent / "out", image_size=48, **options).before == 0


def test_who_names_no_classifier_gets_clip_from_the_annotator_that_is_made_for_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(name: str, weights: str = "auto") -> Any:
        asked.append(name)
        raise WeightsError("out of reach")

    monkeypatch.setattr(open_clip_models, "create", refuse)
    with pytest.raises(WeightsError, match="out of reach"):
        boxless.annotate(data, data.parent / "out", annotator="clip", split="all", device="cpu")
    assert asked == [ZERO_SHOT]
    assert not (data.parent / "out").exists()


def test_names_for_what_reads_none_and_models_that_are_none_are_refused(
    data: Path, tiny_clip: Callable[..., str]
) -> None:
    common: dict[str, Any] = {"backbone": None, "image_size": None, "device": "cpu"}
    catalog = read_catalog(data)
    for text in (Text(names="names.yaml"), Text(templates="photo")):
        with pytest.raises(ConfigError, match="the classifier test_resnet does not read them"):
            open_material("test_resnet", catalog, text=text, **common)
    with pytest.raises(ConfigError, match="no timm model; give one of these, a CLIP model"):
        open_material("runs/none", catalog, text=Text(), **common)
    with pytest.raises(UnknownNameError, match="did you mean 'ViT-B-16'"):
        check_teacher("open_clip:ViT-B-61/openai", NAMES)
    check_teacher(tiny_clip(), NAMES)


def test_training_learns_from_the_maps_of_a_clip_model(tiny_clip: Callable[..., str], data: Path) -> None:
    names = data.parent / "names.yaml"
    names.write_text("blue: sky\ngreen: grass\nred: fire\n", encoding="utf-8")
    done = boxless.train(
        data,
        data.parent / "run",
        method="fcam",
        backbone="test_resnet",
        settings={
            "backbone.weights": "random",
            "training.batch_size": 4,
            "pseudo.source": "run",
            "pseudo.classifier": tiny_clip(),
            "pseudo.folder": str(data.parent / "kept"),
            "text.names": str(names),
        },
        freeze=True,
        epochs=1,
        image_size=64,
        device="cpu",
    )
    assert done.folder == data.parent / "run"
    (kept,) = (data.parent / "kept").glob("*/settings.json")
    source = json.loads(kept.read_text(encoding="utf-8"))["source"]
    assert (source["kind"], source["maps"], source["localizer"]) == ("maps", "run", {"name": DEFAULT_ZERO_SHOT})
