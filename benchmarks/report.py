"""How large the page of a report of 1,000 images is, and how soon a browser shows it and follows its slider.

    python benchmarks/report.py [--run RUN] [--side 128 1024] [--opened 5]

The images are those of the bundled sample's test and val splits, as they are and enlarged to photographs with their
grain; the run is trained for one epoch if none is named. The browser is Chromium (BOXLESS_CHROMIUM or the system's),
without a window. Writes benchmarks/results/report.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _machine import describe
from PIL import Image

from boxless import train
from boxless.data.catalog import SAMPLE, read_catalog, read_truth
from boxless.report.writing import write_report

RESULTS = Path(__file__).parent / "results" / "report.json"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
SHOWN = """() => { const first = document.querySelector('.tile img');
    return first && first.complete && document.querySelector('#value').textContent !== ''; }"""
MOVED = """() => new Promise((done) => { const slider = document.querySelector('#threshold'); slider.value = 500;
    slider.dispatchEvent(new Event('input')); requestAnimationFrame(() => setTimeout(done)); })"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=None, help="A run on the sample.")
    parser.add_argument(
        "--side", type=int, nargs="+", default=[128, 1024], help="Longer sides of the images, in pixels."
    )
    parser.add_argument("--opened", type=int, default=5, help="How often each page is opened.")
    arguments = parser.parse_args()
    pages = []
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or train(SAMPLE, Path(temporary) / "run", epochs=1).folder
        for side in arguments.side:
            data = enlarged(Path(temporary) / str(side), side)
            pages.append(
                {"longer_side": side, **measured(run, data, Path(temporary) / f"{side}.html", arguments.opened)}
            )
            print(pages[-1], flush=True)
    found = {"pages": pages, **describe("one browser", "boxless", "plotly", "pillow", "playwright")}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def enlarged(folder: Path, side: int) -> Path:
    """The 600 test and 400 val images of the sample as one split; with grain where they are larger than they were."""
    catalog = read_catalog(SAMPLE)
    rows = []
    for split in ("test", "val"):
        truth = read_truth(catalog, split).boxes
        for item in catalog.splits[split]:
            name = f"test/{catalog.classes[item.labels[0]]}/{split}-{item.path.name}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            scale = copied(item.path, folder / name, side)
            rows += [[name, *(edge * scale for edge in box)] for box in truth.get(item.name, np.zeros((0, 4))).tolist()]
    with (folder / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "x0", "y0", "x1", "y1"], *rows])
    return folder


def copied(path: Path, target: Path, side: int) -> float:
    """An image at another size; how many times as large it is."""
    with Image.open(path) as image:
        scale = side / max(image.size)
        if scale <= 1:
            shutil.copy(path, target)
            return 1.0
        larger = image.convert("RGB").resize([round(each * scale) for each in image.size], Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 6, (larger.height, larger.width, 1))
    Image.fromarray(np.clip(np.asarray(larger) + grain, 0, 255).astype(np.uint8)).save(target, quality=90)
    return scale


def measured(run: Path, data: Path, page: Path, times: int) -> dict[str, Any]:
    begun = time.perf_counter()
    written = write_report(run, data, out=page)
    wrote = time.perf_counter() - begun
    seen = opened(page, times)
    return {
        "images": written.images,
        "images_in_the_page": written.shown,
        "megabytes": round(written.size / 1e6, 1),
        "seconds_to_write": round(wrote, 1),
        **seen,
    }


def opened(page: Path, times: int) -> dict[str, Any]:
    """How soon images are seen and the slider works, and how long the page's thread works for that and for a move."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("BOXLESS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    shown, busy, followed = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for _ in range(times):
            tab = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            begun = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="commit")
            while not tab.evaluate(SHOWN):
                time.sleep(0.01)
            shown.append(time.perf_counter() - begun)
            busy.append(worked(session))
            tab.evaluate(MOVED)
            followed.append(worked(session) - busy[-1])
            tab.context.close()
        browser.close()
    return {
        "seconds_until_shown": round(statistics.median(shown), 2),
        "seconds_until_shown_each": [round(each, 2) for each in shown],
        "seconds_of_the_page_thread_until_shown": round(statistics.median(busy), 2),
        "seconds_of_the_page_thread_for_the_first_move_of_the_slider": round(statistics.median(followed), 3),
    }


def worked(session: Any) -> float:
    """Seconds of a processor that the page's own thread has had."""
    figures = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(figures["TaskDuration"])


if __name__ == "__main__":
    main()
