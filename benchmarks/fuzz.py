"""Readers of files on inputs that mean harm: ``python benchmarks/fuzz.py --inputs 100000``.

Each reader has its share of the inputs, made of sound files by ``tests/fuzzing``, in a process of its own, so that the
end of one is seen and not the end of all. Any error that is not boxless's own is a finding, and so is an input that
takes more than 5 seconds of the processor, or adds more than 1 GiB to the process. ``--keep DIR`` keeps findings.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

_machine: Any = importlib.import_module("_machine")
fuzzing: Any = importlib.import_module("fuzzing.harness")
MEMORY = "/dev/shm"
RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
LOADED = (
    *(
        "boxless.runs",
        "boxless.search.space",
        "boxless.benchmark.plan",
        "boxless.training.val_boxes",
        "open_clip",
        "av",
    ),
    *(
        "boxless.text.towers",
        "boxless.cli.show",
        "boxless.report.card",
        "boxless.data.large",
        "tifffile",
        "imagecodecs",
    ),
)
# What of the inputs a reader gets: images are decoded by other people's C, which has more to go wrong.
WEIGHTS = {
    **{"image": 3, "maps": 2, "recipe": 2, "card": 2, "journal": 2},
    **{"settings": 0.5, "video": 0.3, "benchmark": 0.2},
}


def main() -> None:
    """Feed all readers, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name begins so")
    parser.add_argument("--keep", type=Path, default=None, help="folder for findings")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    options = parser.parse_args()
    for module in LOADED:  # once, and not in the process of each reader
        importlib.import_module(module)
    names = [name for name in fuzzing.readers() if name.startswith(options.only)]
    weights = [WEIGHTS.get(name.partition(":")[0], 1.0) for name in names]
    rows, found = {}, 0
    for name, weight in zip(names, weights, strict=True):
        count = max(round(options.inputs * weight / sum(weights)), 50)
        rows[name] = row = feed(name, count, options.seed, options.keep)
        found += len(row["findings"])
        print(f"{name:32} {row['inputs']:6} {row['refused']:6} {row['accepted']:6} {row['seconds']:7.1f} s", flush=True)
        for place, told in row["findings"].items():
            print(f"    {place}\n{told}", flush=True)
    total = {key: sum(row[key] for row in rows.values()) for key in ("inputs", "refused", "accepted", "seconds")}
    print(total, f"{found} findings")
    if options.write:
        described = _machine.describe("one thread", "numpy", "pillow", "pyyaml", "safetensors")
        document = {**described, "seed": options.seed, "total": total, "readers": rows}
        RESULT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.exit(bool(found))


def feed(name: str, count: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """The figures of one reader, found in a process of its own."""
    with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None) as folder:
        context = multiprocessing.get_context("fork")
        given, told = context.Pipe(duplex=False)
        process = context.Process(target=_feed, args=(name, count, seed, Path(folder), keep, told))
        process.start()
        told.close()
        try:
            row: dict[str, Any] = given.recv()
        except EOFError:  # it died
            process.join()
            content = (Path(folder) / "latest").read_bytes()
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name.replace(': ', '-').replace(' ', '-')}-died").write_bytes(content)
            zero = dict.fromkeys(("inputs", "refused", "accepted", "slowest", "seconds"), 0)
            return {**zero, "findings": {f"the process died, exit code {process.exitcode}": repr(content[:200])}}
        process.join()
        return row


def _feed(name: str, count: int, seed: int, folder: Path, keep: Path | None, told: Any) -> None:
    reader = fuzzing.readers()[name]
    figures = fuzzing.feed(reader, fuzzing.inputs(name, reader, count, seed), folder)
    if keep is not None and figures.findings:
        keep.mkdir(parents=True, exist_ok=True)
        fuzzing.keep(keep, name, figures)
    told.send(
        {
            "inputs": figures.inputs,
            "refused": figures.refused,
            "accepted": figures.accepted,
            "slowest": round(figures.slowest, 3),
            "seconds": round(figures.seconds, 2),
            "findings": {place: text for place, (_, text) in figures.findings.items()},
        }
    )


if __name__ == "__main__":
    main()
