"""A search of 20 trials on the bundled sample, killed in the middle and gone on with: no trial is lost or done twice.

    python benchmarks/search.py [--trials 20] [--images 400] [--epochs 4] [--size 96] [--out DIR]

The default method with the offline backbone, frozen, on a part of the sample's images, compared by pseudo-boxes of val.
Once two fifths of the trials have ended, the search is killed (SIGKILL), and it is resumed.
Writes benchmarks/results/search.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _machine import describe

from boxless.data.catalog import SAMPLE, read_catalog

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "search.json"
ENDS = ("card.json", "outcome.json")
BOXLESS = (sys.executable, "-m", "boxless")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--out", type=Path, default=None, help="Folder of the search; a temporary one if not said.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(arguments, Path(temporary), arguments.out or Path(temporary) / "search")
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def measure(arguments: argparse.Namespace, temporary: Path, out: Path) -> dict[str, object]:
    table = temporary / "labels.csv"
    counts = write_part(table, arguments.images)
    settings = {
        "training.epochs": arguments.epochs,
        "data.image_size": arguments.size,
        "backbone.weights": "package",
        "backbone.freeze": "true",
    }
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    begun = time.perf_counter()
    command = [*BOXLESS, "search", str(table), "--out", str(out), "--trials", str(arguments.trials), *given]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and len(ended(out)) < 0.4 * arguments.trials:
        time.sleep(0.2)
    if process.poll() is not None:
        raise SystemExit("the search ended before it could be killed.")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed_after, before = time.perf_counter() - begun, ended(out)
    entered, epochs = len(list(out.glob("trials/*/trial.json"))), epochs_behind(out)
    again = time.perf_counter()
    subprocess.run([*BOXLESS, "search", "--resume", "--out", str(out)], check=True)
    resumed_for, after = time.perf_counter() - again, ended(out)
    told = json.loads((out / "results.json").read_text(encoding="utf-8"))
    kept = sum(after.get(path) == content for path, content in before.items())
    return {
        "data": f"{counts['train']} training and {counts['val']} validation images of the sample, {arguments.size} px",
        "epochs": arguments.epochs,
        "trials": dict(Counter(trial["state"] for trial in told["trials"])),
        "killed": {
            "after_seconds": round(killed_after, 1),
            "trials_ended": len(before),
            "of_them_as_they_were_afterwards": kept,
            "trials_under_way": entered - len(before),
            "epochs_behind_them": epochs,
        },
        "resumed_for_seconds": round(resumed_for, 1),
        "trials_lost": arguments.trials - len(after),
        **{name: told[name] for name in ("selected_by", "best", "importance", "space")},
        "values": [
            {
                "trial": trial["number"],
                "state": trial["state"],
                "value": trial["value"],
                "epochs": trial["epochs_judged"],
            }
            for trial in told["trials"]
        ],
        **describe("one thread a trial, two trials at a time", "torch", "timm", "ray", "optuna"),
    }


def ended(out: Path) -> dict[str, str]:
    """What ended trials wrote, by file."""
    paths = [path for name in ENDS for path in out.glob(f"trials/*/{name}")]
    return {str(path): path.read_text(encoding="utf-8") for path in paths}


def epochs_behind(out: Path) -> list[int]:
    """Epochs in the journals of the trials that are not at their end."""
    trials = [path.parent for path in sorted(out.glob("trials/*/trial.json"))]
    journals = [trial / "metrics.jsonl" for trial in trials if not any((trial / name).exists() for name in ENDS)]
    return [len(each.read_text(encoding="utf-8").splitlines()) if each.exists() else 0 for each in journals]


def write_part(table: Path, images: int) -> dict[str, int]:
    """A part of the sample, evenly of all classes; of val and test a quarter each, since else some of train is test."""
    catalog, counts = read_catalog(SAMPLE), {}
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for split, wanted in (("train", images), ("val", images // 4), ("test", images // 4)):
            items = catalog.splits[split]
            step = max(1.0, len(items) / wanted)
            chosen = [items[int(place * step)] for place in range(min(wanted, len(items)))]
            rows.writerows((item.path, catalog.classes[item.labels[0]], split) for item in chosen)
            counts[split] = len(chosen)
    return counts


if __name__ == "__main__":
    main()
