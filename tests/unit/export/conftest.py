"""A run whose maps are known by hand, exported once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boxless.backbones.base import Backbone, Stage
from boxless.data.transforms import Preprocess
from boxless.export import export_onnx
from boxless.methods.base import Method, Paper, asked_classes, pick
from boxless.recipe import Recipe
from boxless.runs import Run
from boxless.types import Batch, Features, Localization

SIZE = 32
CLASSES = ("red", "green", "blue – 青")


class Nothing(Backbone):
    """It gives the image as it is."""

    prefix_tokens, licence = 0, "none"
    mean, std = (0.25, 0.5, 0.5), (0.5, 0.25, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.stages = (Stage("image", 3, 1),)
        self.weight = nn.Parameter(torch.ones(1))

    def extract(self, images: Tensor) -> Features:
        return Features((images * self.weight,))


class Colours(Method):
    """The map of a class is how bright its colour is, its score the sum of it; a white corner makes it not finite."""

    paper = Paper("Nobody", "A toy", "nowhere", 2000, "https://example.org")

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise NotImplementedError

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        deviations, means = (torch.tensor(each).reshape(3, 1, 1) for each in (self.backbone.std, self.backbone.mean))
        shown = (self.backbone(images).grids[-1] * deviations + means).clamp(0, 1)
        logits = shown.sum((2, 3)) / 64
        classes = asked_classes(logits, classes)
        white = shown[:, :, :1, :1].amin(1, keepdim=True) > 0.99
        return Localization(logits, pick(torch.where(white, torch.nan, shown), classes), classes)


class Shared(Colours):
    """All classes have the map of the first."""

    class_specific = False

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        said = super().localize(images, torch.zeros_like(images[:, :1, 0, 0], dtype=torch.int64))
        classes = asked_classes(said.logits, classes)
        return Localization(said.logits, said.maps.expand(-1, classes.shape[1], -1, -1), classes)


def opened(method: type[Method] = Colours, threshold: float | str = 0.5, **changed: object) -> Run:
    network = method(Nothing(), len(CLASSES)).eval().requires_grad_(requires_grad=False)
    card = {
        "selection": {"by": "classification", "criterion": "class accuracy on val"},
        "threshold": {"rule": threshold},
    }
    fields = {
        "folder": Path("runs/colours"), "recipe": Recipe(), "card": card, "classes": CLASSES, "method": network,
        "preprocess": Preprocess(SIZE, Nothing.mean, Nothing.std), "threshold": threshold, "multi_label": False,
        "device": torch.device("cpu"), "digest": "colours",
    }  # fmt: skip
    return Run(**(fields | changed))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def run() -> Run:
    return opened()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a kind: ``predicted`` (and for any size), ``all`` (by Otsu's threshold) or ``shared``."""
    folder = tmp_path_factory.mktemp("models")
    kinds = {
        "predicted": (opened(), {"any_size": True}),
        "all": (opened(threshold="otsu"), {"maps": "all"}),
        "shared": (opened(Shared), {}),
    }

    def make(kind: str) -> Path:
        file = folder / f"{kind}.onnx"
        if not file.exists():
            of, settings = kinds[kind]
            export_onnx(of, file, **settings)  # type: ignore[arg-type]
        return file

    return make


def painted(*boxes: tuple[int, int, int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> NDArray[np.uint8]:
    """A black image (h, w, 3) with boxes (channel, x0, y0, x1, y1) of full colour; size is (width, height)."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for channel, x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1, channel] = 255
    return image
