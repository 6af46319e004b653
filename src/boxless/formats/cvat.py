"""CVAT for images 1.1: ``cvat/annotations.xml``, and ``cvat/labels.json`` to make the task's labels from.

CVAT imports boxes into a task that has the same labels and frame names; ``labels.json`` is what its label editor takes
under "Raw". Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from boxless.files import atomic_write, write_json
from boxless.formats.records import checked, confidence

if TYPE_CHECKING:
    from boxless.types import Prediction


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write both files and return the annotations."""
    path = folder / "cvat" / "annotations.xml"
    given = checked(predictions, classes)
    with atomic_write(path) as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(_serialized(_meta(classes)))
        for number, prediction in enumerate(given):
            file.write(_serialized(_image(prediction, number)))
        file.write("</annotations>\n")
    write_json(path.with_name("labels.json"), [_raw_label(label) for label in classes])
    return path


def _meta(classes: Sequence[str]) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    SubElement(task, "name").text = "boxless"
    SubElement(task, "mode").text = "annotation"
    labels = SubElement(task, "labels")
    for name in classes:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        attribute = SubElement(SubElement(label, "attributes"), "attribute")
        for tag, text in _SCORE.items():
            SubElement(attribute, tag).text = text
    return meta


# "text" takes any value, where "number" takes only those of a declared range and step.
_SCORE = {"name": "score", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}


def _raw_label(name: str) -> dict[str, object]:
    attribute = {"name": "score", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    return {"name": name, "attributes": [attribute]}


def _image(prediction: Prediction, number: int) -> Element:
    width, height = prediction.size
    image = Element("image", id=str(number), name=prediction.name, width=str(width), height=str(height))
    for box in prediction.boxes:
        element = SubElement(image, "box", label=box.label, source="auto", occluded="0")
        for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy, strict=True):
            element.set(key, f"{value:.2f}")
        element.set("z_order", "0")
        SubElement(element, "attribute", name="score").text = f"{confidence(box.score):.6f}"
    return image


def _serialized(element: Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode") + "\n"
