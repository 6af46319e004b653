"""What holds for every map: batches, targets, what is refused, and that the model is left as found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boxless.errors import ConfigError, DataError, UnknownNameError
from boxless.maps import DEFAULT_MAP, MAPS, extract
from boxless.maps.base import MapExtractor
from boxless.methods.base import Paper
from boxless.settings import settings_of

QUICK: dict[str, dict[str, Any]] = {"sscam": {"samples": 2}, "iscam": {"samples": 2}}
NEEDS_GRADIENT = {"gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam", "gradrollout"}
every_map = pytest.mark.parametrize("name", list(MAPS))


def network_for(name: str, networks: dict[str, Any]) -> Any:
    return networks["vit" if "rollout" in name else "resnet"]


def run(name: str, networks: dict[str, Any], images: Tensor, targets: Any = None) -> Any:
    return extract(name, network_for(name, networks), images, targets, **QUICK.get(name, {}))


@every_map
def test_a_map_in_0_1_for_each_rectangular_image(name: str, networks: dict[str, Any], images: Tensor) -> None:
    found = run(name, networks, images, [4, 0, 2])
    grid = (4, 6) if "rollout" in name else (2, 3)
    assert found.maps.shape == (3, *grid)
    assert found.maps.dtype == torch.float32
    assert found.maps.amin((1, 2)).tolist() == [0, 0, 0]
    torch.testing.assert_close(found.maps.amax((1, 2)), torch.ones(3))
    assert found.classes.tolist() == [4, 0, 2]
    assert found.layers
    torch.testing.assert_close(found.logits, network_for(name, networks)(images).detach(), atol=1e-5, rtol=1e-4)


@every_map
def test_a_map_does_not_depend_on_its_batch_mates(name: str, networks: dict[str, Any], images: Tensor) -> None:
    together, alone = run(name, networks, images, 1), run(name, networks, images[2:], 1)
    torch.testing.assert_close(together.maps[2:], alone.maps, atol=1e-4, rtol=0)


@every_map
def test_without_a_target_the_map_is_of_the_predicted_class(
    name: str, networks: dict[str, Any], images: Tensor
) -> None:
    found = run(name, networks, images)
    assert torch.equal(found.classes, found.logits.argmax(1))
    torch.testing.assert_close(found.maps, run(name, networks, images, found.classes).maps)


@every_map
def test_maps_of_two_classes_differ_unless_the_map_says_that_they_do_not(
    name: str, networks: dict[str, Any], images: Tensor
) -> None:
    one, other = run(name, networks, images, 0).maps, run(name, networks, images, 3).maps
    assert torch.allclose(one, other, atol=1e-6) is not MAPS.load(name).class_specific


@every_map
def test_under_no_grad_and_for_a_frozen_model_it_is_the_same_map(
    name: str, networks: dict[str, Any], images: Tensor
) -> None:
    expected = run(name, networks, images).maps
    network = network_for(name, networks).requires_grad_(requires_grad=False)
    with torch.no_grad():
        assert torch.equal(run(name, networks, images).maps, expected)
        assert not torch.is_grad_enabled()
    network.requires_grad_(requires_grad=True)


@every_map
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_are_left_as_found(
    name: str, fails: bool, networks: dict[str, Any], images: Tensor
) -> None:
    network, given = network_for(name, networks), images.clone()
    modules = list(network.modules())
    for number, module in enumerate(modules):
        module.training = number % 3 == 0
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    own = modules[-1].register_forward_hook(lambda module, inputs, output: None)
    hooks = [list(module._forward_hooks) for module in modules]
    fused = [getattr(module, "fused_attn", None) for module in modules]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random, enabled = torch.get_rng_state(), torch.is_grad_enabled()
    if fails:
        with pytest.raises(ConfigError):
            run(name, networks, images, 99)
    else:
        run(name, networks, images, 1)
    own.remove()
    assert [module.training for module in modules] == [number % 3 == 0 for number in range(len(modules))]
    assert [list(module._forward_hooks) for module in modules[:-1]] == hooks[:-1]
    assert [getattr(module, "fused_attn", None) for module in modules] == fused
    assert all(torch.equal(each.grad, torch.full_like(each, 2.0)) for each in network.parameters())
    assert all(each.requires_grad for each in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled() == enabled
    assert torch.equal(images, given)
    network.eval()
    network.zero_grad(set_to_none=True)


@every_map
def test_inference_mode_is_refused_only_where_a_gradient_is_needed(
    name: str, networks: dict[str, Any], images: Tensor
) -> None:
    with torch.inference_mode():
        if name in NEEDS_GRADIENT:
            with pytest.raises(ConfigError, match=r"torch\.no_grad there"):
                run(name, networks, images)
        else:
            run(name, networks, images)


def test_images_from_inference_mode_are_taken_and_weights_from_it_refused(toy: nn.Module) -> None:
    with torch.inference_mode():
        images = torch.rand(1, 3, 4, 6)
        made_inside = type(toy)()
    assert extract("gradcam", toy, images, layers="stage").maps.shape == (1, 2, 3)
    with pytest.raises(ConfigError, match="weights were made inside"):
        extract("gradcam", made_inside, images, layers="stage")


@every_map
def test_a_model_in_half_precision_gives_a_float32_map(name: str, networks: dict[str, Any], images: Tensor) -> None:
    expected = run(name, networks, images, 1).maps
    network = network_for(name, networks).bfloat16()
    found = run(name, networks, images, 1)
    network.float()
    assert found.maps.dtype == found.logits.dtype == torch.float32
    assert torch.isfinite(found.maps).all()
    if name in ("cam", "gradcam", "rollout"):  # the others divide by small sums
        torch.testing.assert_close(found.maps, expected, atol=0.15, rtol=0)


@pytest.mark.parametrize("targets", [5, -1, [0, 1, 5]])
def test_a_target_out_of_range_is_named_with_the_range(targets: Any, networks: dict[str, Any], images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"target (5|-1): the model has 5 classes, 0 to 4\."):
        extract("gradcam", networks["resnet"], images, targets)


@pytest.mark.parametrize("targets", [[0, 1], 0.5, [[1, 2, 3]]])
def test_targets_that_are_not_one_for_each_image_are_refused(
    targets: Any, networks: dict[str, Any], images: Tensor
) -> None:
    with pytest.raises(ConfigError, match="a whole number for each of the 3 images"):
        extract("gradcam", networks["resnet"], images, targets)


def test_images_of_one_size_may_be_a_list_and_of_several_are_refused(networks: dict[str, Any], images: Tensor) -> None:
    network = networks["resnet"]
    torch.testing.assert_close(extract("gradcam", network, list(images)).maps, extract("gradcam", network, images).maps)
    with pytest.raises(DataError, match=r"\(3, 64, 64\), \(3, 64, 96\).*resize them first"):
        extract("gradcam", network, [images[0], images[1, :, :, :64]])


@pytest.mark.parametrize("wrong", [torch.zeros(3, 64, 64), torch.zeros(0, 3, 64, 64), torch.zeros(1, 3, 8, 8).byte()])
def test_what_is_no_batch_of_images_is_refused(wrong: Tensor, networks: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"give floats \(b, 3, h, w\)"):
        extract("gradcam", networks["resnet"], wrong)


def test_an_unknown_map_and_an_unknown_setting_show_the_nearest(toy: nn.Module, images: Tensor) -> None:
    with pytest.raises(UnknownNameError, match="gradcam"):
        extract("grad-cam", toy, images)
    with pytest.raises(ConfigError, match="epsilon"):
        extract("gradcam++", toy, images, epsilom=1)


@every_map
def test_a_map_declares_its_paper_and_its_settings(name: str) -> None:
    kind = MAPS.load(name)
    assert issubclass(kind, MapExtractor)
    assert isinstance(kind.paper, Paper)
    for setting in settings_of(kind):
        assert not setting.required
        assert f"{setting.name}:" in kind.__doc__


def test_the_default_map_is_in_the_table() -> None:
    assert DEFAULT_MAP in MAPS
