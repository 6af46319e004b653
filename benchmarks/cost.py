"""What one image costs at inference, as table 3.3 of the thesis has it: parameters, operations, milliseconds.

    python benchmarks/cost.py [--device cpu] [--repeats 10] [--only TEXT]

Networks have random weights, which changes nothing here. A row is one method on one backbone as `localize` runs it on
one image: the class and its map. ``passes`` counts how often the backbone was run for it; parameters are those that it
reads, without the anchors or texts of classes, which are fixed. Writes benchmarks/results/cost.json, a table for each
device.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _machine import describe
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from boxless.backbones.build import build_backbone
from boxless.methods import METHODS
from boxless.methods.base import Method

RESULTS = Path(__file__).parent / "results" / "cost.json"
WARM = 3
ROWS: dict[str, dict[str, Any]] = {
    "cam, DeiT-S (the size of TS-CAM)": {
        "method": "cam",
        "backbone": "deit_small_patch16_224.fb_in1k",
        "settings": {"hidden": 0},
    },
    "ted_loc, EfficientNet-Lite0": {
        "method": "ted_loc",
        "backbone": "tf_efficientnet_lite0.in1k",
        "settings": {"dimensions": 256},
    },
    "ted_loc, DeiT-S": {"method": "ted_loc", "backbone": "deit_small_patch16_224.fb_in1k"},
    "ted_loc, EVA-L": {"method": "ted_loc", "backbone": "eva_large_patch14_196.in22k_ft_in1k", "size": 196},
    "ted_loc, EVA-L, maps by anchors": {
        "method": "ted_loc",
        "backbone": "eva_large_patch14_196.in22k_ft_in1k",
        "size": 196,
        "settings": {"localization": "anchors"},
    },
    "clip_es, ViT-B/16": {"method": "clip_es", "backbone": "open_clip:ViT-B-16/openai"},
}
USUAL = {"dimensions": 768, "anchors": "auto"}  # CLIP ViT-L's text tower, as for the thesis' table 3.1
CLASSES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    rows = dict(measured(torch.device(arguments.device), arguments.repeats, arguments.only))
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    made = describe(f"{torch.get_num_threads()} torch threads", "torch", "timm")
    if arguments.device != "cpu":
        made["machine"] = f"{torch.cuda.get_device_name()}, {made['machine']}"
    kept = found.get(arguments.device, {}).get("rows", {})
    found[arguments.device] = {"classes": CLASSES, **made, "rows": kept | rows}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measured(device: torch.device, repeats: int, only: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, row in ROWS.items():
        if only not in name:
            continue
        size = row.get("size", 224)
        method = built(row, size).to(device)
        images = torch.rand(1, 3, size, size, device=device)
        figures = {
            "image_size": size,
            "parameters_millions": round(used(method, images) / 1e6, 2),
            "gigamacs": round(operations(method, images) / 2e9, 2),
            "passes": passes(method, images),
            "milliseconds": round(1000 * seconds(lambda m=method, i=images: m.localize(i), repeats, device), 1),
        }
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
        yield name, figures


def built(row: dict[str, Any], size: int) -> Method:
    backbone = build_backbone(row["backbone"], weights="random", image_size=size)
    settings = row.get("settings", {})
    if row["method"] == "ted_loc":
        settings = USUAL | settings
    method: Method = METHODS.load(row["method"])(backbone, CLASSES, **settings)
    return method.eval().requires_grad_(requires_grad=False)


def used(method: Method, images: Tensor) -> int:
    """Parameters that a prediction reads: those that a gradient of it reaches; all of a method that is not trained."""
    if not method.needs.trains:
        return sum(each.numel() for each in method.parameters())
    method.requires_grad_(requires_grad=True)
    said = method.localize(images)
    (said.logits.sum() + said.maps.sum()).backward()
    reached = sum(each.numel() for each in method.parameters() if each.grad is not None)
    method.zero_grad(set_to_none=True)
    method.requires_grad_(requires_grad=False)
    return reached


def operations(method: Method, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        method.localize(images)
    return int(counter.get_total_flops())


def passes(method: Method, images: Tensor) -> int:
    """How often the backbone was run."""
    count = 0
    first = next(each for each in method.backbone.modules() if isinstance(each, nn.Conv2d))

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    handle = first.register_forward_pre_hook(add)
    method.localize(images)
    handle.remove()
    return count


def seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median of some calls."""
    took = []
    for step in range(WARM + repeats):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step >= WARM:
            took.append(time.perf_counter() - started)
    return statistics.median(took)


if __name__ == "__main__":
    main()
