"""How fast maps of a trained classifier are, and how much memory they take, beside pytorch-grad-cam and torchcam.

    pip install --no-deps -r benchmarks/requirements.txt      # `make bench` puts them into a folder of their own
    python benchmarks/maps.py [--rounds 3] [--batch 16] [--only xgradcam]

Both sides get the same network (random weights), layer, batch and classes (the predicted ones), and give the same
thing: a numpy array of maps in [0, 1] at the size of the images. They are timed in turns in one process and one thread,
in processor seconds, which other work on the machine disturbs less than those of a clock; maps that differ end it.
Memory is what the peak of a process of its own grows by with one call. pytorch-grad-cam has no CAM: whoever wants one
there takes Grad-CAM of the last layer, which for a head that averages and has one linear layer is CAM, less what is
negative; torchcam has CAM itself, and is held to it.

Score-CAM passes the image under each channel of the layer through the network, thousands of times for a batch. It is
timed at 64 pixels, for a ResNet after its first convolution (64 channels).
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TQDM_DISABLE"), "1")

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _machine import describe
from torch import Tensor

from boxless.maps import extract
from boxless.ops.maps import resize

try:
    import pytorch_grad_cam
    import torchcam.methods
except ImportError as error:
    sys.exit(f"{error}: there is nothing to measure against; pip install --no-deps -r benchmarks/requirements.txt")

RESULTS = Path(__file__).parent / "results" / "maps.json"
RESNET, TRANSFORMER = "resnet50", "vit_tiny_patch16_224"
SIDE, SCORE_SIDE, PATCH = 224, 64, 16
EQUAL = 1e-4  # the largest difference of maps in [0, 1] with which times are reported; float32 rounding is below it
MEGABYTE = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss is in bytes on macOS, in kilobytes elsewhere


@dataclass(frozen=True)
class Case:
    network: str
    layer: str
    name: str
    peer: str  # a class of pytorch-grad-cam
    side: int = SIDE
    settings: dict[str, Any] = field(default_factory=dict)
    torchcam: bool = False  # whether torchcam's CAM is measured too
    compared_with: str = "pytorch-grad-cam"

    @property
    def sides(self) -> tuple[str, ...]:
        return ("ours", "pytorch-grad-cam", "torchcam") if self.torchcam else ("ours", "pytorch-grad-cam")


LAYERS = {RESNET: "layer4", TRANSFORMER: "blocks.11.norm1"}
GRADIENT: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("gradcam", "GradCAM", {}),
    ("gradcam++", "GradCAMPlusPlus", {"epsilon": 1e-6}),
    ("xgradcam", "XGradCAM", {"epsilon": 1e-7}),
    ("layercam", "LayerCAM", {}),
)
CASES = (
    Case(RESNET, "layer4", "cam", "GradCAM", torchcam=True, compared_with="torchcam"),
    *(Case(network, layer, *each[:2], settings=each[2]) for network, layer in LAYERS.items() for each in GRADIENT),
    Case(RESNET, "act1", "scorecam", "ScoreCAM", SCORE_SIDE),
    Case(TRANSFORMER, "blocks.11.norm1", "scorecam", "ScoreCAM", SCORE_SIDE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each side is timed for")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--only", default="", help="one map, with which no result is written")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in CASES if chosen.only in ("", case.name)]
    # First of all: what this process once used and gave back would be there for its children to use again.
    memory = [{name: apart(case, chosen.batch, name) for name in case.sides} for case in cases]
    found: dict[str, dict[str, Any]] = {}
    for case, peaks in zip(cases, memory, strict=True):
        row = found[f"{case.network}, {case.name}"] = measure(case, peaks, chosen.batch, chosen.rounds)
        print(f"{case.network}, {case.name}: {json.dumps(row)}", flush=True)
    if not chosen.only:
        RESULTS.parent.mkdir(exist_ok=True)
        made = {"batch": chosen.batch, "rounds": chosen.rounds}
        made |= describe("one thread", "torch", "timm", "grad-cam", "torchcam")
        RESULTS.write_text(json.dumps({"maps": found} | made, indent=2) + "\n", encoding="utf-8")
        print("\n".join(table(found)), f"written to {RESULTS}", sep="\n")


def make_sides(case: Case, batch: int) -> dict[str, Callable[[], Any]]:
    """What each side calls: no argument, maps (b, side, side)."""
    torch.manual_seed(0)
    sized = {"img_size": case.side} if case.network == TRANSFORMER else {}
    model = timm.create_model(case.network, **sized).eval()
    images = smooth_images(batch, case.side)
    module = dict(model.named_modules())[case.layer]

    def ours() -> Any:
        maps = extract(case.name, model, images, layers=case.layer, **case.settings).maps
        return resize(maps[:, None], (case.side, case.side))[:, 0].numpy()

    def peer() -> Any:
        with getattr(pytorch_grad_cam, case.peer)(model, [module], reshape(case)) as extractor:
            return extractor(images, None)

    def of_torchcam() -> Any:
        with torchcam.methods.CAM(model, case.layer, "fc") as extractor, torch.no_grad():
            scores = model(images)
            maps = extractor(scores.argmax(1).tolist(), scores)[0]
        return resize(maps[:, None], (case.side, case.side))[:, 0].numpy()

    return {"ours": ours, "pytorch-grad-cam": peer, "torchcam": of_torchcam}


def smooth_images(batch: int, side: int) -> Tensor:
    """Noise of 14 x 14 cells, enlarged: what is seen differs from place to place."""
    coarse = torch.randn(batch, 3, 14, 14, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)


def reshape(case: Case) -> Callable[[Tensor], Tensor] | None:
    """What pytorch-grad-cam needs to be told of a transformer: where its patches lie."""
    rows = case.side // PATCH
    if case.network != TRANSFORMER:
        return None
    return lambda tokens: tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, rows)


def measure(case: Case, memory: dict[str, float], batch: int, rounds: int) -> dict[str, Any]:
    calls = make_sides(case, batch)
    sides = {name: calls[name] for name in case.sides}
    make_sides(case, 1)["ours"]()  # warms up
    times: dict[str, list[float]] = {name: [] for name in sides}
    maps = {}
    for turn in range(rounds):
        for name in list(sides)[:: (-1) ** turn]:
            seconds, maps[name] = timed(sides[name])
            times[name].append(seconds)
    difference = float(np.abs(unit(maps["ours"]) - unit(maps[case.compared_with])).max())
    if not difference <= EQUAL:
        raise SystemExit(f"{case.network}, {case.name}: the maps differ by {difference:.1e}; no time is reported.")
    found: dict[str, Any] = {"layer": case.layer, "side": case.side, "largest_difference": float(f"{difference:.1e}")}
    for name in sides:
        found[name] = {
            "images_per_second": round(batch / statistics.median(times[name]), 2),
            "peak_megabytes": round(memory[name]),
        }
        if name != "ours":
            ratios = np.divide(times[name], times["ours"])
            found[name]["ours_times_as_fast"] = round(float(np.median(ratios)), 2)
            found[name]["quartiles"] = np.quantile(ratios, [0.25, 0.75]).round(2).tolist()
    return found


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    maps = call()
    return time.process_time() - start, maps


def apart(case: Case, batch: int, side: str) -> float:
    """Megabytes by which the peak of a process of its own grows with a call, after the network is built."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        call = make_sides(case, batch)[side]
        before = peak()
        call()
        sender.send(peak() - before)

    process = context.Process(target=child)
    process.start()
    sender.close()  # so that a child that dies is seen here
    grown: float = receiver.recv()
    process.join()
    return grown


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """The rows for README.md."""
    rows = []
    for name, row in found.items():
        ours = row["ours"]
        for peer in ("pytorch-grad-cam", "torchcam"):
            if theirs := row.get(peer):
                speeds = f"{theirs['images_per_second']} | {ours['images_per_second']}"
                low, high = theirs["quartiles"]
                times = f"{theirs['ours_times_as_fast']} ({low}-{high})"
                megabytes = f"{theirs['peak_megabytes']:,} | {ours['peak_megabytes']:,}"
                rows.append(f"| {name} | {peer} | {speeds} | {times} | {megabytes} |")
    return rows


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE


def unit(maps: Any) -> Any:
    """Maps as float64, each brought into [0, 1]: enlarged ones need not reach both ends."""
    values = maps.astype(float)
    lowest, highest = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    return (values - lowest) / (highest - lowest)


if __name__ == "__main__":
    main()
