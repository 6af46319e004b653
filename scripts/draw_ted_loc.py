"""Draws docs/images/ted_loc.jpg: what one set of TeD-Loc's weights says of test images of the sample, beside CAM.

    python scripts/draw_ted_loc.py CAM_RUN TED_LOC_RUN

Runs are those of the recipes in recipes/sample; maps are cut where benchmarks/accuracy.py found it best on val.
src/boxless/data/sample/NOTICE.md names the authors of what the images are made of, and their licences.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from boxless.data.catalog import SAMPLE, read_catalog
from boxless.data.images import read_image
from boxless.data.truth import read_truth
from boxless.predict.localizer import Localizer
from boxless.predict.overlay import Tile, contact_sheet, draw
from boxless.runs import open_run

ROOT = Path(__file__).parents[1]
STEP, ROWS = 53, 4
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
WIDTH = 200
ROWS_OF = {"cam": "cam", "classifier": "ted_loc", "anchors": "ted_loc, maps by anchors"}
NAMES = {"cam": "CAM", "classifier": "TeD-Loc", "anchors": "by anchor"}


def main() -> None:
    """A row an image: CAM's prediction, and both maps of TeD-Loc."""
    catalog = read_catalog(SAMPLE)
    items, truth = catalog.splits["test"], read_truth(catalog, "test").boxes
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    localizers = {}
    for name, row in ROWS_OF.items():
        run = open_run(sys.argv[1 if name == "cam" else 2], device="cpu")
        localizers[name] = Localizer(replace(run, threshold=rows[row]["validation_threshold"]))
        if name != "cam":
            run.method.localization = name
    tiles = []
    for item in items[STEP // 2 :: STEP][: ROWS * 2]:
        image, size = read_image(item.path)
        for name, title in NAMES.items():
            said = localizers[name].predict_image(item.path)
            large = image.resize((WIDTH, WIDTH * image.height // image.width))
            shown = draw(large, replace(said, size=size), truth=truth[item.name])
            right = said.label_index in item.labels
            detail = "" if right else f" (it is {catalog.classes[item.labels[0]]})"
            tiles.append(Tile(shown, title, detail, wrong=not right))
    contact_sheet(tiles, columns=6).convert("RGB").save(ROOT / "docs/images/ted_loc.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
