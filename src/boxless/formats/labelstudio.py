"""Label Studio: ``labelstudio/tasks.json``, tasks with predictions to correct, and ``labelstudio/config.xml``.

Coordinates are percent of the image's width and height. All boxes are in the ``result`` of one prediction, because
Label Studio shows one prediction at a time; they are never ``annotations``, which would count as a person's work.
Format: https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from boxless import __version__
from boxless.files import atomic_write
from boxless.formats.records import checked, confidence

if TYPE_CHECKING:
    from boxless.types import Box, Prediction

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own address of files under its document root

_CONTROL, _OBJECT = "label", "image"  # the names of the two tags in config.xml, which every region refers to


def write(
    predictions: Iterable[Prediction], classes: Sequence[str], folder: Path, *, image_prefix: str = LOCAL_FILES
) -> Path:
    """Write tasks and labeling config, and return the tasks.

    Args:
        predictions: Read once, one at a time.
        classes: The labels of the config.
        folder: The output folder.
        image_prefix: What stands before an image's name in its address, such as ``https://host/images/`` or
            ``s3://bucket/images/``. The name is percent-encoded, but not in addresses of cloud storage, whose keys
            are taken as they are.
    """
    path = folder / "labelstudio" / "tasks.json"
    given = checked(predictions, classes)
    with atomic_write(path) as tasks, atomic_write(path.with_name("config.xml")) as config:
        config.write(_config(classes))
        tasks.write("[")
        for number, prediction in enumerate(given):
            tasks.write(",\n" if number else "\n")
            json.dump(_task(prediction, image_prefix), tasks)  # in ASCII: the SDK opens it in the system's encoding
        tasks.write("\n]\n")
    return path


def _config(classes: Sequence[str]) -> str:
    view = Element("View")
    SubElement(view, "Image", name=_OBJECT, value="$image", zoom="true")
    labels = SubElement(view, "RectangleLabels", name=_CONTROL, toName=_OBJECT)
    for label in classes:
        SubElement(labels, "Label", value=label)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _task(prediction: Prediction, image_prefix: str) -> dict[str, Any]:
    scheme, has_scheme, _ = image_prefix.partition("://")
    is_cloud = has_scheme and scheme not in ("http", "https")
    address = image_prefix + (prediction.name if is_cloud else quote(prediction.name))
    return {
        "data": {"image": address, "name": prediction.name},
        "predictions": [
            {
                "model_version": f"boxless {__version__}",
                "score": confidence(prediction.score),
                "result": [_region(box, number, prediction.size) for number, box in enumerate(prediction.boxes, 1)],
            }
        ],
    }


def _region(box: Box, number: int, size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    left, top, right, bottom = (
        100 * edge / length for edge, length in zip(box.xyxy, (width, height, width, height), strict=True)
    )
    return {
        "id": f"box-{number}",
        "type": "rectanglelabels",
        "from_name": _CONTROL,
        "to_name": _OBJECT,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": confidence(box.score),
        "value": {
            "x": round(left, 6),
            "y": round(top, 6),
            "width": round(right - left, 6),
            "height": round(bottom - top, 6),
            "rotation": 0,
            "rectanglelabels": [box.label],
        },
    }
