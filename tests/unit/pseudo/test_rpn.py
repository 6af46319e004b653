"""Boxes of a region proposal network: torchvision's own, each time the same, and told apart by their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection

from boxless.errors import WeightsError
from boxless.methods.head import GridClassifier
from boxless.pseudo.annotators import Material, make_annotator
from boxless.pseudo.rpn import RegionProposalNetwork
from boxless.pseudo.teacher import Teacher

SMALL: dict[str, Any] = {"model": "fasterrcnn_resnet50_fpn", "weights": "random", "side": 64, "most": 20}
LABELS = torch.tensor([0, 1])


class Plain(nn.Module):
    mean = std = (0.5, 0.5, 0.5)


def material() -> Material:
    network = GridClassifier(lambda given: given[:, :, ::4, ::4], (), nn.Linear(3, 2))
    with torch.no_grad():
        network.fc.weight.copy_(torch.tensor([[1.0, -1, 0], [-1, 1.0, 0]]))
        network.fc.bias.zero_()
    return Material(Plain(), Teacher(network, lambda given: given), 2)  # type: ignore[arg-type]


def images() -> Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def annotator() -> RegionProposalNetwork:
    made = make_annotator("rpn", SMALL)
    assert isinstance(made, RegionProposalNetwork)
    return made


def test_proposals_are_those_that_torchvision_s_network_passes_on(annotator: RegionProposalNetwork) -> None:
    given, state = material(), torch.get_rng_state()
    (first, _) = annotator.pools(images(), given, ())
    network = annotator._network(torch.device("cpu"))
    shown, _ = network.transform([images()[0] * 0.5 + 0.5])
    with torch.no_grad():
        (expected,), _ = network.rpn(shown, network.backbone(shown.tensors))
    assert 0 < len(first.boxes) <= 20
    np.testing.assert_allclose(first.boxes, expected.numpy() * 48 / 64, atol=1e-4)
    assert first.objectness is not None
    assert (np.diff(first.objectness) <= 0).all()  # best first
    assert ((first.objectness > 0) & (first.objectness < 1)).all()
    assert torch.get_rng_state().equal(state)


def test_the_same_image_has_the_same_box_alone_or_among_others(annotator: RegionProposalNetwork) -> None:
    found = annotator(images(), LABELS, material())
    assert found.valid.all()
    again = make_annotator("rpn", SMALL)(images(), LABELS, material())
    assert again.boxes.equal(found.boxes)
    for place in range(2):
        one = slice(place, place + 1)
        alone = annotator(images()[one], LABELS[one], material())
        assert alone.boxes[0].equal(found.boxes[place])
    said = annotator.selections(images(), LABELS, material())
    for each in said:
        assert each.objectness is not None
        assert each.top.sum() == -(-len(each.boxes) // 5)
        assert each.objectness[each.top].min() >= each.objectness[~each.top].max()
        assert each.top[each.chosen]
        assert np.isfinite(each.scores).sum() <= each.top.sum()


def test_weights_count_by_what_they_are(annotator: RegionProposalNetwork, tmp_path: Path) -> None:
    network = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "other.pth")
    other = make_annotator("rpn", {**SMALL, "weights": str(tmp_path / "other.pth")})
    assert other.made_from(material()) != annotator.made_from(material())
    assert "COCO" in RegionProposalNetwork.supervision


def test_weights_out_of_reach_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(WeightsError, match=r"not in torch's cache.*no route to host.*pseudo\.weights=FILE"):
        make_annotator("rpn", {"model": "fasterrcnn_resnet50_fpn"}).made_from(material())
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    for name in ("broken.pth", "absent.pth"):
        with pytest.raises(WeightsError, match="cannot be read as a state dict"):
            make_annotator("rpn", {**SMALL, "weights": str(tmp_path / name)}).made_from(material())
    torch.save({"a": torch.zeros(1)}, tmp_path / "foreign.pth")
    with pytest.raises(WeightsError, match="no weights of torchvision's fasterrcnn_resnet50_fpn"):
        make_annotator("rpn", {**SMALL, "weights": str(tmp_path / "foreign.pth")}).made_from(material())
