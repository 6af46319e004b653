from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxless.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests of this folder share


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured squares on noise, 10 images each."""
    root, random = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        for split, count in (("train", 8), ("val", 2), ("test", 2)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 80, (64, 80, 3)).astype(np.uint8)
                x, y = random.integers(0, 50), random.integers(0, 34)
                pixels[y : y + 30, x : x + 30, channel] = 220
                Image.fromarray(pixels).save(folder / f"{split}{number}.png")
    return root


@pytest.fixture
def recipe(shapes: Path) -> Recipe:
    """A small run of a network without batch statistics, whose steps do not depend on how a batch is cut."""
    return Recipe().override(
        data={"source": str(shapes), "image_size": 64},
        backbone={"name": "test_vit", "weights": "random", "freeze": False},
        method={"name": "cam", "dropout": 0.0, "hidden": 32},
        training={"epochs": 3, "batch_size": 8, "learning_rate": 1e-3},
        protocol={"select": "classification", "threshold": "otsu"},  # nothing then makes pseudo-boxes
    )
