"""Validates tasks against their labeling config with Label Studio's SDK and prints what it read as JSON.

Run by an interpreter that has the SDK, with LOCAL_FILES_DOCUMENT_ROOT set to the folder of images. Boxes are in pixels:
what Label Studio's converter to COCO exports once a person has accepted each prediction as it is.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from label_studio_sdk._extensions.label_studio_tools.core.utils.io import get_local_path
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface


def main(folder):
    config = (folder / "config.xml").read_text(encoding="utf-8")
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    interface = LabelInterface(config)
    interface.validate()
    errors = [f"refused: {task['data']}" for task in tasks if not interface.validate_task({"data": task["data"]})]
    for task in tasks:
        for prediction in task["predictions"]:
            errors += interface.validate_prediction(prediction, return_errors=True)
    root = Path(os.environ["LOCAL_FILES_DOCUMENT_ROOT"])
    files = [Path(get_local_path(task["data"]["image"])).relative_to(root).as_posix() for task in tasks]
    labels = sorted(interface.get_control("label").labels)
    json.dump({"errors": errors, "labels": labels, "files": files, "boxes": exported(config, tasks)}, sys.stdout)


def exported(config, tasks):
    accepted = [
        {
            "id": number,
            "data": task["data"],
            "annotations": [{"id": number, "result": task["predictions"][0]["result"]}],
        }
        for number, task in enumerate(tasks)
    ]
    with tempfile.TemporaryDirectory() as name:
        given, made = Path(name) / "tasks", Path(name) / "coco"
        given.mkdir()
        (given / "tasks.json").write_text(json.dumps(accepted), encoding="utf-8")
        converter = Converter(config, str(given), download_resources=False)
        converter.convert_to_coco(str(given), str(made), output_image_dir=str(made / "images"))
        coco = json.loads((made / "result.json").read_text(encoding="utf-8"))
    names = {each["id"]: each["name"] for each in coco["categories"]}
    sizes = {each["id"]: [each["width"], each["height"]] for each in coco["images"]}
    return [[*each["bbox"], names[each["category_id"]], *sizes[each["image_id"]]] for each in coco["annotations"]]


main(Path(sys.argv[1]))
