"""The whole job on the bundled sample: train, predict, evaluate, and something to look at."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.images import read_image
from boxless.data.truth import read_truth
from boxless.errors import RunError
from boxless.files import atomic_write
from boxless.listener import Listener, counter
from boxless.predict.localizer import Localizer
from boxless.predict.overlay import contact_sheet, tile
from boxless.predict.writing import predict_to
from boxless.protocol.report import Report
from boxless.recipe import Recipe
from boxless.report.writing import write_report
from boxless.training.session import train
from boxless.types import Prediction

SAMPLE = "sample"
SHOWN = 40  # images on the contact sheet: every so-many-th of the test set, so neither the best nor the worst
COLUMNS = 8
MARK = ".boxless-demo"  # says that a folder is ours to write anew


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made."""

    report: Report
    images_per_second: float  # from JPEG files to six written formats
    contact_sheet: Path
    page: Path
    run: Path
    refused: tuple[tuple[str, str], ...]

    def header(self) -> tuple[str, ...]:
        """The titles of the columns of `rows`."""
        return ("figure", *self.report.header()[1:])

    def rows(self) -> list[tuple[str, ...]]:
        """The report's rows, and how fast predictions were written."""
        rest = ("",) * (len(self.report.columns) - 1)
        return [*self.report.rows(), ("images/s, from JPEG to six formats", f"{self.images_per_second:.0f}", *rest)]


def run_demo(
    folder: Path, *, device: str = "auto", seed: int = 0, epochs: int | None = None, listener: Listener | None = None
) -> DemoResult:
    """Do the whole job into ``folder``; an earlier demo there is replaced, anything else is left alone.

    Raises:
        RunError: The folder holds something that no demo wrote, or cannot be written.
    """
    listener = listener or Listener()
    _make_room(folder)
    catalog = read_catalog(SAMPLE, listener=listener)
    recipe = Recipe().override(
        data={"source": SAMPLE},
        method={"name": "auto"},
        training={"seed": seed} | ({} if epochs is None else {"epochs": epochs}),
    )
    trained = train(recipe, folder / "run", device=device, listener=listener)
    localizer = Localizer.load(folder / "run", device=device)
    test = catalog.root / "test"
    outcome = predict_to(
        localizer,
        [test],
        folder / "predictions",
        formats=("coco", "yolo", "voc", "labelstudio", "cvat", "csv"),
        progress=counter(listener, "predicting"),
    )
    sheet = _picture(localizer, catalog, folder / "contact-sheet.png")
    written = write_report(folder / "run", SAMPLE, device=device, listener=listener)
    return DemoResult(
        cast(Report, written.report),  # there is one: the sample's classes are known
        outcome.images_per_second,
        sheet,
        written.path,
        folder / "run",
        trained.refused + outcome.refused,
    )


def _make_room(folder: Path) -> None:
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise RunError(f"{folder}: it holds files that no demo wrote; choose another folder with --out.")
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
    with atomic_write(mark) as file:
        file.write("This folder was written by 'boxless demo', which replaces all of it when it is run again.\n")


def _picture(localizer: Localizer, catalog: Catalog, path: Path) -> Path:
    """A sheet of test images with predicted and true boxes."""
    items = catalog.splits["test"]
    chosen = items[:: max(len(items) // SHOWN, 1)][:SHOWN]
    truth = read_truth(catalog, "test").boxes
    predictions: Sequence[Prediction] = list(localizer.predict([item.path for item in chosen], maps=True))
    tiles = [
        tile(
            read_image(item.path)[0],
            prediction,
            truth=truth.get(item.name),
            true_label=catalog.classes[item.labels[0]],
            size=180,
        )
        for item, prediction in zip(chosen, predictions, strict=True)
    ]
    with atomic_write(path, "wb") as file:
        contact_sheet(tiles, columns=COLUMNS, size=180, title="boxes learnt from image labels").save(file, "PNG")
    return path
