"""What we write, read by programs that are not ours: pycocotools, supervision, Datumaro and Label Studio's SDK.

Datumaro and the SDK live in an environment of their own (tests/interop/requirements.txt), whose interpreter is named by
the environment variable BOXLESS_INTEROP_PYTHON.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from boxless.formats import write
from boxless.types import Box, Prediction

CLASSES = ("cat", 'a & <b> "c"; d', "чайка")
CHECKS = Path(__file__).parents[1] / "interop"

# name, size, boxes as (x0, y0, x1, y1, class, score); all scores differ, so that a swapped pair shows
IMAGES = (
    ("a.jpg", (333, 77), [(0, 0, 333, 77, 1, 0.5), (10.5, 2.25, 20.125, 3, 2, 0.25), (332, 76, 333, 77, 0, 0.125)]),
    ("empty.png", (7, 9), []),
    ("b/a.jpg", (9, 640), [(0, 0, 1, 1, 0, 1.0)]),
    ("фото/é ñ, 1 & 2.jpg", (641, 5), [(0.004, 4, 640.5, 5, 2, 0.0625)]),
    ("b/images/a.png", (15, 15), [(14, 0, 15, 1, 1, 0.75)]),
)


@pytest.fixture
def predictions(tmp_path):
    made = []
    for name, size, boxes in IMAGES:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 120, 150)).save(path)
        found = tuple(Box(tuple(xyxy), CLASSES[index], index, score) for *xyxy, index, score in boxes)
        made.append(Prediction(path, name, size, "cat", 0, 0.9, found, 0.4))
    return made


@pytest.fixture
def supervision():
    with warnings.catch_warnings():
        # It uses OpenCV where that is installed, and says so where it is not.
        warnings.filterwarnings(
            "ignore", message="OpenCV .* is not installed; supervision is using", category=UserWarning
        )
        return pytest.importorskip("supervision")


def assert_boxes(found, prediction, tolerance, boxes=None):
    """Boxes and classes of supervision's detections are the prediction's, in its order."""
    expected = [box.xyxy for box in prediction.boxes] if boxes is None else boxes
    np.testing.assert_allclose(found.xyxy, np.reshape(expected, (-1, 4)), rtol=0, atol=tolerance)
    assert found.class_id.tolist() == [box.label_index for box in prediction.boxes]


def interop(check, *arguments, **environment):
    interpreter = os.environ.get("BOXLESS_INTEROP_PYTHON")
    if not interpreter:
        pytest.skip("BOXLESS_INTEROP_PYTHON names no interpreter with tests/interop/requirements.txt installed")
    done = subprocess.run(
        [interpreter, "-I", CHECKS / check, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pycocotools_reads_dataset_and_results_as_the_same_boxes(predictions, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    path = write("coco", predictions, CLASSES, tmp_path)
    dataset = coco.COCO(str(path))
    results = dataset.loadRes(str(path.with_name("results.json")))
    assert [each["name"] for each in dataset.loadCats(dataset.getCatIds())] == list(CLASSES)
    for image in dataset.loadImgs(dataset.getImgIds()):
        prediction = next(each for each in predictions if each.name == image["file_name"])
        assert (image["width"], image["height"]) == prediction.size
        for read in (dataset, results):
            annotations = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
            found = [
                (x, y, x + w, y + h, each["category_id"] - 1, each["score"])
                for each in annotations
                for x, y, w, h in (each["bbox"],)
            ]
            expected = [(*box.xyxy, box.label_index, box.score) for box in prediction.boxes]
            np.testing.assert_allclose(np.reshape(found, (-1, 6)), np.reshape(expected, (-1, 6)), rtol=0, atol=1e-9)


def test_supervision_reads_coco(predictions, supervision, tmp_path):
    path = write("coco", predictions, CLASSES, tmp_path)
    dataset = supervision.DetectionDataset.from_coco(str(tmp_path / "source"), str(path))
    assert dataset.classes == list(CLASSES)
    assert len(dataset) == len(predictions)
    for prediction in predictions:
        found = dataset.annotations[str(prediction.path.resolve())]
        if prediction.boxes:
            assert_boxes(found, prediction, 1e-4)  # it keeps boxes as float32
        else:
            assert found.is_empty()


def test_supervision_reads_yolo(predictions, supervision, tmp_path):
    folder = write("yolo", predictions, CLASSES, tmp_path / "out").parent
    for prediction in predictions:  # it reads one folder at a time
        parent = PurePosixPath(prediction.name.replace("images", "images_")).parent
        dataset = supervision.DetectionDataset.from_yolo(
            str(folder / "images" / parent), str(folder / "labels" / parent), str(folder / "data.yaml")
        )
        assert dataset.classes == list(CLASSES)
        found = dataset.annotations[str(folder / "images" / parent / prediction.path.name)]
        if prediction.boxes:
            assert_boxes(found, prediction, 1e-4)  # it works the boxes out in float32
        else:
            assert found.is_empty()


def test_supervision_sees_boxes_of_a_turned_photograph_where_they_are(supervision, tmp_path):
    # Stored 20 x 60 with a white square below; EXIF shows it 60 x 20, the square at the left.
    stored, exif = Image.new("RGB", (20, 60)), Image.Exif()
    stored.paste((255, 255, 255), (0, 40, 20, 60))
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    box = Box((0, 0, 20, 20), "cat", 0, 0.5)
    prediction = Prediction(tmp_path / "turned.png", "turned.png", (60, 20), "cat", 0, 0.9, (box,), 0.4)
    folder = write("yolo", [prediction], CLASSES, tmp_path / "out").parent
    ((_, pixels, found),) = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml")
    )
    x0, y0, x1, y1 = found.xyxy[0].round().astype(int)
    assert pixels[y0:y1, x0:x1].min() == 255
    assert pixels.sum() == pixels[y0:y1, x0:x1].sum()


def test_supervision_reads_voc(predictions, supervision, tmp_path):
    folder = write("voc", predictions, CLASSES, tmp_path)
    for prediction in predictions:
        dataset = supervision.DetectionDataset.from_pascal_voc(
            str(prediction.path.parent), str((folder / prediction.name).parent)
        )
        found = dataset.annotations[str(prediction.path)]
        names = [dataset.classes[index] for index in ([] if found.class_id is None else found.class_id)]
        assert names == [box.label for box in prediction.boxes]
        whole = [  # whole pixels, outwards
            (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))
            for x0, y0, x1, y1 in (box.xyxy for box in prediction.boxes)
        ]
        np.testing.assert_array_equal(found.xyxy, np.reshape(whole, (-1, 4)))


def test_datumaro_reads_cvat(predictions, tmp_path):
    path = write("cvat", predictions, CLASSES, tmp_path)
    (path.parent / "images").symlink_to(tmp_path / "source")
    read = interop("check_cvat.py", path.parent)
    assert read["labels"] == list(CLASSES)
    assert set(read["images"]) == {prediction.name for prediction in predictions}
    for prediction in predictions:
        image = read["images"][prediction.name]
        assert tuple(image["size"]) == prediction.size
        assert [box[4:] for box in image["boxes"]] == [[box.label, box.score] for box in prediction.boxes]
        found, expected = [box[:4] for box in image["boxes"]], [box.xyxy for box in prediction.boxes]
        # The format has two decimals, and Datumaro keeps as many.
        np.testing.assert_allclose(np.reshape(found, (-1, 4)), np.reshape(expected, (-1, 4)), rtol=0, atol=0.0051)


def test_label_studio_takes_tasks_and_config_and_finds_the_images(predictions, tmp_path):
    path = write("labelstudio", predictions, CLASSES, tmp_path)
    read = interop("check_labelstudio.py", path.parent, LOCAL_FILES_DOCUMENT_ROOT=str(tmp_path / "source"))
    assert read["errors"] == []
    assert read["labels"] == sorted(CLASSES)
    assert read["files"] == [prediction.name for prediction in predictions]
    expected = [(prediction, box) for prediction in predictions for box in prediction.boxes]
    assert [found[4:] for found in read["boxes"]] == [[box.label, *prediction.size] for prediction, box in expected]
    for (x, y, width, height, *_), (_, box) in zip(read["boxes"], expected, strict=True):
        np.testing.assert_allclose((x, y, x + width, y + height), box.xyxy, rtol=0, atol=1e-4)
