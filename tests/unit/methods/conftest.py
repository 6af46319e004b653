from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone, Stage
from boxless.methods.base import Method
from boxless.pseudo.records import Proposals
from boxless.types import Batch, Features


class Pyramid(Backbone):
    """The image is the finest grid, its 2 x 2 means the next, their 2 x 2 means the coarsest; it counts its passes."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stages = tuple(Stage(name, channels, 2**i) for i, name in enumerate(("fine", "middle", "coarse")))
        self.prefix_tokens, self.licence = 0, "none"
        self.mean = self.std = (0.0, 0.0, 0.0)
        self.passes = 0
        self.seen: Tensor | None = None

    def admit(self, stage: int) -> None:
        pass

    def extract(self, images: Tensor) -> Features:
        self.passes, self.seen = self.passes + 1, images
        grids = [self.pass_through(0, images)]
        for stage in range(1, len(self.stages)):
            grids.append(self.pass_through(stage, F.avg_pool2d(grids[-1], 2, ceil_mode=True)))
        return Features(tuple(grids[tap] for tap in self.taps))


@pytest.fixture
def pyramid() -> Callable[..., Pyramid]:
    return Pyramid


@pytest.fixture
def some_batch() -> Callable[..., Batch]:
    def build(count: int = 3, side: int = 8, classes: int = 4, *, channels: int = 3, several: bool = False) -> Batch:
        generator = torch.Generator().manual_seed(11)
        images = torch.rand(count, channels, side, side, generator=generator)
        labels = torch.arange(count) % classes
        targets = F.one_hot(labels, classes).float()
        if several:
            targets[:, 0] = 1
        return Batch(images, labels, targets, torch.arange(count), several)

    return build


@pytest.fixture
def some_pseudo() -> Callable[..., Proposals]:
    """The same proposals for each image: boxes on a grid, and the activations (k, h', w') that each is of."""

    def build(boxes: list[tuple[float, ...]], activations: Tensor, grid: tuple[int, int], count: int = 3) -> Proposals:
        places = len(boxes)
        return Proposals(
            boxes=torch.tensor(boxes).float().expand(count, places, 4),
            scores=torch.ones(count, places),
            maps=torch.zeros(count, places, dtype=torch.int64),
            valid=torch.ones(count, places, dtype=torch.bool),
            kept_largest=torch.zeros(count, dtype=torch.bool),
            activations=activations.half().expand(count, places, *activations.shape[1:]),
            grid=grid,
        )

    return build


@pytest.fixture
def plain_crf() -> Callable[..., float]:
    """The dense CRF loss with its weight, from the whole affinity matrix: equation 2.3 over the pairs of pixels."""

    def compute(foreground: Tensor, colours: Tensor, *, weight: float, scale: float = 1.0) -> float:
        maps = torch.stack([1 - foreground, foreground], 1).double()
        if scale != 1:
            maps = F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
            colours = F.interpolate(colours, scale_factor=scale)
        height, width = maps.shape[2:]
        sigma = 100 * (height * width) ** 0.5 / 224
        places = torch.cartesian_prod(torch.arange(float(height)), torch.arange(float(width))).double() / sigma
        energies = []
        for each, colour in zip(maps.flatten(2), colours.flatten(2).mT.double() / 15, strict=True):
            affinity = torch.exp(-(torch.cdist(places, places) ** 2 + torch.cdist(colour, colour) ** 2) / 2)
            energies.append((each * ((1 - each) @ affinity)).sum() / (height * width) ** 2)
        return weight * 224**4 * float(torch.stack(energies).mean())

    return compute


@pytest.fixture
def descend() -> Callable[[Method, Batch], dict[str, float]]:
    """One step of gradient descent at rate 1 on the sum of the losses, which are returned."""

    def run(method: Method, batch: Batch) -> dict[str, float]:
        losses = method.train().losses(batch, 0.0)
        parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(torch.stack(list(losses.values())).sum(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= gradient
        return {name: value.item() for name, value in losses.items()}

    return run


GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def peer_steps() -> dict[str, Any]:
    """What wsolevaluation computes; the file says how it was made."""
    content: dict[str, Any] = json.loads((GOLDEN / "training_steps.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="session")
def step_cases() -> ModuleType:
    """The inputs and weights of those steps."""
    specification = importlib.util.spec_from_file_location("step_cases", GOLDEN / "step_cases.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
