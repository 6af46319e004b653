"""Localizers of video frames on the bundled clips: each frame by itself, with those before it, and the losses apart.

    python benchmarks/clips.py [--only NAME ...] [--keep DIR]

Each row is a training on the clips (one frame of each shot an epoch, offline backbone, frozen, one seed) and CorLoc of
the test clips by class: at the threshold that the run took from pseudo-boxes of val, and at the two oracles of the
published tables. Pseudo-boxes of val and features are made once. Also how many frames a second training and prediction
take. Writes benchmarks/results/clips.json and the table of docs/learning-from-videos.md; with --keep a second call goes
on where the first one was stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import accuracy
import torch
from _machine import describe

import boxless
from boxless import Localizer
from boxless.data.catalog import read_catalog
from boxless.data.sample.clips import write_clips
from boxless.predict.video import predict_video
from boxless.protocol.evaluate import evaluate
from boxless.protocol.figures import (
    ABSENT_GIVEN_BOX,
    AUROC_CLASS,
    AUROC_PRESENCE,
    CORLOC,
    CORLOC_OWN,
    OBJECT_KEPT_BOX,
)
from boxless.protocol.report import Report, compare
from boxless.runs import CARD, RECIPE, read_card
from boxless.search.prepare import give_boxes

RESULTS = accuracy.VIDEOS
PAGE = accuracy.ROOT / "docs" / "learning-from-videos.md"
BASE = "cam"
SHARED: dict[str, object] = {
    "backbone.name": "tf_efficientnet_lite0",
    "backbone.freeze": True,
    "data.image_size": 160,
    "training.epochs": 24,
    "training.batch_size": 8,
    "protocol.boxes": "selective_search",
}
ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "cam": ("cam", {}),
    "tcam, each frame by itself": ("tcam", {"method.neighbours": 0}),
    "tcam": ("tcam", {}),
    "tr_cam_v, alignment": ("tr_cam_v", {"method.size_weight": 0.0, "method.crf_weight": 0.0}),
    "tr_cam_v, alignment and size": ("tr_cam_v", {"method.crf_weight": 0.0}),
    "tr_cam_v, alignment and CRF": ("tr_cam_v", {"method.size_weight": 0.0}),
    "tr_cam_v": ("tr_cam_v", {}),
}
COLUMNS: accuracy.Columns = {
    "run's threshold": ("corloc_run", 1),
    "Otsu's": ("corloc_otsu", 1),
    f"less {BASE}'s at Otsu's": (f"corloc_otsu_less_{BASE}", 1),
    "ORACLE: one threshold": ("corloc_oracle", 1),
    f"less {BASE}'s": (f"corloc_oracle-test_less_{BASE}", 1),
    "ORACLE: each class's own": ("corloc_oracle_own", 1),
    "class accuracy": ("class_accuracy_boxed", 1),
    "frames a second, trained": ("trained_frames_a_second", 1),
    "predicted": ("predicted_frames_a_second", 1),
}
LOCALIZATION_EPOCHS = 12
FRAMES = 240  # of the video that prediction is timed on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--keep", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        base: Report | None = None
        for name in ROWS if arguments.only is None else [BASE, *(each for each in ROWS if each in arguments.only)]:
            run = train(name, folder)
            report = evaluate(run, "clips", device="cpu", protocol="run,otsu,oracle-test")
            base = report if name == BASE else base
            row = figures(report, base) | speeds(name, run, folder)
            record(name, row)


def train(name: str, folder: Path) -> Path:
    """A run folder, kept from an earlier call if it is whole."""
    run, (method, settings) = folder / re.sub(r"\W+", "-", name), ROWS[name]
    if not (run / CARD).exists():
        if (run / RECIPE).exists():
            boxless.train(None, run, resume=True, device="cpu")
        else:
            shared: dict[str, object] = {"training.features": str(folder / "features")}
            if method != BASE:
                shared["training.stages.localization.epochs"] = LOCALIZATION_EPOCHS
                shared["pseudo.folder"] = str(folder / "pseudo")
                give_boxes(folder / BASE, run)
            boxless.train("clips", run, method=method, settings=SHARED | settings | shared, device="cpu")
    return run


def figures(report: Report, base: Report | None) -> dict[str, Any]:
    """CorLoc at each threshold with its interval over videos, how much it is above the first row's, and the rest."""
    run, otsu, oracle = (report.column(source) for source in ("run", "otsu", "oracle-test"))
    found: dict[str, Any] = {
        "corloc_run": accuracy.shown(run.figures[CORLOC]),
        "corloc_otsu": accuracy.shown(otsu.figures[CORLOC]),
        "corloc_oracle": accuracy.shown(oracle.figures[CORLOC]),
        "corloc_oracle_own": accuracy.shown(oracle.figures[CORLOC_OWN]),
        "mean_iou_run": accuracy.shown(run.figures["mean_iou"], 3),
        "class_accuracy_boxed": accuracy.shown(report.figures["class_accuracy_boxed"]),
        "run_threshold": run.threshold.at(0.5),
    }
    if base is not None and base is not report:
        differences = compare(base, report).differences
        for source in ("run", "otsu", "oracle-test"):
            found[f"corloc_{source}_less_{BASE}"] = accuracy.shown(differences[source, CORLOC])
    for key in (ABSENT_GIVEN_BOX, OBJECT_KEPT_BOX, AUROC_PRESENCE, AUROC_CLASS):
        found[key] = accuracy.shown(report.figures[key], 3) if key in report.figures else None
    made = report.to_dict()
    return found | {"per_class": made["per_class"], "object_absent": made.get("object_absent")}


def speeds(name: str, run: Path, folder: Path) -> dict[str, float]:
    """Frames a second: shown in the steps of training, and looked at in a video, which is decoded too."""
    shots = len({item.shot for item in read_catalog("clips").splits["train"]})
    recipe = (run / RECIPE).read_text(encoding="utf-8")
    epochs = int(re.findall(r"\n  epochs: (\d+)", recipe)[0]) + (ROWS[name][0] != BASE) * LOCALIZATION_EPOCHS
    shown = shots * epochs
    video = folder / "clips"
    write_clips(video, frames=FRAMES, counts={"train": 1, "val": 1, "test": 1}, videos=True)
    clip = next((video / "test").rglob("*.mp4"))
    localizer, start = Localizer.load(run, device="cpu"), time.perf_counter()
    outcome = predict_video(localizer, clip, folder / "seen", overwrite=True)
    seconds = time.perf_counter() - start
    return {
        "trained_frames_a_second": round(shown / read_card(run)["training_seconds"], 1),
        "predicted_frames_a_second": round(outcome.frames / seconds, 1),
    }


def record(name: str, row: dict[str, Any]) -> None:
    """Keep a row at once: a later one may fail."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": {}}
    made = describe(f"{torch.get_num_threads()} torch threads", "torch", "timm")
    found["rows"][name] = row | made
    found["rows"] = {each: found["rows"][each] for each in ROWS if each in found["rows"]}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    accuracy.write_page(PAGE, accuracy.rows_table(found["rows"], tuple(ROWS), COLUMNS))
    print(f"{name}: " + ", ".join(f"{key} {row.get(key)}" for key, _ in COLUMNS.values()), flush=True)


if __name__ == "__main__":
    main()
