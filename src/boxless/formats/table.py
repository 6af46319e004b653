"""CSV: ``predictions.csv``, one row for each box, and one row with empty box fields for an image without any."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.files import atomic_write
from boxless.formats.records import checked, confidence, pixels

if TYPE_CHECKING:
    from boxless.types import Prediction

COLUMNS = (
    *("name", "width", "height", "label", "class_score"),
    *("x0", "y0", "x1", "y1", "box_label", "box_score", "threshold"),
)


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write the table, UTF-8 with a header, fields quoted where RFC 4180 asks for it, and return it."""
    path = folder / "predictions.csv"
    given = checked(predictions, classes)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for prediction in given:
            writer.writerows(_rows(prediction))
    return path


def _rows(prediction: Prediction) -> Iterator[tuple[object, ...]]:
    image = (prediction.name, *prediction.size, prediction.label, confidence(prediction.score))
    threshold = confidence(prediction.threshold)
    for box in prediction.boxes:
        yield (*image, *map(pixels, box.xyxy), box.label, confidence(box.score), threshold)
    if not prediction.boxes:
        yield (*image, "", "", "", "", "", "", threshold)
