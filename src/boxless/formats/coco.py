"""COCO: ``coco/predictions.json``, a dataset with scores, and ``coco/results.json``, a list of results.

Two files, because they are two formats that readers do not take for one another: annotation tools import a dataset, and
evaluators take a list of results whose ``image_id`` are those of a dataset. Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from boxless import __version__
from boxless.files import atomic_write
from boxless.formats.records import checked, confidence, pixels

if TYPE_CHECKING:
    from boxless.types import Prediction


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write both files and return the dataset.

    Image, category and annotation ids are integers from 1: some tools take 0 for "none". A box with a mask has it as
    ``segmentation``, as packed run lengths, and its ``area`` is the mask's. One without has no such key, since readers
    take an empty polygon for a broken one.
    """
    path = folder / "coco" / "predictions.json"
    given = checked(predictions, classes)
    with (
        atomic_write(path) as dataset,
        atomic_write(path.with_name("results.json")) as results,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as annotations,
    ):
        dataset.write(_head(classes))
        results.write("[")
        count = 0
        for image_id, prediction in enumerate(given, 1):
            dataset.write(_separator(image_id) + _dump(_image(prediction, image_id)))
            for result in _results(prediction, image_id):
                count += 1
                results.write(_separator(count) + _dump(result))
                annotations.write(_separator(count) + _dump(_annotation(result, count)))
        results.write("\n]\n")
        _finish(dataset, annotations)
    return path


def _head(classes: Sequence[str]) -> str:
    info = {"description": "predicted by boxless", "version": __version__}
    categories = [{"id": index, "name": label, "supercategory": ""} for index, label in enumerate(classes, 1)]
    return f'{{\n"info": {_dump(info)},\n"licenses": [],\n"categories": {_dump(categories)},\n"images": ['


def _finish(dataset: IO[str], annotations: IO[str]) -> None:
    """Images and annotations are two lists of one file, so the second waits on disk and not in memory."""
    dataset.write('\n],\n"annotations": [')
    annotations.seek(0)
    shutil.copyfileobj(annotations, dataset)
    dataset.write("\n]\n}\n")


def _image(prediction: Prediction, image_id: int) -> dict[str, Any]:
    width, height = prediction.size
    return {"id": image_id, "width": width, "height": height, "file_name": prediction.name}


def _results(prediction: Prediction, image_id: int) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": box.label_index + 1,
            "bbox": _corner_and_size(box.xyxy),
            "score": confidence(box.score),
            **({} if box.mask is None else {"segmentation": {"size": [*prediction.size[::-1]], "counts": box.mask}}),
        }
        for box in prediction.boxes
    ]


def _annotation(result: dict[str, Any], annotation_id: int) -> dict[str, Any]:
    if mask := result.get("segmentation"):
        from boxless.ops.run_lengths import area as area_of  # here, since files without masks need no numpy

        height, width = mask["size"]
        area: float = area_of(mask["counts"], (width, height))
    else:
        area = pixels(result["bbox"][2] * result["bbox"][3])
    return {"id": annotation_id, **result, "area": area, "iscrowd": 0}


def _corner_and_size(xyxy: tuple[float, float, float, float]) -> list[float]:
    x0, y0, x1, y1 = map(pixels, xyxy)
    return [x0, y0, pixels(x1 - x0), pixels(y1 - y0)]


def _separator(number: int) -> str:
    return "\n" if number == 1 else ",\n"


def _dump(value: Any) -> str:
    return json.dumps(value)  # in ASCII: pycocotools opens the file in whatever encoding the system prefers
