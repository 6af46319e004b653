"""What a method finds on the bundled sample, trained here and now; writes benchmarks/results/accuracy.json.

    python benchmarks/accuracy.py [--only NAME ...] [--epochs N]

Each row is a training from the offline backbone with one seed, then an evaluation on the sample's test split.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import boxless
from boxless.metrics import Estimate
from boxless.protocol.evaluate import evaluate

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
ROWS: dict[str, dict[str, object]] = {
    "cam": {},
    "cam, as the paper: one stage, 1024 channels": {"method.fuse": False, "method.hidden": 1024},
    "cam, one stage, 256 channels": {"method.fuse": False},
    "cam, last stage, no convolution": {"method.stride": 32, "method.hidden": 0, "method.fuse": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    parser.add_argument("--epochs", type=int, default=None)
    arguments = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    for name in arguments.only:
        found["rows"][name] = measure(ROWS[name], arguments.epochs)
        row = found["rows"][name]
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items() if key != "settings"), flush=True)
        found["date"] = datetime.now(UTC).date().isoformat()
        found["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, no accelerator"
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def shown(estimate: Estimate, digits: int = 1) -> list[float]:
    """The figure and its 95 % interval."""
    return [round(value, digits) for value in (estimate.value, estimate.low, estimate.high)]


def measure(settings: dict[str, object], epochs: int | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = boxless.train(
            "sample",
            Path(folder) / "run",
            backbone="tf_efficientnet_lite0",
            epochs=epochs,
            settings=settings,
            device="cpu",
        ).folder
        seconds = time.perf_counter() - started
        report = evaluate(run, "sample", device="cpu", protocol="otsu,validation,oracle-test")
    oracle, otsu = report.column("oracle-test"), report.column("otsu").figures
    validation = report.column("validation")
    return {
        "box_accuracy_otsu": shown(otsu["box_accuracy"]),
        "box_accuracy_validation": shown(validation.figures["box_accuracy"]),
        "max_box_accuracy_oracle": shown(oracle.figures["box_accuracy"]),
        "validation_threshold": validation.threshold.at(0.5),
        "oracle_threshold": oracle.threshold.at(0.5),
        "top1_localization_otsu": shown(otsu["top1_localization"]),
        "class_accuracy": shown(report.figures["class_accuracy"]),
        "mean_iou_otsu": shown(otsu["mean_iou"], 3),
        "train_seconds": round(seconds),
        "settings": settings,
    }


if __name__ == "__main__":
    main()
