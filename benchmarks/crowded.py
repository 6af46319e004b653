"""What several boxes an image and abstaining are worth on scenes of the sample; writes benchmarks/results/crowded.json.

    python benchmarks/crowded.py [RUN...] [--scenes 40] [--empty 200]

Without a run it trains one, by RECIPE.

The scenes are those of boxless.data.sample.crowded, made of a split's garments and photographs: all settings were
chosen on val's. Runs were trained on the bundled sample, where every image shows one object that is larger than those
of the scenes. Average precision at an IoU of 0.5, the mean over classes, of one box an image, of several, and of
several with a second look at each. Abstaining: how much of what the run finds on the split's own images it keeps, and
on how many scenes without an object it sees one all the same. The picture is docs/images/crowded.jpg, the tables are
in docs/beyond-one-box.md.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _machine import describe
from PIL import Image

import boxless
from boxless.data.catalog import read_catalog
from boxless.data.images import read_image
from boxless.data.sample.crowded import Crowd, crowded
from boxless.data.truth import read_truth
from boxless.metrics import Detections, average_precision
from boxless.ops.boxes import iou, scale
from boxless.ops.components import largest_boxes
from boxless.predict.engine import Said
from boxless.predict.multi import Found, find_several
from boxless.predict.options import Options
from boxless.predict.overlay import draw
from boxless.predict.presence import Presence
from boxless.predict.rescoring import rescore
from boxless.predict.torch_engine import TorchEngine
from boxless.runs import open_run
from boxless.types import Box, Prediction

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "crowded.json"
PSEUDO = {"protocol.select": "pseudo", "protocol.threshold": "pseudo"}  # without pseudo-boxes nothing is calibrated
RECIPE = ROOT / "recipes" / "sample" / "fcam-tf_efficientnet_lite0.yaml"
PAGE = ROOT / "docs" / "beyond-one-box.md"
MARKS = ("<!-- made by benchmarks/crowded.py: begin -->", "<!-- end -->")
PICTURE = ROOT / "docs" / "images" / "crowded.jpg"
COUNTS = (1, 2, 3)
WAYS = ("one box", "several", "several, second look")
DRAWS = 200  # of scenes, for intervals
OPTIONS = Options(multi=True)
SHOWN = 6  # scenes in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="run folders, calibrated")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="whose garments and photographs")
    parser.add_argument("--scenes", type=int, default=40, help="of each number of objects")
    parser.add_argument("--empty", type=int, default=200, help="scenes without an object")
    parser.add_argument("--every", type=int, default=3, help="of the split's own images, one in so many")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if not arguments.runs:
            arguments.runs = [Path(made) / "run"]
            boxless.train(None, arguments.runs[0], recipe=RECIPE, settings=PSEUDO, device="cpu")
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Look at all scenes with all runs."""
    scenes = {
        count: [crowded(count, index, split=arguments.split) for index in range(arguments.scenes)] for count in COUNTS
    }
    found: dict[str, Any] = {}
    for folder in arguments.runs:
        engine = TorchEngine(open_run(folder, "cpu"))
        name = engine.run.recipe.method.name
        crowds, boxes = {}, {}
        for count in COUNTS:
            boxes[count] = look(engine, scenes[count])
            crowds[str(count)] = {way: score(engine, scenes[count], boxes[count][way]) for way in WAYS}
            print(name, count, crowds[str(count)], flush=True)
        found[name] = {"threshold": engine.threshold, "average_precision": crowds}
        if folder == arguments.runs[0]:
            picture(engine, scenes[3], boxes[3])
        record(found, arguments)  # now as well: what comes takes as long again
        found[name]["abstain"] = abstain(engine, arguments)
        print(name, found[name]["abstain"], flush=True)
        record(found, arguments)


def record(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    facts = {
        "question": "average precision at IoU 0.5 (mean over classes, per cent) by objects in a scene, and abstaining",
        "split": arguments.split,
        "scenes": arguments.scenes,
        "seeds": {"scenes": 0, "training": 0},
        "intervals": f"95 %: {DRAWS} bootstrap draws of scenes; of shares, Wilson's",
        "runs": found,
        **describe("one torch thread", "torch", "numpy"),
    }
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def write_page(found: Mapping[str, Any]) -> None:
    """Put the tables into docs/beyond-one-box.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    made = "\n".join([MARKS[0], *precision_table(found), "", *abstain_table(found), MARKS[1]])
    PAGE.write_text(before + made + rest.partition(MARKS[1])[2], encoding="utf-8")


def precision_table(found: Mapping[str, Any]) -> list[str]:
    """A line for each run and way."""
    lines = [
        f"| run | boxes | {' | '.join(f'{count} in a scene' for count in COUNTS)} |",
        "|---|---|" + "---|" * len(COUNTS),
    ]
    for name, row in found.items():
        for way in WAYS:
            cells = []
            for count in COUNTS:
                figures = row["average_precision"][str(count)][way]
                low, high = figures["interval"]
                cells.append(f"{figures['ap']:.1f} ({low:.1f}-{high:.1f}); {figures['ap_whatever_class']:.1f}")
            lines.append(f"| {name} | {way} | {' | '.join(cells)} |")
    return lines


def abstain_table(found: Mapping[str, Any]) -> list[str]:
    """A line for each run that was measured."""
    heads = ("run", "scenes without an object that get a box", "of what the run finds, kept", "of all images, kept")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, row in found.items():
        if "abstain" in row:
            shares = [row["abstain"][each] for each in ("false_boxes", "kept_of_found", "kept_of_all")]
            cells = [
                f"{each['per_cent']:.1f} % ({each['interval'][0]:.1f}-{each['interval'][1]:.1f})" for each in shares
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def forward(engine: TorchEngine, images: Sequence[Image.Image]) -> Said:
    """What the run says of images, in batches."""
    said = []
    for start in range(0, len(images), engine.batch_size):
        said.append(
            engine.forward(np.stack([engine.resize(each) for each in images[start : start + engine.batch_size]]))
        )
    return Said(*(np.concatenate([getattr(each, name) for each in said]) for name in Said.__dataclass_fields__))


def look(engine: TorchEngine, scenes: Sequence[Crowd]) -> dict[str, list[list[Found]]]:
    """What is found in each scene, each way."""
    images = [Image.fromarray(scene.image) for scene in scenes]
    said = forward(engine, images)
    cut = float(engine.threshold)
    found: dict[str, list[list[Found]]] = {way: [] for way in WAYS}
    for image, maps, classes, logits in zip(images, said.maps, said.classes, said.logits, strict=True):
        probability = [float(engine.probabilities(logits[None])[0, classes[0]])]
        box, area = largest_boxes(maps, [cut])
        x0, y0, x1, y1 = box[0].tolist()
        one = Found((x0, y0, x1, y1), int(classes[0]), probability[0], maps[0] > cut * maps[0].max())
        several = find_several(maps, classes, probability, [cut], OPTIONS)
        found["one box"].append([one] if area[0] else [])
        found["several"].append(several)
        found["several, second look"].append(rescore(engine, image, several, OPTIONS))
    return found


def score(engine: TorchEngine, scenes: Sequence[Crowd], found: Sequence[Sequence[Found]]) -> dict[str, Any]:
    """Average precision in per cent, that of boxes whatever their class, and boxes a scene."""
    truth = [Detections(each.boxes, [engine.classes.index(label) for label in each.labels]) for each in scenes]
    boxes = [
        Detections([each.xyxy for each in one], [each.index for each in one], [each.score for each in one])
        for one in found
    ]
    plain_truth = [Detections(each.boxes, np.zeros(len(each.classes))) for each in truth]
    plain = [each._replace(classes=np.zeros(len(each.classes))) for each in boxes]
    draws, random = [], np.random.default_rng(0)
    for _ in range(DRAWS):
        rows = random.integers(len(scenes), size=len(scenes))
        draws.append(mean_precision([boxes[row] for row in rows], [truth[row] for row in rows]))
    return {
        "ap": round(mean_precision(boxes, truth), 1),
        "interval": [round(float(each), 1) for each in np.quantile(draws, (0.025, 0.975))],
        "ap_whatever_class": round(mean_precision(plain, plain_truth), 1),
        "boxes_a_scene": round(sum(map(len, found)) / len(found), 2),
    }


def mean_precision(boxes: Sequence[Detections], truth: Sequence[Detections]) -> float:
    return 100 * float(np.mean(list(average_precision(boxes, truth).values())))


def abstain(engine: TorchEngine, arguments: argparse.Namespace) -> dict[str, Any]:
    """What abstaining keeps of the split's own images, and where it sees something that is not there."""
    split, empty = arguments.split, arguments.empty
    presence = Presence.of(engine.presence or {})
    catalog = read_catalog("sample")
    items, true = catalog.splits[split][:: arguments.every], read_truth(catalog, split).boxes
    images = [read_image(item.path)[0] for item in items]
    said = forward(engine, images)
    cuts = np.full(len(images), float(engine.threshold))
    boxes, _ = largest_boxes(said.maps[:, 0], cuts)
    found = np.array([
        iou(scale(box[None], (engine.size, engine.size), image.size), true[item.name]).max() >= 0.5
        for box, image, item in zip(boxes, images, items, strict=True)
    ])  # fmt: skip
    kept = presence.probability(said.logits, said.maps[:, 0], cuts) >= presence.least
    nothing = forward(engine, [Image.fromarray(crowded(0, index, split=split).image) for index in range(empty)])
    cuts = np.full(empty, float(engine.threshold))
    seen = presence.probability(nothing.logits, nothing.maps[:, 0], cuts) >= presence.least
    return {
        "false_boxes": share(seen),
        "false_boxes_without": share(largest_boxes(nothing.maps[:, 0], cuts)[1] > 0),
        "kept_of_found": share(kept[found]),
        "kept_of_all": share(kept),
        "calibrated_on": {"with": presence.positives, "without": presence.negatives},
    }


def share(values: Any) -> dict[str, Any]:
    """A share in per cent with Wilson's interval."""
    count, part, z = len(values), float(np.mean(values)), 1.96
    middle = (part + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(part * (1 - part) / count + z * z / (4 * count * count))
    low, high = 100 * (middle - reach), 100 * (middle + reach)
    return {"per_cent": round(100 * part, 1), "interval": [round(low, 1), round(high, 1)], "of": count}


def picture(engine: TorchEngine, scenes: Sequence[Crowd], found: dict[str, list[list[Found]]]) -> None:
    """A row of single boxes above a row of several."""
    rows = [[drawn(engine, scenes[i], found[way][i]) for i in range(SHOWN)] for way in (WAYS[0], WAYS[2])]
    sheet = np.concatenate([np.concatenate([np.asarray(each) for each in row], axis=1) for row in rows])
    Image.fromarray(sheet).save(PICTURE, quality=88)


def drawn(engine: TorchEngine, scene: Crowd, found: Sequence[Found]) -> Image.Image:
    side = len(scene.image)
    boxes = scale([each.xyxy for each in found], (engine.size, engine.size), (side, side))
    made = tuple(
        Box((x0, y0, x1, y1), engine.classes[each.index], each.index, each.score)
        for each, (x0, y0, x1, y1) in zip(found, boxes.tolist(), strict=True)
        if each.score >= 0.1
    )
    prediction = Prediction(Path("scene"), "scene", (side, side), "", 0, 0.0, made, 0.0)
    large = Image.fromarray(scene.image).resize((2 * side, 2 * side), Image.Resampling.BICUBIC)
    return draw(large, prediction, truth=scene.boxes)


if __name__ == "__main__":
    main()
