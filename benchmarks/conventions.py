"""How far boxless' own box rule and that of wsolevaluation lie apart on the same maps: the sample's test split.

    python benchmarks/conventions.py [--run RUN]

Maps of the true class, enlarged to the 224 x 224 grid on which wsolevaluation's rule is defined. Without a run the
default method is trained for two epochs first. Writes benchmarks/results/conventions.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import boxless
import boxless.metrics
from boxless.data.catalog import read_catalog
from boxless.data.truth import read_truth
from boxless.metrics import BoxAccuracy
from boxless.ops import resize
from boxless.protocol.passes import Pass

RESULTS = Path(__file__).parent / "results" / "conventions.json"
GRID = 224


def measure(run: Path) -> dict[str, object]:
    catalog = read_catalog("sample")
    truth = read_truth(catalog, "test").boxes
    metrics = {
        f"{contours}, {compat or 'native'}": BoxAccuracy(contours=contours, compat=compat)
        for contours in ("largest", "all")
        for compat in (None, "wsolevaluation")
    }
    work = Pass(boxless.Localizer.load(run, device="cpu").run, 32, named=False)
    for _, mapped in work.over(catalog.splits["test"]):
        maps = resize(torch.from_numpy(mapped.maps)[:, None], (GRID, GRID))[:, 0].clamp(0, 1).numpy()
        boxes = [truth.get(item.name, np.zeros((0, 4))) for item in mapped.items]
        for metric in metrics.values():
            metric.update(maps, boxes, mapped.sizes)
    return {name: figures(metric.compute()) for name, metric in metrics.items()}


def figures(scores: boxless.metrics.BoxScores) -> dict[str, float]:
    at_half = scores.accuracy[scores.iou.index(0.5)]
    return {
        "max_box_acc": round(scores.max_box_acc, 2),
        "best_threshold": round(scores.best_threshold, 3),
        "max_box_acc_v2": round(scores.max_box_acc_v2, 2),
        "box_accuracy_at_0.5": round(float(at_half[np.abs(scores.thresholds - 0.5).argmin()]), 2),
        "mean_iou_at_best": round(
            float(scores.mean_iou[np.abs(scores.thresholds - scores.best_threshold).argmin()]), 4
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run that knows the sample's classes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = (
            chosen.run
            or boxless.train(
                "sample", Path(folder) / "run", backbone="tf_efficientnet_lite0", epochs=2, device="cpu"
            ).folder
        )
        found = measure(run)
    for name, row in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    RESULTS.write_text(json.dumps({"figures": found, "date": datetime.now(UTC).date().isoformat()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
