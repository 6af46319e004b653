"""Work that is stopped from outside goes on where it was, and ends as if it had never been stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boxless.cli.app import app

from .conftest import TINY, Boxless, start

SLOW = ("--method", "toys:Toy", "--epochs", 3, *TINY, "--set", "training.checkpoint_minutes=0")


@pytest.fixture(scope="module")
def unbroken(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from .conftest import HERE, call

    folder = tmp_path_factory.mktemp("unbroken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        assert call("train", shapes, "--out", folder, *SLOW, "--set", "method.pause=0.4").code == 0
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_stopped_run_ends_as_an_unbroken_one(
    boxless: Boxless, toys: None, shapes: Path, tmp_path: Path, unbroken: bytes, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(("train", shapes, "--out", folder, *SLOW, "--set", "method.pause=0.4"))
    deadline = time.monotonic() + 150
    while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert not (folder / "card.json").exists(), err
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert f"boxless train --resume --out {folder} --trust" in err
        assert "Traceback" not in err
    done = boxless("train", "--resume", "--out", folder, "--method", "toys:Toy")
    assert done.code == 0, done.err
    assert (folder / "model.safetensors").read_bytes() == unbroken
    assert not (folder / "checkpoint.safetensors").exists()


def test_stopped_prediction_says_that_the_same_command_goes_on(
    boxless: Boxless, run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "predict",
        str(run),
        str(shapes / "test"),
        "--out",
        str(tmp_path),
        "--format",
        "coco",
        "--batch-size",
        "2",
    ]
    from boxless.predict.torch_engine import TorchEngine

    real, calls = TorchEngine.forward, []

    def stopping(self, images, classes=None):
        calls.append(images)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, images, classes)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "forward", stopping)
        stopped = CliRunner().invoke(app, command, catch_exceptions=False)
    assert stopped.exit_code == 1
    assert "give the same command again" in stopped.stderr
    done = boxless(*command, "--json")
    assert (done.json["skipped"], done.json["written"]) == (4, 5)
