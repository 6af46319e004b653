"""What every method must satisfy, over the whole table: the price of entry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from boxless.backbones.build import build_backbone
from boxless.errors import ConfigError
from boxless.methods import METHODS
from boxless.methods.base import Method, Paper, Stage
from boxless.pseudo.records import Proposals
from boxless.types import Batch

CLASSES, SIZE = 5, 96
BACKBONES = ("test_efficientnet", "test_vit")
CLIPS = ("tiny CLIP", "tiny EVA-CLIP", "tiny convolutional CLIP", "tiny CLIPSeg")
FOLDERS: dict[str, str] = {}  # of those, by these names


@pytest.fixture(scope="module", autouse=True)
def _clips(tiny_clip: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> None:
    transformers: Any = pytest.importorskip("transformers")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    decoder = {"reduce_dim": 8, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
    config = transformers.CLIPSegConfig(
        text_config={**tower, "num_hidden_layers": 1, "vocab_size": 64},
        vision_config={**tower, "num_hidden_layers": 4, "image_size": SIZE, "patch_size": 16},
        projection_dim=8, extract_layers=[0, 1, 3], **decoder,
    )  # fmt: skip
    torch.manual_seed(4)
    place = tmp_path_factory.mktemp("clipseg")
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(place)
    kinds = [tiny_clip("vit"), tiny_clip("eva"), tiny_clip("resnet"), f"clipseg:{place}"]
    FOLDERS.update(zip(CLIPS, kinds, strict=True))


def fitting(name: str) -> list[str]:
    """The backbones that a method is tried on: what reads tokens or compares images with names needs its own."""
    needs = METHODS.load(name).needs
    if needs.prefix_tokens or needs.steering:
        return ["test_vit"]
    if needs.text != "required":
        return list(BACKBONES)
    if name == "clipseg":
        return ["tiny CLIPSeg"]
    return [*CLIPS[:2], *(CLIPS[2:3] if name == "clip" else ())]


def make(name: str, backbone: str, *, frozen: bool = False, weights: str | None = None) -> Method:
    torch.manual_seed(0)
    usual = "auto" if backbone in FOLDERS else "random"
    network = build_backbone(FOLDERS.get(backbone, backbone), weights=weights or usual, image_size=SIZE)
    if frozen:
        network.freeze()
    method: Method = METHODS.load(name)(network, CLASSES)
    return method


def example_batch(count: int = 4, stage: Stage | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator)
    labels = torch.arange(count) % CLASSES
    targets = torch.nn.functional.one_hot(labels, CLASSES).float()
    pseudo = example_pseudo(count, 1 if stage.pseudo == "maps" else 2) if stage and stage.pseudo else None
    return Batch(images, labels, targets, torch.arange(count), pseudo=pseudo)


def example_pseudo(count: int, places: int) -> Proposals:
    """A blob in each image, its second place a box of the whole image."""
    across = torch.linspace(-1, 1, 6)
    blob = torch.exp(-4 * (across[:, None] ** 2 + (across - 0.3) ** 2)).half()
    boxes = torch.tensor([[30.0, 20, 90, 80], [0, 0, SIZE, SIZE]])[-places:]
    return Proposals(
        boxes=boxes.expand(count, places, 4),
        scores=torch.ones(count, places),
        maps=torch.zeros(count, places, dtype=torch.int64),
        valid=torch.ones(count, places, dtype=torch.bool),
        kept_largest=torch.zeros(count, dtype=torch.bool),
        activations=blob.expand(count, places, 6, 6),
        grid=(SIZE, SIZE),
    )


TRAINED = [name for name in METHODS if METHODS.load(name).needs.trains]
pairs = pytest.mark.parametrize(("name", "backbone"), [(n, b) for n in METHODS for b in fitting(n)])
stages = pytest.mark.parametrize(
    ("name", "backbone", "stage"),
    [
        pytest.param(n, b, stage, id=f"{n}-{b}-{stage.name}")
        for n in TRAINED
        for b in fitting(n)
        for stage in METHODS.load(n).stages
    ],
)


@stages
def test_it_learns(name: str, backbone: str, stage: Stage) -> None:
    method, batch = make(name, backbone).train(), example_batch(stage=stage)
    method.enter(stage)
    optimizer = torch.optim.AdamW(
        (each for each in method.parameters() if each.requires_grad), lr=3e-4
    )  # a transformer this small learns in jumps at higher rates
    totals = []
    for step in range(20):
        torch.manual_seed(5)  # the same random draws in each step, so that losses compare
        total = torch.stack(list(method.losses(batch, step / 20).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


@stages
def test_losses_are_named_scalars_with_a_gradient(name: str, backbone: str, stage: Stage) -> None:
    method = make(name, backbone).train()
    method.enter(stage)
    losses = method.losses(example_batch(stage=stage), 0.0)
    assert losses
    for value in losses.values():
        assert value.ndim == 0
    assert any(value.requires_grad for value in losses.values())


@pairs
def test_localize_gives_a_map_in_0_1_for_each_class_asked_for(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    asked = torch.tensor([[0, 3], [1, 1], [2, 4], [4, 0]])
    with torch.inference_mode():
        said = method.localize(batch.images, asked)
    assert said.logits.shape == (4, CLASSES)
    assert said.maps.shape[:2] == (4, 2)
    assert said.maps.dtype == torch.float32
    assert torch.equal(said.classes, asked)
    assert torch.isfinite(said.maps).all()
    assert said.maps.min() >= 0
    assert said.maps.max() <= 1
    torch.testing.assert_close(said.maps[1, 0], said.maps[1, 1])  # the same class twice: the same map twice


@pairs
def test_the_predicted_class_is_the_default(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    with torch.inference_mode():
        said = method.localize(batch.images)
        again = method.localize(batch.images, said.logits.argmax(1, keepdim=True))
    torch.testing.assert_close(said.maps, again.maps)
    assert torch.equal(said.classes, again.classes)


@pairs
def test_localize_is_deterministic(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    with torch.inference_mode():
        assert torch.equal(method.localize(batch.images).maps, method.localize(batch.images).maps)


@pairs
def test_a_map_does_not_depend_on_batch_mates(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    with torch.inference_mode():
        together, alone = method.localize(batch.images), method.localize(batch.images[1:2])
    # Other batch sizes take other convolution kernels, hence not bit for bit.
    torch.testing.assert_close(together.maps[1:2], alone.maps, atol=5e-4, rtol=0)
    torch.testing.assert_close(together.logits[1:2], alone.logits, atol=1e-4, rtol=1e-4)


@pairs
def test_state_round_trips(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    other = make(name, backbone, weights="random").eval()
    with torch.no_grad():
        for value in other.state_dict().values():
            if value.is_floating_point():
                value.mul_(1 + 0.1 * torch.rand(value.shape))
    with torch.inference_mode():
        before = other.localize(batch.images).logits
        other.load_state_dict(method.state_dict())
        torch.testing.assert_close(other.localize(batch.images).logits, method.localize(batch.images).logits)
    assert not torch.allclose(before, method.localize(batch.images).logits)


@pairs
def test_localize_leaves_modes_gradients_inputs_and_random_state_as_found(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    method.zero_grad(set_to_none=True)
    images, state = batch.images.clone(), torch.get_rng_state()
    modes = [module.training for module in method.modules()]
    method.localize(batch.images)
    assert [module.training for module in method.modules()] == modes
    assert all(parameter.grad is None for parameter in method.parameters())
    assert torch.equal(batch.images, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in method.modules())


@stages
def test_what_a_stage_holds_and_a_frozen_backbone_do_not_change(name: str, backbone: str, stage: Stage) -> None:
    method, batch = make(name, backbone, frozen=True).train(), example_batch(stage=stage)
    method.enter(stage)
    held = [method.backbone, *method.holds(stage)]
    before = [{k: v.clone() for k, v in each.state_dict().items()} for each in held]
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        torch.stack(list(method.losses(batch, 0.0).values())).sum().backward()
        optimizer.step()
    for module, state in zip(held, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


@stages
def test_what_a_stage_holds_learns_again_in_another(name: str, backbone: str, stage: Stage) -> None:
    method = make(name, backbone)
    for each in (*method.stages, stage):
        method.enter(each)
    held = {id(p) for module in method.holds(stage) for p in module.parameters()}
    assert {id(p) for p in method.parameters() if not p.requires_grad} == held
    assert any(p.requires_grad for p in method.parameters())


@stages
def test_cached_features_give_the_same_losses(name: str, backbone: str, stage: Stage) -> None:
    method, batch = make(name, backbone, frozen=True).eval(), example_batch(stage=stage)
    if method.needs.own_forward:
        pytest.skip("its features are not cached")
    method.enter(stage)
    method.eval()
    features = method.backbone(batch.images)
    needs_images = method.needs.images or stage.images
    stand_in = batch.images.clone() if needs_images else torch.empty(len(batch.images), 3, 0, 0)
    cached = Batch(stand_in, batch.labels, batch.targets, batch.index, pseudo=batch.pseudo)
    torch.manual_seed(0)
    with method.backbone.replay(stand_in, features):
        from_cache = method.losses(cached, 0.0)
    torch.manual_seed(0)
    computed = method.losses(batch, 0.0)
    assert {k: v.item() for k, v in from_cache.items()} == pytest.approx({k: v.item() for k, v in computed.items()})


@pytest.mark.parametrize(("name", "backbone"), [(n, b) for n in TRAINED for b in fitting(n)])
def test_images_with_several_labels_are_taken(name: str, backbone: str) -> None:
    for stage in METHODS.load(name).stages:
        batch, method = example_batch(stage=stage), make(name, backbone).train()
        targets = batch.targets.clone()
        targets[:, 2] = 1
        several = Batch(batch.images, batch.labels, targets, batch.index, multi_label=True, pseudo=batch.pseudo)
        method.enter(stage)
        losses: dict[str, Tensor] = method.losses(several, 0.0)
        assert all(torch.isfinite(value) for value in losses.values())


@pairs
def test_its_scores_are_those_of_its_localization(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    with torch.inference_mode():
        logits = method.localize(batch.images).logits
        torch.testing.assert_close(method.scores(batch.images), logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(method.as_classifier().eval()(batch.images), logits, atol=1e-5, rtol=1e-4)


@pairs
def test_it_says_whether_the_maps_of_two_classes_differ(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), example_batch()
    with torch.inference_mode():
        maps = method.localize(batch.images, torch.tensor([[0, 1]]).expand(len(batch.images), 2)).maps
    if method.class_specific:
        assert not torch.equal(maps[:, 0], maps[:, 1]) or not maps.any()  # some show nothing before they are trained
    else:
        assert torch.equal(maps[:, 0], maps[:, 1])
        assert maps.any()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED])
def test_what_does_not_train_refuses_to_learn(name: str) -> None:
    with pytest.raises(ConfigError, match="learns nothing"):
        make(name, fitting(name)[0]).losses(example_batch(), 0.0)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED])
def test_what_compares_images_with_names_refuses_other_backbones_and_names_some_that_fit(name: str) -> None:
    with pytest.raises(ConfigError, match=r"test_vit.*fitting: .*:"):
        make(name, "test_vit")


@pytest.mark.parametrize("name", list(METHODS))
def test_it_declares_its_paper_and_its_settings(name: str) -> None:
    kind: type[Method] = METHODS.load(name)
    assert isinstance(kind.paper, Paper)
    assert kind.paper.title
    settings = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY]
    documented = inspect.getdoc(kind) or ""
    for setting in settings:
        assert setting.default is not setting.empty, f"{setting.name} has no default"
        assert f"{setting.name}:" in documented, f"{setting.name} is not documented"
    assert set(kind.search_space) <= {s.name for s in settings}
