"""The pictures of docs/walk.md: each step of the walk is done as a user types it, and what it shows is kept.

``python scripts/walk.py FOLDER [STEP ...]`` works in FOLDER, where a part of the bundled sample is laid out as a user's
photographs are, and writes ``docs/images/walk``. Steps are done in the order of `STEPS`; without names all of them.
"""

from __future__ import annotations

import csv
import html
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from boxless.data.catalog import sample_folder

PICTURES = Path(__file__).parents[1] / "docs" / "images" / "walk"
CLASSES = ("ankle-boot", "bag", "coat", "sneaker")
COUNTS = {"train": 40, "val": 10, "test": 25}
NEW = 6  # of each class, for people who never saw them
LIMIT = 300_000  # bytes of a picture
WIDTH = 110  # letters of a line in a picture
PORT = 7999
WAIT = 1_000  # milliseconds in which a page settles
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
TERMINAL = """<body style="margin:0;background:#0f1419"><pre style="margin:0;padding:18px 22px;display:inline-block;
color:#d6dde6;font:15px/1.45 'DejaVu Sans Mono',monospace"><span style="color:#5ad1b0">$ %s</span>\n%s</pre></body>"""


def lay_out(folder: Path) -> None:
    """``photos`` with four classes and the boxes of the test split alone, and ``new-photos`` without classes."""
    sample = sample_folder()
    with (sample / "boxes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept: set[str] = set()
    for split, count in COUNTS.items():
        for label in CLASSES:
            for path in sorted((sample / split / label).iterdir())[:count]:
                kept.add(_copy(path, folder / "photos" / split / label / path.name, folder / "photos"))
    for label in CLASSES:
        for path in sorted((sample / "test" / label).iterdir())[COUNTS["test"] :][:NEW]:
            _copy(path, folder / "new-photos" / f"{label[0]}{path.name}", folder)
    true = [row for row in rows if row["path"] in kept and row["path"].startswith("test/")]
    with (folder / "photos" / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(true)


def _copy(source: Path, target: Path, root: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target.relative_to(root).as_posix()


def say(folder: Path, command: str, picture: str | None = None) -> None:
    """Give a command, and keep what it prints."""
    environment = {**os.environ, "COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")
    if picture:
        (folder / "said").mkdir(exist_ok=True)
        (folder / "said" / f"{picture}.txt").write_text(f"{command}\n{done.stdout.strip()}\n", encoding="utf-8")


def terminals(folder: Path) -> None:
    """Pictures of what was printed."""
    with browser() as open_page:
        page = open_page(1200, 300)
        for path in sorted((folder / "said").iterdir()):
            command, *lines = path.read_text(encoding="utf-8").replace(str(folder), "/home/you").splitlines()
            shown = "\n".join(_fitted(lines))
            page.set_content(TERMINAL % (html.escape(command), html.escape(shown)))
            _keep(page.locator("pre").screenshot(), path.stem)


def _fitted(lines: list[str]) -> list[str]:
    """Lines no longer than `WIDTH`: a table without its longest row, and without what is blank then in all rows."""
    if any(len(line) > WIDTH and re.search(r"\S {20,}\S", line) for line in lines):
        lines = [line for line in lines if not line.startswith("selected by")]
        length = max(map(len, lines))
        padded = [line.ljust(length) for line in lines]
        blank = [all(line[place] == " " for line in padded) for place in range(length)]
        kept = [place for place in range(length) if not (blank[place] and all(blank[max(0, place - 2) : place]))]
        return ["".join(line[place] for place in kept).rstrip() for line in padded]
    return [part for line in lines for part in (textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""])]


@contextmanager
def browser() -> Iterator[Callable[..., Any]]:
    """A function that opens a page of a given size in Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*QUIET])
        yield lambda width, height: chromium.new_page(viewport={"width": width, "height": height})
        chromium.close()


def _keep(picture: bytes, name: str) -> None:
    """As PNG with few colours, or as JPEG where that is smaller."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    image = Image.open(BytesIO(picture)).convert("RGB")
    if name.endswith(".png"):
        image.quantize(64, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    else:
        image.save(PICTURES / name, quality=82, optimize=True)
    size = (PICTURES / name).stat().st_size
    if size > LIMIT:
        raise SystemExit(f"{PICTURES / name} has {size} bytes, more than {LIMIT}; make it smaller.")


def inspect(folder: Path) -> None:
    """What is in the folder."""
    say(folder, "boxless inspect photos", "inspect.png")


def train(folder: Path) -> None:
    """A run."""
    say(folder, "boxless train photos --out runs/photos", "train.png")


def predict(folder: Path) -> None:
    """Boxes, and pictures of them."""
    say(folder, "boxless predict runs/photos new-photos --out boxes --format yolo,cvat,csv --overlays", "predict.png")
    overlays = sorted((folder / "boxes" / "overlays").iterdir())[::4]
    tiles = [Image.open(path).convert("RGB") for path in overlays[:6]]
    height = 260
    tiles = [tile.resize((round(tile.width * height / tile.height), height)) for tile in tiles]
    rows = [tiles[:3], tiles[3:]]
    width = max(sum(tile.width + 6 for tile in row) for row in rows) - 6
    sheet = Image.new("RGB", (width, 2 * height + 6), "white")
    for y, row in zip((0, height + 6), rows, strict=True):
        x = 0
        for tile in row:
            sheet.paste(tile, (x, y))
            x += tile.width + 6
    kept = BytesIO()
    sheet.save(kept, "PNG")
    _keep(kept.getvalue(), "overlays.jpg")


def evaluate(folder: Path) -> None:
    """What the boxes are worth."""
    say(folder, "boxless evaluate runs/photos photos", "evaluate.png")


def report(folder: Path) -> None:
    """The page of the run."""
    say(folder, "boxless report runs/photos --out report.html")


def page(folder: Path) -> None:
    """It, and the slider moved with the worst images first."""
    with browser() as open_page:
        page = open_page(1240, 860)
        page.goto((folder / "report.html").absolute().as_uri())
        page.wait_for_timeout(WAIT)
        _keep(page.screenshot(), "report-top.jpg")
        page.locator("#threshold").fill("900")
        page.get_by_label("Sort").select_option("worst")
        page.locator("h2", has_text="Images").first.scroll_into_view_if_needed()
        page.mouse.wheel(0, 280)
        page.wait_for_timeout(WAIT)
        _keep(page.screenshot(), "report-gallery.jpg")


def app(folder: Path) -> None:
    """The review page, an image accepted."""
    shutil.rmtree(folder / "review", ignore_errors=True)
    command = ["boxless", "app", "runs/photos", "new-photos", "--save-to", "review", "--port", str(PORT), "--no-open"]
    server = subprocess.Popen([sys.executable, "-m", *command], cwd=folder)
    try:
        with browser() as open_page:
            page = open_page(1240, 900)
            _arrive(page, f"http://127.0.0.1:{PORT}")
            page.get_by_role("button", name="Accept A").wait_for(timeout=60_000)
            page.wait_for_timeout(2 * WAIT)
            page.get_by_role("button", name="Accept A").click()
            page.wait_for_timeout(2 * WAIT)
            _keep(page.screenshot(), "app.jpg")
    finally:
        server.terminate()
        server.wait()


def _arrive(page: Any, address: str) -> None:
    """Open the address as soon as somebody answers there."""
    from playwright.sync_api import Error

    for _ in range(240):
        try:
            page.goto(address)
            return
        except Error:
            page.wait_for_timeout(WAIT)
    raise SystemExit(f"nobody answers at {address}.")


def export(folder: Path) -> None:
    """A model file, checked, and used without torch."""
    say(folder, "boxless export runs/photos --onnx photos.onnx --check photos", "export.png")
    say(folder, "boxless predict photos.onnx new-photos --out onnx-boxes --format csv", "onnx.png")
    one, other = (
        list(csv.DictReader((folder / name / "predictions.csv").open(encoding="utf-8")))
        for name in ("boxes", "onnx-boxes")
    )
    for here, there in zip(one, other, strict=True):
        if (here["name"], here["box_label"]) != (there["name"], there["box_label"]):
            raise SystemExit(f"{here['name']}: the run says {here['box_label']}, the model file {there['box_label']}.")


STEPS: dict[str, Callable[[Path], None]] = {
    "lay_out": lay_out,
    "inspect": inspect,
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "report": report,
    "page": page,
    "app": app,
    "export": export,
    "terminals": terminals,
}


def main() -> None:
    """Do the steps that are named."""
    folder, *names = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or STEPS:
        STEPS[name](Path(folder))


if __name__ == "__main__":
    main()
