"""Maps of any program: the same figures as those of a run, and what is told of broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxless.errors import ConfigError, DataError, MissingTruthError, UnknownNameError
from boxless.listener import Listener
from boxless.metrics import iou_curves
from boxless.protocol.external import evaluate_maps
from boxless.protocol.report import compare

SIZE = (20, 10)
STEPS = np.tile(np.repeat([1.0, 0.5, 0.25], [2, 3, 5]), (5, 1))  # boxes on 20 x 10: all, left half, left fifth
BOXES = {"a/0.jpg": [(0, 0, 10, 10)], "a/1.jpg": [(0, 0, 20, 10), (0, 0, 4, 10)], "b/0.jpg": []}


class Notes(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def save(folder: Path, maps: dict[str, Any]) -> Path:
    for name, values in maps.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    return folder


def write_csv(path: Path, boxes: dict[str, Any], size: tuple[int, int] = SIZE) -> Path:
    lines = ["path,x0,y0,x1,y1,width,height"]
    for name, each in boxes.items():
        corners = [",".join(map(str, box)) for box in each] or [",,,"]
        lines += [f"{name},{box},{size[0]},{size[1]}" for box in corners]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_coco(path: Path, boxes: dict[str, Any]) -> Path:
    images = [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(boxes)]
    marks = [
        {"id": 10 * i + j, "image_id": i, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for i, each in enumerate(boxes.values())
        for j, (x0, y0, x1, y1) in enumerate(each)
    ]
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": [{"id": 1, "name": "x"}]}))
    return path


def write_wsol(folder: Path, boxes: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "image_ids.txt").write_text("".join(f"{name}\n" for name in boxes))
    (folder / "image_sizes.txt").write_text("".join(f"{name},{SIZE[0]},{SIZE[1]}\n" for name in boxes))
    lines = [f"{name},{','.join(map(str, box))}\n" for name, each in boxes.items() for box in each]
    (folder / "localization.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    return save(tmp_path / "maps", dict.fromkeys(BOXES, STEPS.astype(np.float32)))


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "boxes.csv", BOXES)


def test_figures_are_those_worked_out_by_hand(maps: Path, boxes: Path) -> None:
    report = evaluate_maps(maps, boxes, protocol="fixed=0.3,oracle-test", replicates=0)
    assert (report.images, report.without_box, report.refused) == (3, 1, ())
    at_half = report.column("fixed").figures  # the left half: IoU 1 with the first image's box, 0.5 with the second's
    assert at_half["box_accuracy"].value == 100
    assert at_half["box_accuracy_0.7"].value == 50
    assert at_half["mean_iou"].value == 0.75
    oracle = report.column("oracle-test")
    assert oracle.threshold.values == (0.0, 0.0, 0.0)  # the whole: 0.5 and 1, of the lowest threshold
    assert oracle.figures["highest_mean_iou"].value == 0.75
    assert "class_accuracy" not in report.figures
    assert report.figures["whole_image"].value == 100


@pytest.mark.parametrize("kind", ["coco", "wsol"])
def test_every_kind_of_box_list_gives_the_same(maps: Path, boxes: Path, tmp_path: Path, kind: str) -> None:
    listed = write_coco(tmp_path / "coco.json", BOXES) if kind == "coco" else write_wsol(tmp_path / "test", BOXES)
    one, other = evaluate_maps(maps, boxes, replicates=30), evaluate_maps(maps, listed, replicates=30)
    assert (other.images, other.without_box) == (3, 1)
    differences = compare(one, other).differences
    assert differences
    assert {each.value for each in differences.values()} == {0}


def test_by_default_the_rule_that_looks_at_no_box_and_the_oracle(maps: Path, boxes: Path) -> None:
    for protocol in (None, "all"):
        report = evaluate_maps(maps, boxes, replicates=0, protocol=protocol)
        assert [column.threshold.name for column in report.columns] == ["otsu", "oracle-test"]
        compat = evaluate_maps(maps, boxes, replicates=0, protocol=protocol, compat="wsolevaluation")
        assert [column.threshold.name for column in compat.columns] == ["oracle-test"]


@pytest.mark.parametrize("contours", ["largest", "all"])
def test_compat_gives_the_curves_of_wsolevaluations_rule(tmp_path: Path, contours: Any) -> None:
    random = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(40)]  # more than one batch
    values = np.kron(random.random((40, 6, 6)), np.ones((1, 4, 4))) ** 2
    reach = np.array([0, 0, 11, 6])  # boxes of 3 to 19 by 2 to 10 pixels
    corners = [random.integers(0, [9, 5, 9, 5], (1 + i % 2, 4)) + reach for i in range(40)]
    truth = [[tuple(each) for each in some.tolist()] for some in corners]
    folder = save(tmp_path / "maps", dict(zip(names, values, strict=True)))
    listed = write_csv(tmp_path / "boxes.csv", dict(zip(names, truth, strict=True)))
    report = evaluate_maps(folder, listed, compat="wsolevaluation", contours=contours, replicates=0)
    curves = iou_curves(values, truth, [SIZE] * 40, compat="wsolevaluation", contours=contours)
    assert report.refused == ()
    assert report.accuracy.tolist() == [(100.0 * (curves >= level)).mean(0).tolist() for level in (0.3, 0.5, 0.7)]
    best = report.column("oracle-test").figures
    assert best["box_accuracy"].value == report.accuracy[1].max()
    assert best["box_accuracy_v2"].value == pytest.approx(report.accuracy.max(1).mean())
    assert report.box_rule.startswith("wsolevaluation")


def test_maps_of_several_shapes_lie_in_one_folder(maps: Path, boxes: Path) -> None:
    np.save(maps / "a/1.jpg.npy", np.kron(STEPS, np.ones((3, 2))))
    np.save(maps / "b/0.jpg.npy", STEPS[None, None])
    report = evaluate_maps(maps, boxes, protocol="fixed=0.3", replicates=0)
    assert report.images == 3
    assert report.column("fixed").figures["mean_iou"].value == 0.75


def changed(value: float) -> np.ndarray:
    values = STEPS.copy()
    values[2, 7] = value
    return values


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (changed(np.nan), "got nan at row 2, column 7"),
        (changed(1.5), "got 1.5 at row 2, column 7"),
        (changed(-0.25), "got -0.25"),
        (np.stack([STEPS, STEPS]), r"got shape \(2, 5, 10\)"),
        (STEPS[0], r"got shape \(10,\)"),
        (np.zeros((0, 4)), r"got shape \(0, 4\)"),
        ((STEPS * 255).astype(np.uint8), "divide by 255"),
    ],
)
def test_a_broken_map_is_refused_by_name_and_the_rest_is_scored(
    maps: Path, boxes: Path, broken: np.ndarray, reason: str
) -> None:
    np.save(maps / "a/1.jpg.npy", broken)
    report = evaluate_maps(maps, boxes, protocol="fixed=0.3", replicates=0)
    assert [name for name, _ in report.refused] == ["a/1.jpg"]
    with pytest.raises(DataError, match=reason):
        raise DataError(report.refused[0][1])
    assert "1.jpg.npy" in report.refused[0][1]
    assert report.images == 2
    assert report.column("fixed").figures["mean_iou"].value == 1
    assert report.to_dict()["refused"] == [{"name": "a/1.jpg", "reason": report.refused[0][1]}]


def test_a_file_that_is_no_map_is_refused_too(maps: Path, boxes: Path) -> None:
    (maps / "a/1.jpg.npy").write_bytes(b"PK of a zip")
    report = evaluate_maps(maps, boxes, replicates=0)
    assert [name for name, _ in report.refused] == ["a/1.jpg"]


def test_if_all_are_broken_there_is_a_report_of_no_image(maps: Path, boxes: Path) -> None:
    for path in maps.rglob("*.npy"):
        np.save(path, changed(2))
    report = evaluate_maps(maps, boxes)
    assert len(report.refused) == 3
    assert report.images == 0
    assert [row[0] for row in report.rows()] == ["threshold", "threshold from", "selected by", "images"]
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_an_empty_map_has_no_box_and_a_constant_one_that_of_the_whole_image(
    maps: Path, boxes: Path, level: float
) -> None:
    for path in maps.rglob("*.npy"):
        np.save(path, np.full((5, 10), level))
    report = evaluate_maps(maps, boxes, replicates=0)
    for source in ("otsu", "oracle-test"):
        assert report.column(source).figures["mean_iou"].value == (0.75 if level else 0)


def test_an_image_without_a_map_ends_it_with_the_names(maps: Path, boxes: Path) -> None:
    (maps / "a/1.jpg.npy").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no map there: a/1.jpg"):
        evaluate_maps(maps, boxes)


@pytest.mark.parametrize("box", ["20.5,2,21,8", "2,10,8,10.5"])
def test_a_box_that_has_no_area_inside_its_image_is_refused_by_name(maps: Path, tmp_path: Path, box: str) -> None:
    corners = tuple(float(each) for each in box.split(","))
    listed = write_csv(tmp_path / "boxes.csv", {**BOXES, "a/1.jpg": [corners]})
    report = evaluate_maps(maps, listed, protocol="fixed=0.3", replicates=0)
    assert [name for name, _ in report.refused] == ["a/1.jpg"]
    assert "no area inside an image of 20 x 10 pixels" in report.refused[0][1]
    assert report.images == 2


@pytest.mark.parametrize("box", [(30, 0, 40, 10), (8, 0, 2, 10), (2, 0, 2, 10)])
def test_a_box_far_outside_or_inverted_ends_it_with_its_line(maps: Path, tmp_path: Path, box: Any) -> None:
    listed = write_csv(tmp_path / "boxes.csv", {**BOXES, "a/1.jpg": [box]})
    with pytest.raises(DataError, match=r"boxes.csv:3: the box .* (lies outside|is inverted or empty)"):
        evaluate_maps(maps, listed)


def test_a_corner_that_wsolevaluation_refuses_is_refused_by_name_under_its_rule(maps: Path, tmp_path: Path) -> None:
    listed = write_csv(tmp_path / "boxes.csv", {**BOXES, "a/1.jpg": [(-0.5, 0, 10, 10)]})
    assert evaluate_maps(maps, listed, replicates=0).refused == ()
    report = evaluate_maps(maps, listed, replicates=0, compat="wsolevaluation")
    assert [name for name, _ in report.refused] == ["a/1.jpg"]
    assert "not negative" in report.refused[0][1]
    assert report.images == 2


def test_a_list_without_any_box_is_refused(maps: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingTruthError, match="no box is there for any of the 3 images"):
        evaluate_maps(maps, write_csv(tmp_path / "boxes.csv", {name: [] for name in BOXES}))


@pytest.mark.parametrize("protocol", ["validation", "validation-pseudo,oracle-test"])
def test_sources_that_need_a_run_are_refused_with_the_way_out(maps: Path, boxes: Path, protocol: str) -> None:
    with pytest.raises(ConfigError, match=r"needs a run; .* oracle-test, and carry its threshold over with fixed="):
        evaluate_maps(maps, boxes, protocol=protocol)


@pytest.mark.parametrize("protocol", ["", []])
def test_no_source_is_refused(maps: Path, boxes: Path, protocol: Any) -> None:
    with pytest.raises(ConfigError, match="names no threshold source"):
        evaluate_maps(maps, boxes, protocol=protocol)


def test_unknown_names_are_refused_with_the_nearest(maps: Path, boxes: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'oracle-test'"):
        evaluate_maps(maps, boxes, protocol="oracle")
    with pytest.raises(ConfigError, match="largest, all"):
        evaluate_maps(maps, boxes, contours="biggest")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wsolevaluation"):
        evaluate_maps(maps, boxes, compat="wsol", protocol="oracle-test")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leave otsu out"):
        evaluate_maps(maps, boxes, compat="wsolevaluation", protocol="otsu")


def test_what_the_list_of_boxes_leaves_out_is_said(maps: Path, tmp_path: Path) -> None:
    folder = write_wsol(tmp_path / "test", BOXES)
    with (folder / "localization.txt").open("a") as file:
        file.write("c/9.jpg,0,0,5,5\n")
    notes = Notes()
    assert evaluate_maps(maps, folder, replicates=0, listener=notes).images == 3
    assert any("c/9.jpg" in said for said in notes.said)
