"""What learns at which rate."""

from __future__ import annotations

import pytest

from boxless.backbones.timm_backbone import TimmBackbone
from boxless.errors import ConfigError
from boxless.methods.cam import CAM
from boxless.recipe import Training
from boxless.training.optim import build_optimizer, set_rate


@pytest.fixture
def method() -> CAM:
    return CAM(TimmBackbone("test_resnet", weights="random", image_size=64), 3)


def rates(method: CAM, training: Training) -> dict[str, float]:
    """The learning rate of each parameter, by name."""
    optimizer = build_optimizer(method, training)
    set_rate(optimizer, training.learning_rate)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_learns_at_a_part_of_the_rate(method: CAM, optimizer: str) -> None:
    found = rates(method, Training(learning_rate=0.1, backbone_scale=0.1, optimizer=optimizer))
    assert found.keys() == dict(method.named_parameters()).keys()
    for name, rate in found.items():
        assert rate == pytest.approx(0.01 if name.startswith("backbone.") else 0.1), name


def test_named_parts_of_the_backbone_learn_at_the_full_rate(method: CAM) -> None:
    """As wsolevaluation has it for ResNet50: ten times the rate for the last stage and the classifier."""
    found = rates(method, Training(learning_rate=0.1, backbone_scale=0.1, head_modules=("layer4",)))
    assert found.keys() == dict(method.named_parameters()).keys()
    fast = {name for name, rate in found.items() if rate == pytest.approx(0.1)}
    assert any(name.startswith("backbone.model.layer4.") for name in fast)
    assert {name for name in found if name.startswith("backbone.")} - fast
    assert fast == {name for name in found if not name.startswith("backbone.") or "model.layer4." in name}


def test_a_frozen_backbone_does_not_learn_at_any_rate(method: CAM) -> None:
    method.backbone.freeze()
    found = rates(method, Training(head_modules=("layer4",)))
    assert found
    assert not any(name.startswith("backbone.") for name in found)


@pytest.mark.parametrize("module", ["layer", "layer9", "layer4.", ""])
def test_a_head_module_that_is_not_there_is_refused(method: CAM, module: str) -> None:
    with pytest.raises(ConfigError, match=r"head_modules.*conv1, bn1, layer1"):
        build_optimizer(method, Training(head_modules=(module,)))


def test_a_backbone_beside_the_methods_own_learns_at_a_part_of_the_rate_too(method: CAM) -> None:
    method.encoder = TimmBackbone("test_resnet", weights="random", image_size=64)
    found = rates(method, Training(learning_rate=0.1, backbone_scale=0.1))
    slow = {name for name, rate in found.items() if rate == pytest.approx(0.01)}
    assert slow == {name for name in found if name.startswith(("backbone.", "encoder."))}
