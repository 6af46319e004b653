"""What it costs to train a localizer from pseudo-labels: the time of each part, for 2,000 images at 128 pixels.

    python benchmarks/training.py [--method dips] [--images 2000] [--size 128]

Trains on images of the bundled sample by the settings of the method's own recipe, with the offline backbone, frozen.
Writes benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import torch
from _clock import Clock
from _machine import describe

import boxless
from boxless.data.catalog import SAMPLE, read_catalog

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="dips")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    catalog = read_catalog(SAMPLE)
    items = catalog.splits["train"]
    step = len(items) / arguments.images
    chosen = [items[int(place * step)] for place in range(arguments.images)]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label"))
            rows.writerows((item.path, catalog.classes[item.labels[0]]) for item in chosen)
        clock, started = Clock(), time.perf_counter()
        boxless.train(
            table,
            Path(folder) / "run",
            recipe=ROOT / "recipes" / "sample" / f"{arguments.method}-tf_efficientnet_lite0.yaml",
            image_size=arguments.size,
            device="cpu",
            listener=clock,
        )
        total = time.perf_counter() - started
    found = {
        "method": arguments.method,
        "images": arguments.images,
        "size": arguments.size,
        "minutes": round(total / 60, 1),
        "seconds": clock.seconds,
        **describe(f"{torch.get_num_threads()} torch threads", "torch", "timm"),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
