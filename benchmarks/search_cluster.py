"""A search on a real Ray cluster of two nodes on this machine, with one worker killed in the middle: no trial lost.

    python benchmarks/search_cluster.py [--trials 4]

Trains the default method on coloured squares with a tiny network of random weights. Both nodes work; the worker of one
trial is killed (SIGKILL) after its first epoch, and the trial has to go on from its checkpoint. Writes
benchmarks/results/search_cluster.json, and fails if a trial is lost, begun anew, or if one node did nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from _machine import describe
from PIL import Image

from boxless.api import search
from boxless.search import cluster
from boxless.search.ledger import Trial

RESULTS = Path(__file__).parent / "results" / "search_cluster.json"
NODES = 2
SETTINGS = {
    "backbone.name": "test_resnet",
    "backbone.weights": "random",
    "backbone.freeze": False,
    "data.image_size": 64,
    "training.batch_size": 8,
    "training.epochs": 6,
    "training.checkpoint_minutes": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    arguments = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    cluster.PROBE_SECONDS = 300.0  # a benchmark may run on a busy machine

    with tempfile.TemporaryDirectory() as folder:
        data, out = write_squares(Path(folder) / "squares"), Path(folder) / "search"
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            nodes.add_node(num_cpus=1)
            nodes.wait_for_nodes()
            killer = Killer(out)
            killer.start()
            begun = time.perf_counter()
            settings = {**SETTINGS, "protocol.boxes": str(data / "boxes.csv")}
            found = search(
                data, out, trials=arguments.trials, settings=settings, address=nodes.address, stop_early=False
            )
            seconds = time.perf_counter() - begun
            killer.join(timeout=1)
        finally:
            nodes.shutdown()
        check(found.trials, killer, arguments.trials)
        told = {
            "nodes": len(killer.nodes),
            "trials": len(found.trials),
            "finished": sum(trial.state == "finished" for trial in found.trials),
            "killed": {"trial": killer.trial, "after_epochs": killer.epochs, "worker": "SIGKILL"},
            "workers_of_that_trial": len(killer.seen[killer.trial]),
            "seconds": round(seconds, 1),
            **describe("one thread a trial, one trial a node", "torch", "ray", "optuna"),
        }
    RESULTS.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=2))


class Killer(threading.Thread):
    """Kills the worker of the first trial that has an epoch behind it, and notes who works on each trial."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.trial, self.epochs, self.over = out, "", 0, False
        self.seen: dict[str, set[int]] = {}  # processes that worked on each trial
        self.nodes: set[int] = set()  # the parents of these: each node has one

    def run(self) -> None:
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline and not (self.out / "results.json").exists():
            for path in self.out.glob("trials/*/worker.json"):
                try:
                    pid = json.loads(path.read_text(encoding="utf-8"))["pid"]
                except (OSError, json.JSONDecodeError):
                    continue
                self.seen.setdefault(path.parent.name, set()).add(pid)
                with suppress(OSError):  # it has ended
                    self.nodes.add(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]))
                journal = path.parent / "metrics.jsonl"
                epochs = len(journal.read_text(encoding="utf-8").splitlines()) if journal.exists() else 0
                if not self.trial and 0 < epochs < SETTINGS["training.epochs"] - 2:  # type: ignore[operator]
                    os.kill(pid, signal.SIGKILL)
                    self.trial, self.epochs = path.parent.name, epochs
            time.sleep(0.02)


def check(trials: tuple[Trial, ...], killer: Killer, wanted: int) -> None:
    """Fail unless all are finished, and the killed one went on where it was."""
    assert killer.trial, "no worker was killed"
    assert [trial.state for trial in trials] == ["finished"] * wanted, trials
    assert len(killer.seen[killer.trial]) > 1, "the killed trial had no other worker"
    assert [len(trial.curve) for trial in trials] == [SETTINGS["training.epochs"]] * wanted
    assert len(killer.nodes) == NODES, "one node did all the work"


def write_squares(root: Path) -> Path:
    """Two classes: red and green squares on noise, with the boxes of val beside them."""
    random, lines = np.random.default_rng(0), ["path,x0,y0,x1,y1"]
    for channel, name in enumerate(("red", "green")):
        for split, count in (("train", 24), ("val", 6), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 80, (64, 80, 3)).astype(np.uint8)
                x, y = int(random.integers(0, 50)), int(random.integers(0, 34))
                pixels[y : y + 30, x : x + 30, channel] = 220
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
                lines.append(f"{split}/{name}/{number}.png,{x},{y},{x + 30},{y + 30}")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


if __name__ == "__main__":
    main()
