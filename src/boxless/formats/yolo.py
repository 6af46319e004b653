"""YOLO: ``yolo/data.yaml``, ``yolo/images/``, ``yolo/labels/`` and ``yolo/predictions/``.

A label file has a line ``class centre-x centre-y width height`` for each box, in fractions of the image's width and
height; an empty one says that there is no object. Training labels hold no score, so ``predictions/`` repeats the lines
with the score as a sixth column, as ``yolo predict save_txt save_conf`` writes them.
Format: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from boxless.formats.records import checked
from boxless.formats.staging import open_unused, staged_folder
from boxless.formats.upright import place_upright

if TYPE_CHECKING:
    from boxless.types import Box, Prediction

# Line ends and marks that YAML does not take literally inside quotes.
_YAML_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write a data set that trains as it is and return its ``data.yaml``.

    Images are linked, not copied, where the file system can; one that its EXIF tag turns is written anew, upright, so
    that readers with and without regard for the tag see the boxes in the same place.
    """
    given = checked(predictions, classes)
    with staged_folder(folder / "yolo") as staging:
        (staging / "data.yaml").write_text(_data(classes), encoding="utf-8")
        for part in ("images", "labels", "predictions"):
            (staging / part).mkdir()
        for prediction in given:
            _write_image(prediction, staging)
    return folder / "yolo" / "data.yaml"


def _write_image(prediction: Prediction, staging: Path) -> None:
    name = _safe_name(prediction.name)
    lines = [_line(box, prediction.size) for box in prediction.boxes]
    file, stem = open_unused(staging / "labels", name, ".txt")
    with file:
        file.writelines(f"{line}\n" for line in lines)
    scored = staging / "predictions" / f"{stem}.txt"
    scored.parent.mkdir(parents=True, exist_ok=True)
    with scored.open("x", encoding="utf-8") as file:
        pairs = zip(lines, prediction.boxes, strict=True)
        file.writelines(f"{line} {box.score:.6f}\n" for line, box in pairs)
    place_upright(prediction.path, staging / "images" / f"{stem}{PurePosixPath(name).suffix}")


def _safe_name(name: str) -> str:
    """The name with a folder called ``images`` renamed ``images_``.

    ultralytics finds the labels by replacing the last ``/images/`` of a path, which must be ours.
    """
    path = PurePosixPath(name)
    return str(PurePosixPath(*("images_" if part == "images" else part for part in path.parent.parts), path.name))


def _line(box: Box, size: tuple[int, int]) -> str:
    width, height = size
    x0, y0, x1, y1 = box.xyxy
    centre_x, centre_y = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height
    # Eight decimals: a ten-thousandth of a pixel in an image 10,000 pixels wide.
    return f"{box.label_index} {centre_x:.8f} {centre_y:.8f} {(x1 - x0) / width:.8f} {(y1 - y0) / height:.8f}"


def _data(classes: Sequence[str]) -> str:
    names = "".join(f"  {index}: {_quoted(label)}\n" for index, label in enumerate(classes))
    return (
        "# Without `path`, train and val are relative to this file, so the folder can be moved.\n"
        "# Both are all the images: split them before you train in earnest.\n"
        f"train: images\nval: images\nnames:\n{names}"
    )


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar: JSON's string is one, but for characters that YAML wants escaped."""
    return _YAML_ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(text, ensure_ascii=False))
