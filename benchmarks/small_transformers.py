"""The methods for transformers on the bundled sample, on one small transformer that is taught here first.

    python benchmarks/small_transformers.py [--only NAME ...] [--keep DIR]

No transformer's weights come in a package, so one is taught the offline network's features (see _distil.py). Each row
is a training of all of it from those weights with one seed, then an evaluation on the test split of the sample. Writes
benchmarks/results/transformers.json and the tables of docs/transformers.md and docs/methods.md; with --keep a second
call goes on where the first one was stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accuracy
import torch
from _distil import STUDENT, distil
from _machine import describe

import boxless
from boxless.protocol.evaluate import evaluate
from boxless.protocol.report import Report
from boxless.runs import CARD, RECIPE, read_card

RESULTS = accuracy.TRANSFORMERS
PAGE = accuracy.ROOT / "docs" / "transformers.md"
SIDE, TAUGHT_EPOCHS = 128, 12
BASE = "cam"
SHARED: dict[str, object] = {
    "backbone.freeze": False,
    "data.image_size": SIDE,
    "training.epochs": 5,
    "training.learning_rate": 5e-4,
    "training.backbone_scale": 0.4,
    "training.weight_decay": 0.05,
    "protocol.select": "last",
    "protocol.threshold": "otsu",
}
ROWS: dict[str, dict[str, object]] = {
    BASE: {"method.hidden": 0, "method.fuse": False},
    "ts_cam": {},
    "scm": {},
    "sat": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--keep", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        weights = folder / f"{STUDENT}.safetensors"
        if not weights.exists():
            record("taught", distil(weights, side=SIDE, epochs=TAUGHT_EPOCHS))
        base: Report | None = None
        for name in ROWS if arguments.only is None else [BASE, *(each for each in ROWS if each in arguments.only)]:
            run = train(name, weights, folder)
            report = evaluate(run, "sample", device="cpu", protocol="otsu,validation,oracle-test")
            base = report if name == BASE else base
            record(name, accuracy.figures(report, base) | {"train_seconds": read_card(run)["training_seconds"]})


def train(name: str, weights: Path, folder: Path) -> Path:
    """A run folder, kept from an earlier call if it is whole."""
    run = folder / name
    if (run / CARD).exists():
        return run
    if (run / RECIPE).exists():
        boxless.train(None, run, resume=True, device="cpu")
    else:
        settings = SHARED | ROWS[name] | {"backbone.weights": str(weights)}
        boxless.train("sample", run, method=name, backbone=STUDENT, settings=settings, device="cpu")
    return run


def record(name: str, row: Mapping[str, Any]) -> None:
    """Keep a row at once, and write the tables."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": {}}
    made = describe(f"{torch.get_num_threads()} torch threads", "torch", "timm")
    found["rows"][name] = dict(row) | made
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if name in ROWS:
        accuracy.write_page(PAGE, accuracy.rows_table(found["rows"], tuple(ROWS), COLUMNS))
        accuracy.write_page(accuracy.PAGE, accuracy.table(json.loads(accuracy.RESULTS.read_text())["rows"]))


COLUMNS: accuracy.Columns = {
    "ORACLE: these boxes": ("max_box_accuracy_oracle", 1),
    f"less {BASE}'s": (f"box_accuracy_less_{BASE}_oracle-test", 1),
    "Otsu: no box": ("box_accuracy_otsu", 1),
    "class accuracy": ("class_accuracy", 1),
    "mean IoU": ("mean_iou_otsu", 3),
    "minutes of steps": ("train_seconds", 0),
}

if __name__ == "__main__":
    main()
