"""Regions of maps of one source under a name of their own: what Algorithm 2.1 finds in them, one box an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boxless.backbones.build import build_backbone
from boxless.errors import ConfigError
from boxless.pseudo.annotators import Material, RegionProposals, make_annotator
from boxless.pseudo.probe import build_probe
from boxless.pseudo.teacher import Teacher

LABELS = torch.tensor([0, 2])


def material(name: str) -> Material:
    torch.manual_seed(0)
    backbone = build_backbone(name, weights="random", image_size=64).eval()
    probe = build_probe(backbone, 3)
    with torch.no_grad():
        probe.fc.weight.normal_()
        probe.fc.bias.zero_()
    return Material(backbone, Teacher(probe.eval(), lambda images: images), 3)


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("source", "backbone"), [("spectral", "test_resnet"), ("attention", "test_vit")])
def test_they_are_the_best_of_the_proposals_from_that_source(source: str, backbone: str) -> None:
    given = material(backbone)
    annotator, whole = make_annotator(source, {}), RegionProposals(source=source, top_k=3)
    found, expected = (each(images(), LABELS, given) for each in (annotator, whole))
    assert annotator.settings.top_k == 1
    assert found.boxes.equal(expected.boxes[:, :1])
    assert found.scores.equal(expected.scores[:, :1])
    assert found.valid.equal(expected.valid[:, :1])
    assert annotator.made_from(given) == whole.made_from(given)
    assert annotator.selections(images(), LABELS, given) is None


def test_settings_of_the_source_lie_beside_its_own() -> None:
    annotator = make_annotator("spectral", {"top_k": 2, "vectors": 1, "score": "posterior"})
    given = material("test_resnet")
    assert annotator.made_from(given)["settings"] == {"vectors": 1}
    assert (annotator.settings.top_k, annotator.settings.score) == (2, "posterior")
    maps = annotator.maps(images(), LABELS, given)
    assert maps is not None
    assert maps.shape[1] == 2
    with pytest.raises(ConfigError, match=r"pseudo\.source"):
        make_annotator("spectral", {"source": "attention"}).made_from(given)


def test_a_backbone_without_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match="gives no attention of a class token"):
        make_annotator("attention", {}).made_from(material("test_resnet"))
