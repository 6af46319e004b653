"""Reads a CVAT data set (annotations.xml beside images/) with Datumaro and prints what it found as JSON.

Run by an interpreter that has Datumaro.
"""

import json
import sys
from pathlib import Path

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset


def main(folder):
    dataset = Dataset.import_from(str(folder), "cvat")
    labels = [label.name for label in dataset.categories()[AnnotationType.label]]
    images = {}
    for item in dataset:
        height, width = item.media.size
        name = Path(item.media.path).relative_to(folder / "images").as_posix()
        images[name] = {"size": [width, height], "boxes": [read(each, labels) for each in item.annotations]}
    json.dump({"labels": labels, "images": images}, sys.stdout)


def read(annotation, labels):
    if annotation.type != AnnotationType.bbox:
        raise ValueError(f"not a box: {annotation}")
    left, top, width, height = annotation.get_bbox()
    label = labels[annotation.label]
    return [left, top, left + width, top + height, label, float(annotation.attributes["score"])]


main(Path(sys.argv[1]))
