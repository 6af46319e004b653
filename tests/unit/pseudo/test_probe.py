"""The linear probe: the same weights as another program finds, from labels alone, with nothing left changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.backbones.build import build_backbone
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError, DataError
from boxless.maps import extract
from boxless.pseudo import probe as module
from boxless.pseudo.probe import build_probe, fit_linear, fit_probe, looked_at
from boxless.training.examples import Examples
from boxless.types import Item

PREPARED = Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Six images of each of two classes, which their colour tells."""
    folder, random, made = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for place in range(12):
        pixels = random.integers(0, 90, (64, 64, 3)).astype(np.uint8)
        pixels[16:48, 16:48, place % 2] += 150
        Image.fromarray(pixels).save(folder / f"{place}.png")
        made.append(Item(folder / f"{place}.png", f"{place}.png", (place % 2,)))
    return made


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("test_resnet", weights="random", image_size=64)


def features(classes: int, count: int = 60) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % classes
    values = torch.randn(count, 5, generator=random) * torch.tensor([1.0, 10, 0.1, 3, 1]) + torch.arange(5.0)
    values[:, :3] += torch.nn.functional.one_hot(labels, max(classes, 3))[:, :3] * torch.tensor([1.0, 6, 0.2])
    return values, labels


def test_weights_are_those_of_another_program() -> None:
    values, labels = features(3)
    weight, bias = fit_linear(values, torch.nn.functional.one_hot(labels, 3).float(), penalty=0.1)
    mean, deviation = values.double().mean(0), values.double().std(0, correction=0)
    other = LogisticRegression(C=1 / (0.1 * len(values)), tol=1e-10, max_iter=10_000)
    other.fit(((values - mean) / deviation).numpy(), labels.numpy())
    torch.testing.assert_close(weight * deviation, torch.from_numpy(other.coef_), atol=1e-4, rtol=0)
    scores = values.double() @ weight.T + bias
    expected = other.decision_function(((values - mean) / deviation).numpy())
    torch.testing.assert_close(scores - scores.mean(1, keepdim=True), torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_where_an_image_shows_several_classes_each_is_told_by_itself() -> None:
    values, labels = features(3)
    targets = torch.nn.functional.one_hot(labels, 3).float()
    targets[::5, 0] = 1
    weight, _ = fit_linear(values, targets, penalty=0.1)
    mean, deviation = values.double().mean(0), values.double().std(0, correction=0)
    for number in range(3):
        other = LogisticRegression(C=1 / (0.1 * len(values)), tol=1e-10, max_iter=10_000)
        other.fit(((values - mean) / deviation).numpy(), targets[:, number].numpy())
        expected = torch.from_numpy(other.coef_[0])
        torch.testing.assert_close((weight * deviation)[number], expected, atol=1e-4, rtol=0)


def test_what_does_not_vary_has_no_weight() -> None:
    values, labels = features(3)
    values[:, 4] = 1e6
    weight, bias = fit_linear(values, torch.nn.functional.one_hot(labels, 3).float(), penalty=0.1)
    assert weight[:, 4].tolist() == [0, 0, 0]
    assert weight.isfinite().all()
    assert bias.isfinite().all()


def test_it_learns_the_same_each_time_and_leaves_the_backbone_as_it_was(items: list[Item], backbone: Backbone) -> None:
    backbone.tap(1)
    backbone.train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    state = torch.get_rng_state()
    first = fit_probe(backbone, Examples(items, 2, PREPARED), CPU)
    again = fit_probe(backbone, Examples(items, 2, PREPARED), CPU)
    assert first.fc.weight.equal(again.fc.weight)
    assert (backbone.taps, backbone.training) == ((1,), True)
    assert all(tensor.equal(before[name]) for name, tensor in backbone.state_dict().items())
    assert torch.get_rng_state().equal(state)
    images = torch.stack([Examples(items, 2, PREPARED).plain(place) for place in range(len(items))])
    first.eval()
    assert first(images).argmax(1).tolist() == [0, 1] * 6
    assert backbone.taps == (1,)
    cam = extract("cam", first, images, 1)
    assert (cam.maps.shape, cam.layers) == ((12, 8, 8), ("grid",))


def test_images_that_cannot_be_read_are_left_out(items: list[Item], backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Item(tmp_path / "broken.png", "broken.png", (1,))
    examples = Examples([items[0], broken, *items[1:]], 2, PREPARED)
    backbone.eval()
    with_broken = fit_probe(backbone, examples, CPU)
    assert [*examples.refused] == [1]
    torch.testing.assert_close(with_broken.fc.weight, fit_probe(backbone, Examples(items, 2, PREPARED), CPU).fc.weight)
    with pytest.raises(DataError, match="none of the 1 training images can be read"):
        fit_probe(backbone, Examples([broken], 2, PREPARED), CPU)
    with pytest.raises(ConfigError, match="no image to learn from"):
        fit_probe(backbone, Examples([], 2, PREPARED), CPU)


def test_a_network_without_a_fine_grid_is_read_where_it_is_finest() -> None:
    network = build_probe(build_backbone("test_vit", weights="random", image_size=64), 3)
    assert network.grid(torch.zeros(1, 3, 64, 64)).shape[2:] == (4, 4)


def test_of_many_images_some_of_each_class_are_looked_at() -> None:
    assert looked_at([0, 1, 0], 3) == [0, 1, 2]
    assert looked_at([0] * 6 + [1] * 2 + [0] * 2, 4) == [0, 4, 6, 7]
    assert looked_at([0, 1, 2, 0, 1, 2], 2) == [0, 1, 2]


def test_the_work_can_be_stopped(items: list[Item], backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4)
    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_probe(backbone, Examples(items, 2, PREPARED), CPU, stop=stop)
    assert len(calls) == 2
