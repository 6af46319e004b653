"""The verbs as a user types them, on three classes of coloured shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from boxless.cli.app import app

HERE = Path(__file__).parent
TINY = (
    "--backbone",
    "test_resnet",
    "--set",
    "backbone.weights=random",
    "--image-size",
    "64",
    "--set",
    "training.batch_size=8",
)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Boxless = Callable[..., Done]


def call(*arguments: object) -> Done:
    """Run a verb in this process; what is not the user's error is raised."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(
        app, [str(each) for each in arguments], catch_exceptions=False, prog_name="boxless"
    )
    return Done(result.exit_code, result.stdout, result.stderr)


def start(arguments: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    """Run a verb in a process of its own, with the toy methods at hand."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "COLUMNS": "100"}
    command = [sys.executable, "-c", "from boxless.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.fixture
def boxless() -> Boxless:
    return call


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


def shape(channel: int, seed: int, size: tuple[int, int] = (80, 64)) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A coloured square on noise, and its box."""
    random = np.random.default_rng((channel, seed))
    pixels = random.integers(0, 80, (size[1], size[0], 3)).astype(np.uint8)
    x, y = int(random.integers(0, size[0] - 30)), int(random.integers(0, size[1] - 30))
    pixels[y : y + 30, x : x + 30, channel] = 220
    return Image.fromarray(pixels), (x, y, x + 30, y + 30)


def make_shapes(root: Path, counts: dict[str, int]) -> Path:
    """A class-per-folder tree with splits, and the boxes beside it."""
    lines = ["path,x0,y0,x1,y1"]
    for channel, name in enumerate(("red", "green", "blue")):
        for place, (split, count) in enumerate(counts.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image, box = shape(channel, 100 * place + number)
                image.save(folder / f"{number}.png")
                lines.append(f"{split}/{name}/{number}.png,{','.join(map(str, box))}")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", {"train": 8, "val": 2, "test": 3})


@pytest.fixture(scope="session")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = call("train", shapes, "--out", folder, "--epochs", 2, *TINY)
    assert done.code == 0, done.err
    return folder
