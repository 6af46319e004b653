"""What every writer asks of predictions before it writes them, and the few numbers they share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from boxless.errors import DataError

if TYPE_CHECKING:
    from boxless.types import Box, Prediction

# Characters that XML 1.0 cannot hold, not even escaped, and halves of surrogate pairs, which UTF-8 cannot hold. Line
# ends and tabs can be held, but a label or a name with one is a mistake that breaks readers that go line by line.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

DECIMALS = 3  # of a pixel: below what any reader shows, above the noise of the last float digits


def check_name(name: str) -> None:
    """Refuse a name that some format cannot hold or that leads out of the output folder.

    Raises:
        DataError: The name is empty, absolute, has ``..`` in it, or has control or undecodable characters.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{name!r}: not a path inside the folder of images; names are relative, with forward slashes and without "
            "'..'. Give predict a folder that holds the image."
        )
    if found := _UNWRITABLE.search(name):
        raise DataError(
            f"{name!r}: the name holds {found.group()!r}, which no annotation file can hold; rename the file."
        )


def check_classes(classes: Sequence[str]) -> None:
    """Refuse class names that cannot be told apart or written.

    Raises:
        DataError: A name is empty, listed twice, or has control characters.
    """
    seen: set[str] = set()
    for label in classes:
        if not label.strip() or _UNWRITABLE.search(label):
            raise DataError(f"class name {label!r}: empty or with control characters; rename the class.")
        if label in seen:
            raise DataError(f"class name {label!r} is listed twice; rename one of the two classes.")
        seen.add(label)


def checked(predictions: Iterable[Prediction], classes: Sequence[str]) -> Iterator[Prediction]:
    """Check the classes now, and give the predictions one at a time, checked, with boxes clipped to their image.

    Raises:
        DataError: A name, size, label or box that cannot be written; the message names the image.
    """
    check_classes(classes)
    return (_checked(prediction, classes) for prediction in predictions)


def _checked(prediction: Prediction, classes: Sequence[str]) -> Prediction:
    check_name(prediction.name)
    width, height = prediction.size
    if width < 1 or height < 1:
        raise DataError(f"{prediction.name}: its size is {width} x {height} pixels; no box fits in it.")
    if not (math.isfinite(prediction.score) and math.isfinite(prediction.threshold)):
        raise DataError(
            f"{prediction.name}: class score {prediction.score} and threshold {prediction.threshold} must be finite; "
            "predict it again."
        )
    _check_label(prediction.name, prediction.label, prediction.label_index, classes)
    return replace(prediction, boxes=tuple(_clipped(prediction, box, classes) for box in prediction.boxes))


def _check_label(name: str, label: str, index: int, classes: Sequence[str]) -> None:
    if not 0 <= index < len(classes) or classes[index] != label:
        raise DataError(
            f"{name}: label {label!r} has index {index}, but of the {len(classes)} classes given "
            f"{f'index {index} is {classes[index]!r}' if 0 <= index < len(classes) else 'none has this index'}; "
            "pass the classes of the model that predicted it."
        )


def _clipped(prediction: Prediction, box: Box, classes: Sequence[str]) -> Box:
    """The box inside the image: rounding may put an edge a hair beyond it, and readers refuse that."""
    _check_label(prediction.name, box.label, box.label_index, classes)
    width, height = map(float, prediction.size)
    x0, y0, x1, y1 = (float(value) for value in box.xyxy)
    inside = (min(max(x0, 0.0), width), min(max(y0, 0.0), height), min(max(x1, 0.0), width), min(max(y1, 0.0), height))
    finite = all(map(math.isfinite, (x0, y0, x1, y1, box.score)))
    if not finite or inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise DataError(
            f"{prediction.name}: box {box.xyxy} with score {box.score} has no area inside the image of "
            f"{prediction.size[0]} x {prediction.size[1]} pixels or is not finite; drop it before writing."
        )
    return replace(box, xyxy=inside)


def pixels(value: float) -> float:
    """A coordinate in pixels as files show it; without the noise of the last float digits."""
    return round(float(value), DECIMALS)


def confidence(value: float) -> float:
    """A score as files show it: six decimals keep the order of any two scores that float32 tells apart near 1."""
    return round(float(value), 6)
