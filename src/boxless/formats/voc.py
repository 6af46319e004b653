"""Pascal VOC: ``voc/Annotations/<image>.xml`` and ``voc/labels.txt``.

Pixels are whole, count from 1 and include both ends, as the VOC2012 development kit has it: the half-open box
(0, 0, 1, 1), which is the first pixel, is ``xmin = ymin = xmax = ymax = 1``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from boxless.formats.records import checked, confidence
from boxless.formats.staging import open_unused, staged_folder

if TYPE_CHECKING:
    from boxless.types import Box, Prediction


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write one file for each image, in folders as the images are, and return the folder of them."""
    given = checked(predictions, classes)
    with staged_folder(folder / "voc") as staging:
        (staging / "labels.txt").write_text("".join(f"{label}\n" for label in classes), encoding="utf-8")
        annotations = staging / "Annotations"
        annotations.mkdir()
        for prediction in given:
            file, _ = open_unused(annotations, prediction.name, ".xml")
            with file:
                file.write(_annotation(prediction))
    return folder / "voc" / "Annotations"


def _annotation(prediction: Prediction) -> str:
    image = PurePosixPath(prediction.name)
    root = Element("annotation")
    _text(root, "folder", str(image.parent) if image.parent.parts else "")
    _text(root, "filename", image.name)
    _text(SubElement(root, "source"), "database", "boxless")
    size = SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*prediction.size, 3), strict=True):
        _text(size, tag, value)
    _text(root, "segmented", 0)
    for box in prediction.boxes:
        _object(root, box, prediction.size)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(root: Element, box: Box, size: tuple[int, int]) -> None:
    element = SubElement(root, "object")
    _text(element, "name", box.label)
    _text(element, "pose", "Unspecified")
    _text(element, "truncated", 0)
    _text(element, "difficult", 0)
    _text(element, "score", confidence(box.score))  # not of VOC: readers that do not know it pass over it
    bounds = SubElement(element, "bndbox")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), inclusive(box.xyxy, size), strict=True):
        _text(bounds, tag, value)


def inclusive(xyxy: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels, counted from 1 and both ends included, that covers a half-open one."""
    # 1e-6 pixels are float noise, which must not cost a whole pixel.
    x0, y0, x1, y1 = (round(value, 6) for value in xyxy)
    return (
        min(math.floor(x0) + 1, size[0]),
        min(math.floor(y0) + 1, size[1]),
        min(max(math.ceil(x1), 1), size[0]),
        min(max(math.ceil(y1), 1), size[1]),
    )


def _text(parent: Element, tag: str, value: object) -> None:
    SubElement(parent, tag).text = str(value)
