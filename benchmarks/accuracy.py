"""What each method finds on the bundled sample, trained here and now; writes benchmarks/results/accuracy.json.

    python benchmarks/accuracy.py [--methods] [--only NAME ...] [--keep DIR]

Each row is a training from a recipe with one seed, then an evaluation on the sample's test split. With --methods the
rows are the recipes of recipes/sample, without it CAM's and variants of it and of others. What a recipe as it stands
finds is also written into its file and into docs/methods.md, and with variants into docs/pseudo-labels.md and
docs/clip.md. With --keep
a second call goes on where the first one was stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _machine import describe
from _words import words_file

import boxless
from boxless.methods import METHODS
from boxless.methods.base import Method
from boxless.metrics.bootstrap import Difference, Estimate
from boxless.protocol.evaluate import evaluate
from boxless.protocol.report import Report, compare
from boxless.runs import CARD, RECIPE, read_card

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
TRANSFORMERS = RESULTS.with_name("transformers.json")  # of methods that need another network: small_transformers.py
VIDEOS = RESULTS.with_name("clips.json")  # rows on videos, see clips.py
ELSEWHERE = "on videos: [CorLoc](learning-from-videos.md#on-the-bundled-clips)"
PAGE = ROOT / "docs" / "methods.md"
MARKS = ("<!-- made by benchmarks/accuracy.py: begin -->", "<!-- end -->")
BACKBONE = "tf_efficientnet_lite0"
BASE = "cam"  # what the other rows are compared with
WORDS = "wordllama"  # stands for a file of embeddings of class names
VARIANTS: dict[str, dict[str, object]] = {
    "cam": {},
    "cam, as the paper: one stage, 1024 channels": {"method.fuse": False, "method.hidden": 1024},
    "cam, one stage, 256 channels": {"method.fuse": False},
    "cam, random crops, nothing cached": {"training.cache_features": False},
    "cam, last stage, no convolution": {"method.stride": 32, "method.hidden": 0, "method.fuse": False},
    "fcam, seeds alone": {"method.crf_weight": 0.0, "method.size_weight": 0.0},
    "dips, pixels alone": {"method.crf_weight": 0.0},
    "cam, no convolution: a linear classifier": {"method.hidden": 0},
    "ted_loc": {},
    "ted_loc, distillation alone, maps by anchors": {
        "method.patch_weight": 0.0,
        "method.image_weight": 0.0,
        "method.localization": "anchors",
    },
    "ted_loc, distillation and patches": {"method.image_weight": 0.0},
    "ted_loc, patches alone": {"method.distillation_weight": 0.0, "method.image_weight": 0.0},
    "ted_loc, maps by anchors": {"method.localization": "anchors"},
    "ted_loc, text as it is": {"method.anchors": "text", "text.model": WORDS},
    "ted_loc, text by QR": {"method.anchors": "qr", "text.model": WORDS},
    "ted_loc, text polar": {"method.anchors": "polar", "text.model": WORDS},
}
TAUGHT = ("cam", "attention", "fcam, seeds alone", "fcam", "dips, pixels alone", "dips", "dips_unet")
TAUGHT_PAGE = ROOT / "docs" / "pseudo-labels.md"
NAMED = ("cam", *(name for name in VARIANTS if name.startswith(("cam, no convolution", "ted_loc"))))
NAMED_PAGE = ROOT / "docs" / "clip.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--keep", type=Path, default=None)
    arguments = parser.parse_args()
    rows = {name: ({} if arguments.methods else VARIANTS[name]) for name in names(arguments.methods, arguments.only)}
    with tempfile.TemporaryDirectory() as folder:
        base: Report | None = None
        for name, settings in rows.items():
            run = train(name, settings, arguments.keep or Path(folder))
            report = evaluate(run, "sample", device="cpu", protocol="otsu,validation,oracle-test")
            base = report if name == BASE else base
            row = figures(report, base) | {"train_seconds": read_card(run)["training_seconds"], "settings": settings}
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            record(name, row)


def names(methods: bool, only: list[str] | None) -> list[str]:
    """The rows to make, that which others are compared with first."""
    known = [name for name in METHODS if recipe_of(name).exists()] if methods else list(VARIANTS)
    asked = known if only is None else [name for name in known if name in only]
    return sorted(asked, key=lambda name: name != BASE)


def recipe_of(name: str) -> Path:
    return ROOT / "recipes" / "sample" / f"{name.partition(',')[0]}-{BACKBONE}.yaml"


def train(name: str, settings: Mapping[str, object], folder: Path) -> Path:
    """A run folder, kept from an earlier call if it is whole."""
    run = folder / re.sub(r"\W+", "-", name)
    if not (run / CARD).exists():
        if (run / RECIPE).exists():
            boxless.train(None, run, resume=True, device="cpu")
        else:
            words = {key: str(words_file(folder)) for key, value in settings.items() if value == WORDS}
            boxless.train(
                None, run, recipe=recipe_of(name), settings={**settings, **words, **shared(name, folder)}, device="cpu"
            )
    return run


def shared(name: str, folder: Path) -> dict[str, object]:
    """Variants of one recipe whose pseudo-labels come out the same make them once."""
    return {"pseudo.folder": str(folder / "pseudo")} if "pseudo" in recipe_of(name).read_text(encoding="utf-8") else {}


def figures(report: Report, base: Report | None) -> dict[str, Any]:
    oracle, otsu, validation = (report.column(source) for source in ("oracle-test", "otsu", "validation"))
    found: dict[str, Any] = {
        "box_accuracy_otsu": shown(otsu.figures["box_accuracy"]),
        "box_accuracy_validation": shown(validation.figures["box_accuracy"]),
        "max_box_accuracy_oracle": shown(oracle.figures["box_accuracy"]),
        "validation_threshold": validation.threshold.at(0.5),
        "oracle_threshold": oracle.threshold.at(0.5),
        "top1_localization_otsu": shown(otsu.figures["top1_localization"]),
        "class_accuracy": shown(report.figures["class_accuracy"]),
        "mean_iou_otsu": shown(otsu.figures["mean_iou"], 3),
        "threshold_width_oracle": shown(oracle.figures["threshold_width"], 3),
        "error_part_otsu": shown(otsu.figures["error_part"]),
        "error_more_otsu": shown(otsu.figures["error_more"]),
    }
    if base is not None and base is not report:
        differences = compare(base, report).differences
        for source in ("otsu", "oracle-test"):
            found[f"box_accuracy_less_{BASE}_{source}"] = shown(differences[source, "box_accuracy"])
    return found


def shown(estimate: Estimate | Difference, digits: int = 1) -> list[float]:
    """The figure and its 95 % interval."""
    return [round(value, digits) for value in (estimate.value, estimate.low, estimate.high)]


def record(name: str, row: Mapping[str, Any]) -> None:
    """Keep a row at once: a later one may fail. That of a recipe as it stands goes into its file and onto the page."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": {}}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = {"commit": commit.strip(), **describe(f"{torch.get_num_threads()} torch threads", "torch", "timm")}
    found["rows"][name] = row | made
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not row["settings"]:
        write_recipe(recipe_of(name), found["rows"][name])
        write_page(PAGE, table(found["rows"]))
    write_page(TAUGHT_PAGE, rows_table(found["rows"], TAUGHT, TAUGHT_COLUMNS))
    write_page(NAMED_PAGE, rows_table(found["rows"], NAMED, NAMED_COLUMNS))


def write_recipe(path: Path, row: Mapping[str, Any]) -> None:
    """Put what was measured into the recipe's last block."""
    before = re.split(r"(?m)^ours:", path.read_text(encoding="utf-8"))[0]
    lines = [
        "ours:",
        f"  date: {row['date'][:10]}",
        f"  machine: {row['machine']}",
        f"  commit: {row['commit']}",
        "  split: test",
        f"  max_box_accuracy_oracle: {row['max_box_accuracy_oracle'][0]} # IoU 0.5, best threshold "
        f"{row['oracle_threshold']}",
        f"  box_accuracy_otsu: {row['box_accuracy_otsu'][0]} # IoU 0.5",
        f"  top1_localization: {row['top1_localization_otsu'][0]}",
        f"  class_accuracy: {row['class_accuracy'][0]}",
        f"  mean_iou: {row['mean_iou_otsu'][0]}",
    ]
    path.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")


def write_page(path: Path, made: str) -> None:
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    path.write_text(before + made + rest.partition(MARKS[1])[2], encoding="utf-8")


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The part of docs/methods.md that is made here: the paper of each method, and what it found."""
    head = (
        "method",
        "paper",
        "Otsu: no box",
        f"less {BASE}'s",
        "ORACLE: these boxes",
        "top-1 loc.",
        "class accuracy",
        "mean IoU",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    others, videos = (
        json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else {} for file in (TRANSFORMERS, VIDEOS)
    )
    for name in METHODS:
        kind: type[Method] = METHODS.load(name)
        paper = f"[{kind.paper.authors}, {kind.paper.venue} {kind.paper.year}]({kind.paper.url})"
        if name in others and name not in rows:
            row, shown_name = others[name], f"`{name}` ([small transformer](transformers.md))"
        elif (row := rows.get(name)) is not None:
            shown_name = f"`{name}`"
        else:
            said = ELSEWHERE if name in videos else "not yet measured"
            lines.append(f"| `{name}` | {paper} | {said} |" + " |" * (len(head) - 3))
            continue
        cells = (
            shown_name,
            paper,
            cell(row["box_accuracy_otsu"]),
            cell(row.get(f"box_accuracy_less_{BASE}_otsu") if name in rows else None, signed=True),
            f"{cell(row['max_box_accuracy_oracle'])} ({row['oracle_threshold']})",
            cell(row["top1_localization_otsu"]),
            cell(row["class_accuracy"]),
            cell(row["mean_iou_otsu"], digits=3),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([MARKS[0], *lines, MARKS[1]])


Columns = Mapping[str, tuple[str, int]]
TAUGHT_COLUMNS: Columns = {  # of docs/pseudo-labels.md: what pseudo-labels teach, and what errors are left
    "ORACLE: these boxes": ("max_box_accuracy_oracle", 1),
    "Otsu: no box": ("box_accuracy_otsu", 1),
    "mean IoU": ("mean_iou_otsu", 3),
    "thresholds near the best": ("threshold_width_oracle", 2),
    "LPE": ("error_part_otsu", 1),
    "LME": ("error_more_otsu", 1),
    "minutes of steps": ("train_seconds", 0),
}
NAMED_COLUMNS: Columns = {  # of docs/clip.md: boxes and classes of one set of weights
    "ORACLE: these boxes": ("max_box_accuracy_oracle", 1),
    f"less {BASE}'s": (f"box_accuracy_less_{BASE}_oracle-test", 1),
    "Otsu: no box": ("box_accuracy_otsu", 1),
    "class accuracy": ("class_accuracy", 1),
    "top-1 loc.": ("top1_localization_otsu", 1),
    "mean IoU": ("mean_iou_otsu", 3),
}


def rows_table(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str], columns: Columns) -> str:
    """The part of a page that is made here: some rows, and some of their figures."""
    lines = [f"| method | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    for name in names:
        row = rows.get(name, {})
        cells = [
            f"{row[key] / 60:.0f}"
            if key == "train_seconds" and key in row
            else f"{row[key]:.{digits}f}"
            if isinstance(row.get(key), float)
            else cell(row.get(key), digits=digits, signed="_less_" in key)
            for key, digits in columns.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([MARKS[0], *lines, MARKS[1]])


def cell(values: list[float] | None, *, digits: int = 1, signed: bool = False) -> str:
    if values is None:
        return "–"
    value, low, high = (f"{each:{'+' if signed else ''}.{digits}f}" for each in values)
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - started) / 60:.0f} minutes")
