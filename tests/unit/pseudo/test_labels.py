"""From images and classes to pseudo-labels: sources, classifiers, and how images come to them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxless.backbones.timm_backbone import TimmBackbone
from boxless.data.transforms import Preprocess, colours
from boxless.errors import ConfigError
from boxless.maps import extract
from boxless.methods import METHODS
from boxless.pseudo.labels import Labeller, check_source, first_fitting
from boxless.pseudo.proposals import ProposalSettings, propose
from boxless.pseudo.sources import Spectral
from boxless.pseudo.teacher import Teacher, check_teacher, own_teacher
from boxless.pseudo.teacher import _converter as converter

SIZE, CLASSES = 64, 3


def network(name: str = "test_efficientnet") -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(name, weights="random", image_size=SIZE)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


class Bright(nn.Module):
    """The scores are the means of the three channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def teacher() -> Teacher:
    return Teacher(Bright(), lambda images: images)


def test_boxes_are_those_of_algorithm_2_1_on_the_sources_maps() -> None:
    backbone, labels, settings = network().eval(), torch.tensor([0, 2]), ProposalSettings(top_k=3, min_size=0)
    source = check_source("spectral", {"vectors": 2}, backbone, kind="boxes")
    found = Labeller(source, "boxes", settings, backbone, teacher(), CLASSES)(images(), labels)
    maps = Spectral(vectors=2)(backbone, images())
    expected = propose(maps, images(), labels, Bright(), num_classes=CLASSES, settings=settings, size=(SIZE, SIZE))
    assert found.grid == (SIZE, SIZE)
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.activations, expected.activations)


def test_a_map_of_the_class_is_taken_from_the_methods_own_classifier() -> None:
    method = METHODS.load("fcam")(network(), CLASSES).eval()
    labels = torch.tensor([1, 0])
    source = check_source("layercam", {"gamma": 1.0}, method.backbone, kind="maps")
    found = Labeller(source, "maps", ProposalSettings(top_k=1), method.backbone, own_teacher(method), CLASSES)(
        images(), labels
    )
    maps = extract("layercam", method.as_classifier().eval(), images(), labels, gamma=1.0).maps
    assert torch.equal(found.activations[:, 0], maps.half() * found.valid[:, :, None])


def test_the_map_of_a_run_is_its_own_localization_of_the_class() -> None:
    method = METHODS.load("cam")(network(), CLASSES).eval()
    labels = torch.tensor([1, 2])
    run = Teacher(method.as_classifier(), lambda images: images, method)
    found = Labeller(
        check_source("run", {}, method.backbone, kind="maps"),
        "maps",
        ProposalSettings(top_k=1),
        method.backbone,
        run,
        CLASSES,
    )(images(), labels)
    with torch.no_grad():
        maps = method.localize(images(), labels[:, None]).maps
    assert torch.equal(found.activations, maps.half() * found.valid[:, :, None, None])


def test_the_first_source_is_taken_that_the_backbone_can_give() -> None:
    assert first_fitting(("attention", "spectral"), network("test_vit")) == "attention"
    assert first_fitting(("attention", "spectral"), network()) == "spectral"
    with pytest.raises(ConfigError, match=r"no attention of a class token.*fitting: vit_small"):
        first_fitting(("attention",), network())


@pytest.mark.parametrize(
    ("name", "settings", "kind", "message"),
    [
        ("spectre", {}, "boxes", "no source 'spectre'; .*spectral"),
        ("spectral", {"heads": "all"}, "boxes", "pseudo.heads: there is no such setting"),
        ("spectral", {}, "maps", "gives 10 maps of an image, none of a class"),
        ("cam", {"gamma": 2}, "maps", "pseudo.gamma: there is no such setting"),
        ("run", {"vectors": 2}, "maps", "the source 'run' has no settings"),
        ("attention", {}, "boxes", "gives no attention of a class token"),
    ],
)
def test_what_no_source_can_give_is_refused(name: str, settings: dict[str, object], kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_source(name, settings, network(), kind=kind)  # type: ignore[arg-type]


def test_a_run_is_needed_for_its_maps() -> None:
    source = check_source("run", {}, network(), kind="maps")
    with pytest.raises(ConfigError, match="name the folder of a finished run as the classifier, or a zero-shot"):
        source(network(), teacher(), images(), torch.tensor([0, 1]))


def test_images_come_to_another_network_in_its_own_size_and_normalisation() -> None:
    given = Preprocess(SIZE, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    wanted = Preprocess(32, (0.1, 0.2, 0.3), (0.3, 0.4, 0.5))
    plain = images()
    normalised = (plain - torch.tensor(given.mean)[:, None, None]) / torch.tensor(given.std)[:, None, None]
    torch.testing.assert_close(colours(normalised, given.mean, given.std), plain)
    small = F.interpolate(plain, (32, 32), mode="bilinear", antialias=True)
    expected = (small - torch.tensor(wanted.mean)[:, None, None]) / torch.tensor(wanted.std)[:, None, None]
    torch.testing.assert_close(converter(given, wanted)(normalised), expected, atol=1e-5, rtol=1e-5)
    assert converter(given, given)(normalised) is normalised


def test_a_classifier_of_another_number_of_classes_or_of_none_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="trained on 1000 classes, and the data has 3"):
        check_teacher("resnet18", ("a", "b", "c"))
    with pytest.raises(ConfigError, match="no folder of a finished run and no timm model"):
        check_teacher("runs/nowhere", ("a", "b", "c"))
    check_teacher("resnet18", tuple(map(str, range(1000))))


def test_where_a_method_does_not_say_what_its_head_pools_a_layer_is_to_be_named() -> None:
    method = METHODS.load("acol")(network(), CLASSES).eval()
    labels = torch.tensor([1, 2])
    with pytest.raises(ConfigError, match=r"name one as pseudo\.layers .*pseudo\.source=run"):
        check_source("layercam", {}, method.backbone, kind="maps")(
            method.backbone, own_teacher(method), images(), labels
        )
    source = check_source("layercam", {"layers": "method.neck"}, method.backbone, kind="maps")
    maps = source(method.backbone, own_teacher(method), images(), labels)
    assert maps.shape[:2] == (2, 1)
    assert maps.max() == 1


@pytest.mark.parametrize("method_name", ["cam", "adl", "nl_ccam"])
def test_every_map_can_be_taken_of_a_run_of_cam_and_of_what_builds_on_it(method_name: str) -> None:
    method = METHODS.load(method_name)(network(), CLASSES).eval()
    for parameter in method.parameters():
        parameter.data.add_(0.01)  # what begins as nothing, as NL-CCAM's blocks do, is seen
    torch.testing.assert_close(method.as_classifier().eval()(images()), method.scores(images()))
    for name in ("cam", "gradcam", "layercam"):
        source = check_source(name, {}, method.backbone, kind="boxes")
        assert source(method.backbone, own_teacher(method), images(), torch.tensor([1, 2])).shape[:2] == (2, 1)
