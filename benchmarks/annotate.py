"""What pseudo-boxes cost: the time of each part, for 1,000 images at 128 pixels.

    python benchmarks/annotate.py [--annotator selective_search] [--images 1000] [--size 128]

Images of val and test of the bundled sample; the classifier is the probe that a user gets who names none, fitted to
all of train. Writes benchmarks/results/annotate.json.
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

RESULTS = Path(__file__).parent / "results" / "annotate.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotator", default="selective_search")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    splits = read_catalog(SAMPLE).splits
    held = [*splits["val"], *splits["test"]][: arguments.images]
    classes = read_catalog(SAMPLE).classes
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label", "split"))
            for split, items in (("train", splits["train"]), ("val", held)):
                rows.writerows((item.path, classes[item.labels[0]], split) for item in items)
        clock, processor, started = Clock(), time.process_time(), time.perf_counter()
        done = boxless.annotate(
            table,
            Path(folder) / "boxes",
            annotator=arguments.annotator,
            image_size=arguments.size,
            split="val",
            device="cpu",
            listener=clock,
        )
        total, worked = time.perf_counter() - started, time.process_time() - processor
    found = {
        "annotator": arguments.annotator,
        "images": done.images,
        "without_box": done.empty,
        "size": arguments.size,
        "minutes": round(total / 60, 1),
        "processor_minutes": round(worked / 60, 1),
        "seconds": clock.seconds,
        **describe(f"{torch.get_num_threads()} torch threads", "torch", "timm"),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
