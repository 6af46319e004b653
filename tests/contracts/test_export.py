"""Every trainable method becomes an ONNX graph that says the same, whatever the batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from boxless.backbones.base import Backbone, Stage
from boxless.backbones.build import build_backbone
from boxless.data.transforms import Preprocess
from boxless.errors import ConfigError
from boxless.export import OnnxEngine, export_onnx
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.torch_engine import TorchEngine
from boxless.recipe import MethodChoice, Recipe
from boxless.runs import Run
from boxless.types import Features

CLASSES, SIZE = ("a", "b", "c", "d"), 32
TRAINED = [name for name in METHODS if METHODS.load(name).needs.trains]
# What needs one to have maps; tests/unit/export has other backbones.
NEEDS = {name: METHODS.load(name).needs for name in TRAINED}
ON_A_TRANSFORMER = {"attention", *(name for name in TRAINED if NEEDS[name].prefix_tokens or NEEDS[name].steering)}


class Small(Backbone):
    """Three convolutions: what a method adds is most of the graph, so that all of them can be traced in a test."""

    prefix_tokens, licence = 0, "none"
    mean = std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.stages = tuple(Stage(name, 8, stride) for name, stride in (("fine", 4), ("middle", 8), ("coarse", 16)))
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, 8, stride, stride) for channels, stride in ((3, 4), (8, 2), (8, 2))
        )

    def admit(self, stage: int) -> None:
        pass

    def extract(self, images: torch.Tensor) -> Features:
        grids = []
        for stage, layer in enumerate(self.layers):
            images = self.pass_through(stage, layer(images).sin())
            grids.append(images)
        return Features(tuple(grids[tap] for tap in self.taps))


@pytest.fixture(scope="module", autouse=True)
def _one_table_of_operators() -> Any:
    """torch's exporter reads its table of operators anew each time, which takes longer than a graph this small."""
    from torch.onnx._internal.exporter import _registration

    table = _registration.ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "from_torchlib", staticmethod(functools.cache(table.from_torchlib)))
        yield


def opened(name: str, method: Method, threshold: float | str) -> Run:
    method = method.eval().requires_grad_(requires_grad=False)
    preprocess = Preprocess(SIZE, method.backbone.mean, method.backbone.std)
    recipe = Recipe(method=MethodChoice(name=name))
    return Run(Path("runs"), recipe, {}, CLASSES, method, preprocess, threshold, False, torch.device("cpu"), "digest")


def pictures(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rough = np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return rough.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)


@pytest.mark.parametrize("name", TRAINED)
def test_the_graph_says_what_the_method_says(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("test_vit", weights="random", image_size=SIZE) if name in ON_A_TRANSFORMER else Small()
    method: Method = METHODS.load(name)(backbone, len(CLASSES))
    run = opened(name, method, 0.4)
    model = OnnxEngine(export_onnx(run, tmp_path / "model.onnx", maps="all").file)
    for count in (1, 3):
        images = pictures(count)
        asked = np.tile([3, 0], (count, 1))
        ours, theirs = TorchEngine(run).forward(images), model.forward(images)
        np.testing.assert_allclose(theirs.logits, ours.logits, atol=1e-4)
        np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-4)
        assert (theirs.classes == ours.classes).all()
        np.testing.assert_array_equal(
            *(largest_boxes(each.maps[:, 0], np.full(count, 0.4))[0] for each in (ours, theirs))
        )
        others = TorchEngine(run).forward(images, asked).maps, model.forward(images, asked).maps
        np.testing.assert_allclose(*others, atol=1e-4)


def test_a_graph_finds_otsus_threshold_and_the_mask_as_prediction_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = opened("cam", METHODS.load("cam")(Small(), len(CLASSES)), "otsu")
    model = OnnxEngine(export_onnx(run, tmp_path / "model.onnx", maps="all").file)
    found = model.outputs(pictures(3))
    for maps, thresholds, masks in zip(found["maps"], found["threshold"], found["mask"], strict=True):
        np.testing.assert_array_equal(thresholds, otsu_thresholds(maps))
        for values, threshold, mask in zip(maps.astype(np.float64), thresholds, masks, strict=True):
            np.testing.assert_array_equal(mask, values > threshold * values.max())


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED])
def test_what_compares_images_with_names_is_exported_or_says_why_not(
    name: str, tmp_path: Path, tiny_clip: Callable[..., str]
) -> None:
    if name == "clipseg":
        pytest.skip("its networks are tested with it")
    if name == "naclip":
        pytest.skip("ten steps of PAMR, unrolled, take more than a minute to trace")
    torch.manual_seed(0)
    backbone = build_backbone(tiny_clip("vit"), weights="auto", image_size=SIZE)
    method: Method = METHODS.load(name)(backbone, len(CLASSES))
    run = opened(name, method, 0.4)
    if method.not_exported:
        with pytest.raises(ConfigError, match=f"{name} cannot be exported: .*{method.not_exported[:20]}"):
            export_onnx(run, tmp_path / "model.onnx")
        assert not any(tmp_path.iterdir())
        return
    assert not export_onnx(run, tmp_path / "model.onnx").parity.wrong
