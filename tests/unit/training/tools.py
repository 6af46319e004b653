"""What tests of training share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from boxless.listener import Listener


class StopAfter(Listener):
    """Presses Ctrl-C once a number of steps of one stretch of work are done."""

    def __init__(self, steps: int, task: str) -> None:
        self.left, self.task, self.current = steps, task, ""

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.current = task

    def advance(self, steps: int = 1, **figures: float) -> None:
        if self.current.startswith(self.task):
            self.left -= steps
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def in_two_processes(*program: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", *program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.begun.append((task, total, done))

    def note(self, text: str) -> None:
        self.notes.append(text)
