"""What drawing maps to edges and looking several times do on the bundled sample; writes benchmarks/results/refine.json.

    python benchmarks/refine.py [RUN...] [--every 6]

The runs are finished ones of the sample; with none cam, dips and fcam are trained by their recipes. One test image in
so many is looked at. Each row is a way to look: boxes and masks of the predicted class, cut by the run's own threshold,
which pseudo-boxes of val chose for maps as they are, and by Otsu's of each map. The table goes into docs/refinement.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe

import boxless
from boxless.data.catalog import read_catalog
from boxless.data.images import read_image
from boxless.data.masks import read_masks
from boxless.data.truth import read_truth
from boxless.ops.boxes import iou
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.ops.run_lengths import decode
from boxless.predict.augment import forward, sides
from boxless.predict.boxing import original
from boxless.predict.engine import Said
from boxless.predict.masks import cells_of, mask_of
from boxless.predict.options import Options
from boxless.predict.refine import refine
from boxless.predict.torch_engine import TorchEngine
from boxless.runs import open_run
from boxless.stream import batched

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "refine.json"
PAGE = ROOT / "docs" / "refinement.md"
MARKS = ("<!-- made by benchmarks/refine.py: begin -->", "<!-- end -->")
WAYS: dict[str, Options] = {
    "as it is": Options(),
    "`refine=guided`": Options(refine="guided"),
    "`refine=crf`": Options(refine="crf"),
    "`flip=true`": Options(flip=True),
    "`scales=1,1.5`": Options(scales=(1.0, 1.5)),
    "`flip=true scales=1,1.5`": Options(flip=True, scales=(1.0, 1.5)),
    "`flip=true scales=1,1.5 refine=crf`": Options(flip=True, scales=(1.0, 1.5), refine="crf"),
}
BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--every", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folders = arguments.runs or [train(name, Path(made)) for name in ("cam", "dips", "fcam")]
        fill(record(folders, arguments.every))


def train(name: str, folder: Path) -> Path:
    recipe = ROOT / "recipes" / "sample" / f"{name}-tf_efficientnet_lite0.yaml"
    boxless.train(None, folder / name, recipe=recipe, device="cpu")
    return folder / name


def record(folders: list[Path], every: int) -> dict[str, Any]:
    """The figures of each run, written as they come."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for folder in folders:
        run = open_run(folder, device="cpu")
        results[run.recipe.method.name] = rows = measure(TorchEngine(run), every)
        for way, row in rows.items():
            print(run.recipe.method.name, way, row, flush=True)
        shown = {
            "data": f"the bundled sample, one test image in {every}",
            **describe("one thread", "torch", "numpy", "pillow"),
            "methods": results,
        }
        RESULTS.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    return results


def measure(engine: TorchEngine, every: int) -> dict[str, dict[str, float]]:
    """A row of figures for each way to look."""
    catalog = read_catalog("sample")
    items = catalog.splits["test"][::every]
    truth, masks = read_truth(catalog, "test").boxes, read_masks(catalog, "test")
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    for batch in batched(items, BATCH):
        images = [read_image(catalog.root / item.name)[0] for item in batch]
        looks: dict[object, tuple[Said, Any, float]] = {}
        for way, options in WAYS.items():
            started = time.process_time()
            key = options.flip, options.scales
            if key not in looks:
                squares = [
                    np.stack([engine.resize(image, side) for image in images]) for side in sides(engine, options)
                ]
                looks[key] = forward(engine, squares, options), squares[0], time.process_time() - started
            else:
                seconds[way] += looks[key][2]
            said, plain, _ = looks[key]
            for i, item in enumerate(batch):
                boxes = truth[item.name]
                mask, _ = masks.of(item.name, images[i].size)
                found[way].append([*figures(engine, said, i, plain[i], options, images[i].size, boxes, mask)])
            seconds[way] += time.process_time() - started
    rows = {}
    for way, values in found.items():
        means = (100 * np.mean(values, axis=0)).round(1).tolist()
        names = [f"{name}, {cut}" for cut in ("own", "otsu") for name in ("mean IoU", "box accuracy", "mask IoU")]
        milliseconds = round(1000 * seconds[way] / len(items), 1)
        rows[way] = {**dict(zip(names, means, strict=True)), "milliseconds an image": milliseconds}
    return rows


def figures(
    engine: TorchEngine, said: Said, i: int, square: Any, options: Options, size: tuple[int, int], truth: Any, true: Any
) -> Iterator[float]:
    """IoU of the box, whether it is one half or more, and IoU of the mask: with the run's threshold, then Otsu's."""
    for rule in (engine.threshold, "otsu"):
        maps = refine(said.maps[i], square, options.refine, rule)
        thresholds = otsu_thresholds(maps) if rule == "otsu" else np.array([float(rule)])
        boxes, areas = largest_boxes(maps, thresholds)
        if not areas[0]:
            yield from (0.0, 0.0, 0.0)
            continue
        overlap = float(iou([original(boxes[0], maps.shape[1:], size)], truth).max())
        cut = float(thresholds[0]) * float(maps[0].max())
        mask = decode(mask_of(maps[0], cut, cells_of(maps[0], cut, boxes[0]), size), size)
        yield from (overlap, float(overlap >= 0.5), float((mask & true).sum() / (mask | true).sum()))


def fill(results: dict[str, Any]) -> None:
    """The table of the page."""
    lines = [
        "| | | own threshold: mean IoU | box accuracy | masks | Otsu: mean IoU | box accuracy | masks | ms an image |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method, rows in results.items():
        for number, (way, row) in enumerate(rows.items()):
            cells = [f"{value:.1f}" for value in row.values()]
            lines.append(" | ".join(["| " + (f"`{method}`" if number == 0 else ""), way, *cells]) + " |")
    begin, end = MARKS
    text = PAGE.read_text(encoding="utf-8")
    table = "\n".join([begin, *lines, end])
    PAGE.write_text(
        re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: table, text, flags=re.S), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
