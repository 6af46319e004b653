"""How fast box accuracy at 1,000 thresholds is, beside wsolevaluation, in one thread; writes results/evaluation.json.

    python benchmarks/evaluation.py [--peer DIR] [--maps 20] [--stream 50000]

The peer is the unmodified `BoxEvaluator.accumulate` of https://github.com/clovaai/wsolevaluation, from a checkout that
is named by --peer or BOXLESS_WSOLEVALUATION, or cloned into ~/.cache/boxless-bench; without one its part is left out.
Both are timed in turns on the same maps, one at a time, in processor seconds, each as the median of three calls; that
both find the same best IoU at every threshold is checked before anything is printed. Then: time a pixel by size, and
time and memory of a long stream of maps, which is a pool of them turned and rolled and runs in a process of its own.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
import make_box_golden as golden
import maps
from _machine import describe

from boxless.metrics.box_metric import BoxAccuracy
from boxless.metrics.boxes import iou_curves
from boxless.stream import default_workers

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
ADDRESS = "https://github.com/clovaai/wsolevaluation"
CACHE = Path.home() / ".cache" / "boxless-bench" / "wsolevaluation"
SIDES = (112, 224, 448, 896)
CONTOURS = ("largest", "all")
RULES = {"native": None, "compat": "wsolevaluation"}
POOL, BATCH = 64, 32
REPEATS = 3  # a single call is at the mercy of what else the machine does


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=os.environ.get("BOXLESS_WSOLEVALUATION"), help="a checkout of it")
    parser.add_argument("--maps", type=int, default=20, help="maps of each kind that both are timed on")
    parser.add_argument("--stream", type=int, default=50_000, help="maps in the stream; 0 leaves it out")
    parser.add_argument("--stream-only", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stream_only:
        print(json.dumps(stream(chosen.stream_only)))
        return
    cv2.setNumThreads(1)
    folder = find_peer(chosen.peer)
    result: dict[str, Any] = {"speed": speed(folder, chosen.maps), "nanoseconds_a_pixel": growth()}
    if chosen.stream:
        command = [sys.executable, __file__, "--stream-only", str(chosen.stream)]
        result["stream"] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    RESULTS.parent.mkdir(exist_ok=True)
    result |= describe("one thread", "numpy", "opencv-python-headless")
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    report(result)


def find_peer(named: Path | str | None) -> Path | None:
    """The peer's folder, as named or cloned; None if there is none."""
    folder = Path(named) if named else CACHE
    if not named and not (folder / "evaluation.py").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "clone", "--quiet", "--depth", "1", ADDRESS, str(folder)]
        environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"The ratio to wsolevaluation could not be measured: {ADDRESS} cannot be cloned ({error}).")
            print("Name a checkout of it with --peer DIR or BOXLESS_WSOLEVALUATION=DIR.", flush=True)
            return None
    golden.check_unmodified(folder)
    return folder


def make_cases(kind: str, count: int) -> list[maps.Case]:
    """Maps of one kind with one true box each, on an image of 500 x 375."""
    cases = []
    for index in range(count):
        draws = maps.Draws(1_000, index)
        values = maps.bells(draws, index) if kind == "bells" else maps.cubic_noise(draws, 0)
        box = np.array([maps.bright_box(draws, values, (500, 375))])
        cases.append(maps.Case(kind, f"{kind}_{index:03}", values, (500, 375), box))
    return cases


def speed(folder: Path | None, count: int) -> dict[str, dict[str, Any]]:
    """Seconds an image of the peer and of both of our rules."""
    peer = golden.load_peer(folder) if folder else None
    notes = golden.Notes(peer) if peer else None
    found: dict[str, dict[str, Any]] = {}
    for kind in ("bells", "cubic_noise"):
        cases = make_cases(kind, count)
        for contours in CONTOURS:
            times: dict[str, list[float]] = {"native": [], "compat": [], "wsolevaluation": []}
            with tempfile.TemporaryDirectory() as scratch:
                evaluator = golden.make_evaluator(peer, cases, contours, Path(scratch)) if peer else None
            ours(cases[0], contours, "native"), ours(cases[0], contours, "compat")  # compile, or read what was compiled
            for case in cases:
                curve = {}
                for rule in RULES:
                    repeats = [timed(ours, case, contours, rule) for _ in range(REPEATS)]
                    times[rule].append(statistics.median(seconds for seconds, _ in repeats))
                    curve[rule] = repeats[-1][1]
                if evaluator and notes:
                    repeats = [timed(evaluator.accumulate, case.values, case.name) for _ in range(REPEATS)]
                    times["wsolevaluation"].append(statistics.median(seconds for seconds, _ in repeats))
                    if not np.array_equal(curve["compat"], notes.best()):
                        raise SystemExit(f"{case.name}, {contours}: the curves differ; no time is reported.")
            found[f"{kind}, {contours}"] = summary(times)
    return found


def ours(case: maps.Case, contours: str, rule: str) -> np.ndarray:
    return iou_curves(case.values[None], [case.boxes], [case.size], contours=contours, compat=RULES[rule])[0]


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Processor seconds: other work on the machine shows less in them than in those of a clock."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over maps, of times and of each map's ratio with its quartiles, and the ratio of the total times."""
    found: dict[str, Any] = {"maps": len(times["native"])}
    for name, each in times.items():
        found[f"{name}_milliseconds"] = round(1e3 * statistics.median(each), 2) if each else None
    if times["wsolevaluation"]:
        for rule in RULES:
            ratios = np.divide(times["wsolevaluation"], times[rule])
            found[f"{rule}_times_as_fast"] = round(float(np.median(ratios)), 1)
            found[f"{rule}_times_as_fast_quartiles"] = np.quantile(ratios, [0.25, 0.75]).round(1).tolist()
            found[f"{rule}_times_as_fast_in_total"] = round(sum(times["wsolevaluation"]) / sum(times[rule]), 1)
    return found


def growth() -> dict[str, dict[str, float]]:
    """Nanoseconds a pixel, the median of five maps of 14 x 14 cubic noise, enlarged to each side."""
    found: dict[str, dict[str, float]] = {}
    for rule in RULES:
        for contours in CONTOURS:
            row = found[f"{rule}, {contours}"] = {}
            for side in SIDES:
                times = []
                for seed in range(5):
                    small = maps.Draws(2_000, seed).array(14, 14)
                    values = maps.stretch(maps.enlarge(maps.enlarge(small, side).T, side))
                    box = np.array([[side // 4, side // 4, side // 2, side // 2]])
                    case = maps.Case("noise", "noise", values, (side, side), box)
                    times.append(min(timed(ours, case, contours, rule)[0] for _ in range(3)))
                row[f"{side} px"] = round(1e9 * statistics.median(times) / side**2, 1)
    return found


class PeakMemory(threading.Thread):
    """The highest resident size of this process, looked at every 10 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process, self.peak = psutil.Process(), 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            self.peak = max(self.peak, self.process.memory_info().rss)


def stream(count: int) -> dict[str, Any]:
    """Seconds and growth of memory of `BoxAccuracy` over many maps, half smooth and half noise, in batches."""
    pairs = zip(make_cases("bells", POOL // 2), make_cases("cubic_noise", POOL // 2), strict=True)
    cases = [case for pair in pairs for case in pair]
    pool = np.stack([case.values for case in cases]).astype(np.float32)
    metric, seconds, done = BoxAccuracy(), 0.0, 0
    metric.update(pool[:BATCH], [case.boxes for case in cases[:BATCH]], [(500, 375)] * BATCH)
    metric.reset()
    before = psutil.Process().memory_info().rss
    memory = PeakMemory()
    memory.start()
    while done < count:
        size, first = min(BATCH, count - done), done % POOL
        batch = np.roll(pool[first : first + size, :: (-1) ** (done // POOL % 2)], done // POOL % maps.SIDE, axis=2)
        boxes = [case.boxes for case in cases[first : first + size]]
        start = time.perf_counter()
        metric.update(batch, boxes, [(500, 375)] * size)
        seconds += time.perf_counter() - start
        done += size
    memory.ended.set()
    memory.join()
    return {
        "maps": metric.compute().images,
        "seconds": round(seconds, 1),
        "megabytes_more_than_after_the_first_batch": round(max(memory.peak - before, 0) / 1e6, 1),
        "rule": "native, largest",
        "threads": default_workers(),
    }


def report(result: dict[str, Any]) -> None:
    for part, rows in result.items():
        print(f"{part}:")
        for name, row in rows.items():
            print(f"  {name}: {row}")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
