"""What noise in val's boxes and masks does to selection on the bundled sample; writes benchmarks/results/noise.json.

    python benchmarks/noise.py [--keep DIR]

CAM is trained at a few learning rates with every epoch's weights kept; then noisy boxes (thesis, section 4.6.2 and
figure 4.4), eroded masks and pseudo-masks (section 4.6.6 and table 4.9) select epochs, and test says what these are
worth. The picture is docs/images/noise.png, the tables are in docs/noise.md. With --keep a second call goes on where
the first one was stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _machine import describe

import boxless
from boxless.data.catalog import Catalog, read_catalog
from boxless.data.masks import Masks, read_masks
from boxless.data.truth import read_truth
from boxless.protocol.epochs import EpochMaps, KeepEpochs, look, read_epochs
from boxless.protocol.mask_study import MaskRow, MaskTracer, PixelTracer
from boxless.protocol.noise_study import Trace, Tracer, Truths, around, study
from boxless.pseudo.annotators import Material
from boxless.pseudo.masks import class_masks
from boxless.pseudo.teacher import open_teacher
from boxless.report.noise import draw_noise
from boxless.runs import CARD, Run, open_run

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "noise.json"
PICTURE = ROOT / "docs" / "images" / "noise.png"
PAGE = ROOT / "docs" / "noise.md"
MARKS = ("<!-- made by benchmarks/noise.py: begin -->", "<!-- end -->")
RECIPE = ROOT / "recipes" / "sample" / "cam-tf_efficientnet_lite0.yaml"
RATES = (0.0001, 0.001, 0.01, 0.1)  # a coarse search, some of which goes wrong
RUNS: dict[str, dict[str, Any]] = {  # the paper's linear classifier: steps cost next to nothing
    f"rate {rate:g}": {"method.hidden": 0, "training.learning_rate": rate} for rate in RATES
}
TEACHER = "rate 0.001"  # whose last weights give pseudo-masks: offline there is no second backbone to take them from
REPLICATES = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--every", type=int, default=1, help="of val's and test's images, one in so many is looked at")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        for name in RUNS:
            train(name, folder)
        traces, truths, masks = look_at_all(folder, arguments.every)
        for trace in traces:
            print(f"{trace.name}: " + ", ".join(f"{key} {value}" for key, value in around([trace]).items()), flush=True)
    record(traces, truths, masks, arguments.every)


def train(name: str, folder: Path) -> None:
    """A run folder with all epochs beside it, kept from an earlier call if it is whole."""
    run, kept, shared = paths(name, folder)
    if (run / CARD).exists():
        return
    for path in (run, kept):
        shutil.rmtree(path, ignore_errors=True)
    settings = RUNS[name] | {"training.features": str(shared)}  # all runs have one frozen backbone
    boxless.train(None, run, recipe=RECIPE, settings=settings, device="cpu", listener=KeepEpochs(run, kept))
    print(f"{name}: trained", flush=True)


def paths(name: str, folder: Path) -> tuple[Path, Path, Path]:
    """Of the run, of its epochs, and of the features that runs share."""
    stem = re.sub(r"\W+", "-", name)
    return folder / stem, folder / f"{stem}-epochs", folder / "features"


def look_at_all(folder: Path, every: int) -> tuple[list[Trace], Truths, dict[str, list[MaskRow]]]:
    """Look at every epoch of every run on val and on test: they share a backbone, so one pass does for all."""
    catalog, run = read_catalog("sample"), open_run(paths(TEACHER, folder)[0], "cpu")
    kept = {name: read_epochs(paths(name, folder)[1]) for name in RUNS}
    states = [state for each in kept.values() for state in each]
    tried = MaskTracer(masks_of(catalog, "val"), pseudo_of(run, paths(TEACHER, folder)[0], catalog))
    worth = PixelTracer(masks_of(catalog, "test"))
    tracer = Tracer("all", read_truth(catalog, "val").boxes, read_truth(catalog, "test").boxes)
    val = passing(look(run, states, catalog.splits["val"][::every]), tried.update)
    trace, truths = tracer.trace(val, passing(look(run, states, catalog.splits["test"][::every]), worth.update))
    pixels, traces, masks, done = worth.pxap(), [], {}, 0
    for name, each in kept.items():
        own = slice(done, done := done + len(each))
        traces.append(trace.part(name, own))
        masks[name] = tried.select(pixels, own)
    return traces, truths, masks


def masks_of(catalog: Catalog, split: str) -> Masks:
    found = read_masks(catalog, split)
    if found is None:
        raise SystemExit(f"{catalog.root}: no masks of {split}")
    return found


def pseudo_of(run: Run, teacher: Path, catalog: Catalog) -> Callable[[EpochMaps], Any]:
    """Pseudo-masks of a finished run."""
    opened = open_teacher(str(teacher), catalog.classes, run.preprocess, run.device)
    material = Material(run.method.backbone, opened, len(catalog.classes))

    def masks(batch: EpochMaps) -> Any:
        labels = torch.tensor([item.labels[0] for item in batch.items], device=run.device)
        return class_masks(batch.images, labels, material)

    return masks


def passing(batches: Iterator[EpochMaps], also: Callable[[EpochMaps], None]) -> Iterator[EpochMaps]:
    """Batches for two readers."""
    for batch in batches:
        also(batch)
        yield batch


def record(traces: list[Trace], truths: Truths, masks: dict[str, list[MaskRow]], every: int) -> None:
    """Select, and write the figures and the picture."""
    rows = study(traces, truths, replicates=REPLICATES)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {
        "commit": commit.strip(),
        **describe(f"{torch.get_num_threads()} torch threads", "torch", "timm"),
        "runs": RUNS,
        "teacher_of_pseudo_masks": TEACHER,
        "replicates": REPLICATES,
        "one_image_in": every,
        "images_of_val_with_boxes": len(truths.first),
        "around_mean_of_runs": around(traces),
        "around": {trace.name: around([trace]) for trace in traces},
        "boxes": [row.to_dict() for row in rows],
        "masks": {name: [row.to_dict() for row in each] for name, each in masks.items()},
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)
    title = (
        f"CAM at {len(traces)} learning rates on the sample, {REPLICATES} draws of noise; epochs selected by mean IoU"
    )
    draw_noise(PICTURE, rows, around(traces), masks, title)


def write_page(found: Mapping[str, Any]) -> None:
    """Put the tables into docs/noise.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    lines = [*boxes_table(found["boxes"], found["around_mean_of_runs"]), "", *masks_table(found["masks"])]
    made = "\n".join([MARKS[0], *lines, MARKS[1]])
    PAGE.write_text(before + made + rest.partition(MARKS[1])[2], encoding="utf-8")


def boxes_table(rows: Sequence[Mapping[str, Any]], other: Mapping[str, float]) -> list[str]:
    """A line for each level of noise, then what other ways to take an epoch give."""
    head = (
        "val's boxes",
        "their IoU with true ones",
        "MaxBoxAcc, ORACLE threshold",
        "box accuracy, threshold from the same boxes",
        "mean IoU, the same",
        "another epoch",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        level, test = row["level"], row["test"]
        name = f"noise of {level:.0%}" if level else "ORACLE: true boxes"
        moved = sum(each != 0 for each in row["epochs_from_true"]) / len(row["epochs_from_true"])
        cells = (
            name,
            f"{row['overlap_with_true_boxes']:.3f}",
            spread(test["max_box_accuracy"]),
            spread(test["box_accuracy"]),
            spread(test["mean_iou"], 3),
            f"{moved:.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines + [f"| {name} | | {value:.1f} | | | |" for name, value in other.items()]


def spread(values: Mapping[str, float], digits: int = 1) -> str:
    return f"{values['mean']:.{digits}f} ({values['low']:.{digits}f}-{values['high']:.{digits}f})"


def masks_table(masks: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A line for each kind of masks, a column for each run."""
    runs = list(masks)
    lines = [
        f"| val's masks | 1 - AUC (%) | {' | '.join(f'PxAP, {name}' for name in runs)} |",
        "|" + "---|" * (2 + len(runs)),
    ]
    for row, *others in zip(*masks.values(), strict=True):
        cells = [f"{each['test_pxap']:.2f} (epoch {each['epoch']})" for each in (row, *others)]
        lines.append(f"| {row['masks']} | {row['mask_error']:.2f} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - started) / 60:.0f} minutes")
