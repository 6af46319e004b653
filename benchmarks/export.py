"""How fast onnxruntime runs an exported model, as a ratio to torch on the same processor in the same process.

    python benchmarks/export.py [--size 160] [--rounds 7] [--methods cam,fcam,ted_loc]

Both take uint8 images in memory and give class scores and maps; torch has its fastest layout (channels last). They are
timed in turns, so that other work on the machine meets both, and the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe

from boxless.backbones.timm_backbone import TimmBackbone
from boxless.backbones.weights import OFFLINE_BACKBONE, has_package
from boxless.data.transforms import Preprocess
from boxless.export import OnnxEngine, export_onnx
from boxless.methods import METHODS
from boxless.predict.engine import Engine
from boxless.predict.torch_engine import TorchEngine
from boxless.recipe import MethodChoice, Recipe
from boxless.runs import Run

CLASSES = tuple(f"class {index}" for index in range(10))
BATCHES = {1: 8, 16: 2}  # images in a pass: passes that are timed together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160, help="side of the network's input")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", default="cam,fcam,ted_loc")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"network": f"{OFFLINE_BACKBONE} at {arguments.size} px, {len(CLASSES)} classes"}
    result |= describe(f"{torch.get_num_threads()} threads", "torch", "onnxruntime", "onnx")
    path = Path(__file__).parent / "results" / "export.json"
    result["methods"] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.methods.split(","):
            result["methods"][name] = measure(name, Path(scratch), arguments.size, arguments.rounds)
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")  # what is measured stays
    print(json.dumps(result, indent=2))


def measure(name: str, folder: Path, size: int, rounds: int) -> dict[str, Any]:
    run = make_run(name, size)
    began = time.perf_counter()
    done = export_onnx(run, folder / f"{name}.onnx")
    found: dict[str, Any] = {
        "export_seconds": round(time.perf_counter() - began, 1),
        "megabytes": round(done.file.stat().st_size / 1e6, 1),
        "largest_map_difference": done.parity.largest_map,
    }
    engines: dict[str, Engine] = {"torch": TorchEngine(run), "onnxruntime": OnnxEngine(done.file)}
    for batch, passes in BATCHES.items():
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        speeds: dict[str, list[float]] = {each: [] for each in engines}
        for turn in range(-1, rounds):  # the first turn warms up
            for each, engine in engines.items():
                speed = images_per_second(engine, images, passes)
                if turn >= 0:
                    speeds[each].append(speed)
        ratios = [b / a for a, b in zip(speeds["torch"], speeds["onnxruntime"], strict=True)]
        found[f"batch {batch}"] = {
            **{f"{each}_images_per_second": round(statistics.median(values), 1) for each, values in speeds.items()},
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(each, 2) for each in ratios],
        }
    return found


def make_run(name: str, size: int) -> Run:
    """A run as fast as a trained one: speed does not depend on the values of weights."""
    torch.manual_seed(0)
    weights = "package" if has_package(OFFLINE_BACKBONE) else "random"
    backbone = TimmBackbone(OFFLINE_BACKBONE, weights=weights, image_size=size)
    method = METHODS.load(name)(backbone, len(CLASSES)).eval().requires_grad_(requires_grad=False)
    return Run(
        folder=Path("benchmark"),
        recipe=Recipe(method=MethodChoice(name=name)),
        card={},
        classes=CLASSES,
        method=method,
        preprocess=Preprocess(size, backbone.mean, backbone.std),
        threshold=0.3,
        multi_label=False,
        device=torch.device("cpu"),
        digest="benchmark",
    )


def images_per_second(engine: Engine, images: np.ndarray[Any, np.dtype[np.uint8]], passes: int) -> float:
    began = time.perf_counter()
    for _ in range(passes):
        engine.forward(images)
    return passes * len(images) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
