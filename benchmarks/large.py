"""A picture of 20,480 x 20,480 pixels, predicted in tiles: memory, speed, and which objects are found.

    python benchmarks/large.py [--run RUN] [--scene FOLDER] [--cells 20] [--objects 60] [--method fcam]

RUN was trained on the bundled sample and calibrated (its card has ``presence``); without one it is trained. The picture
is painted into the folder unless it is there: photographs in fields, clutter, and garments of the sample's test split
at known places. It is predicted in a process of its own, whose peak memory is all that it ever held, libraries and
network among it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _machine import describe

import boxless
from boxless.ops.boxes import iou

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "sample" / "fcam-tf_efficientnet_lite0.yaml"
PSEUDO = {"protocol.select": "pseudo", "protocol.threshold": "pseudo"}  # without pseudo-boxes nothing is calibrated
RESULTS = Path(__file__).parent / "results" / "large.json"
TILE, SEED = 1024, 2
MIB = 1024  # of ru_maxrss, which counts in KiB on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", default="")
    parser.add_argument("--scene", type=Path, default=Path(tempfile.gettempdir()) / "boxless-large")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.run:
        given.run = str(given.scene / "run")
        if not (given.scene / "run" / "card.json").exists():
            boxless.train(None, given.run, recipe=RECIPE, settings=PSEUDO, device="cpu")
    image = given.scene / f"aerial-{given.cells}-{given.objects}.tif"
    if given.child:
        json.dump(_predict(given.run, image), sys.stdout)
        return
    truth = _painted(image, given.cells, given.objects)
    command = [sys.executable, __file__, *sys.argv[1:], "--run", given.run, "--child"]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    boxes = said.pop("boxes")
    card = json.loads((Path(given.run) / "card.json").read_text())
    result = {
        **describe("one thread", "torch", "numpy", "pillow", "tifffile", "imagecodecs"),
        "image": {"pixels": said.pop("size"), "mebibytes": round(image.stat().st_size / 2**20, 1), "tile": TILE},
        "method": card["method"],
        **said,
        "objects": _found(truth, boxes),
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _painted(image: Path, cells: int, objects: int) -> list[Any]:
    import _aerial

    listed = image.with_suffix(".json")
    if not listed.exists():
        image.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(json.dumps(_aerial.write(image, cells, objects, SEED)))
    truth: list[Any] = json.loads(listed.read_text())["objects"]
    return truth


def _predict(run: str, image: Path) -> dict[str, Any]:
    import torch

    from boxless.predict.decoding import Refused
    from boxless.predict.localizer import Localizer
    from boxless.predict.mosaic import Grid
    from boxless.predict.options import Options
    from boxless.predict.sources import Source
    from boxless.predict.tiles import predict_tiles

    torch.set_num_threads(1)
    engine = Localizer.load(run, device="cpu").engine
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = Options(tile=TILE, multi=True, abstain=True)
    started, processor = time.perf_counter(), time.process_time()
    found = predict_tiles(engine, Source(image, image.name), options)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    if isinstance(found, Refused):
        raise found.error
    tiles = len(list(Grid.of(found.size, TILE, options.overlap, engine.size).tiles()))
    return {
        "size": found.size,
        "tiles": tiles,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "tiles_per_processor_second": round(tiles / processor, 2),
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MIB,
        "peak_mebibytes_before_the_image": before // MIB,
        "boxes": [[each.label, each.score, each.xyxy] for each in found.boxes],
    }


def _found(truth: list[Any], boxes: list[Any]) -> dict[str, Any]:
    overlap = iou([corners for _, corners in truth], [corners for *_, corners in boxes])
    hit, best = overlap >= 0.5, overlap.argmax(1)
    named = [label == boxes[j][0] for (label, _), j in zip(truth, best, strict=True)]
    return {
        "there": len(truth),
        "boxes": len(boxes),
        "found_at_iou_50": int(hit.any(1).sum()),
        "found_with_their_class": int((hit.any(1) & np.array(named)).sum()),
        "mean_iou_of_found": round(float(overlap.max(1)[hit.any(1)].mean()), 3) if hit.any() else None,
        "boxes_on_nothing": int((~hit.any(0)).sum()),
        "boxes_twice_on_one": int((hit.sum(1) > 1).sum()),
    }


if __name__ == "__main__":
    main()
