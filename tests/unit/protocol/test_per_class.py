"""CorLoc of frames and images whose maps, classes and boxes are known by hand, and what is said where nothing is."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from boxless.data.catalog import read_catalog
from boxless.data.transforms import Preprocess
from boxless.data.truth import read_truth
from boxless.errors import ConfigError
from boxless.predict.localizer import Localizer
from boxless.predict.presence import FEATURES
from boxless.protocol.evaluate import evaluate
from boxless.protocol.evaluations import make_evaluation
from boxless.protocol.per_class import CLASS_ACCURACY, ONE, OWN
from boxless.protocol.report import Report, compare
from boxless.types import Localization

CORE, HALO, SPECK = (40, 40, 60, 60), (20, 20, 80, 80), (10, 10, 20, 20)
BLUE, RED = (0, 0, 255), (255, 0, 0)
CLASSES = ("blue", "red")
NAN = float("nan")


class Brightness:
    """The brightest channel is the class, its brightness the map: its box is HALO below 0.4, then CORE."""

    backbone = SimpleNamespace(any_size=True)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        logits = 100 * images.mean((2, 3))[:, [2, 0]]
        asked = logits.argmax(1, keepdim=True) if classes is None else classes
        maps = images.gather(1, torch.tensor([2, 0])[asked][..., None, None].expand(-1, -1, *images.shape[2:]))
        return Localization(logits, maps, asked)


@dataclass(frozen=True)
class FakeRun:
    threshold: str | float = 0.5
    card: Mapping[str, Any] = field(default_factory=dict)
    method = Brightness()
    classes = CLASSES
    multi_label = False
    digest = "x"
    device = torch.device("cpu")
    preprocess = Preprocess(100, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    recipe = SimpleNamespace(data=SimpleNamespace(source="", format="auto", images=None))


def paint(path: Path, *parts: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (100, 100))
    for (x0, y0, x1, y1), colour in parts:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    image.save(path)


def nested(path: Path, colour: tuple[int, int, int]) -> None:
    paint(path, (HALO, tuple(round(0.4 * each) for each in colour)), (CORE, colour))


def table(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Of blue two videos: three frames whose box is HALO, one whose box is CORE; of red one with two frames of CORE.

    A third of blue shows a red frame, which a box says is blue; and another shows nothing at all twice.
    """
    rows: list[tuple[object, ...]] = []
    frames = {
        "blue/a/0": HALO, "blue/a/1": HALO, "blue/b/0": HALO, "blue/b/1": CORE, "red/c/0": CORE, "red/c/1": CORE,
    }  # fmt: skip
    for name, box in frames.items():
        nested(tmp_path / f"test/{name}.png", BLUE if name.startswith("blue") else RED)
        rows.append((f"test/{name}.png", *box))
    for name in ("blue/a/2", "red/c/2"):
        paint(tmp_path / f"test/{name}.png", (SPECK, (0, 0, 60)))
        rows.append((f"test/{name}.png", "", "", "", ""))
    for name in CLASSES:
        for split in ("train", "val"):
            nested(tmp_path / f"{split}/{name}/{split}/0.png", BLUE)
    table(tmp_path / "boxes.csv", "path,x0,y0,x1,y1", rows)
    return tmp_path


def of(report: Report, key: str) -> list[float]:
    assert report.by_class is not None
    column = report.by_class.column(key)
    assert column is not None
    return [*column.drawn[:, 0].tolist(), float(column.mean()[0])]


def run(data: Path, threshold: str | float = 0.5, card: Mapping[str, Any] | None = None, **options: Any) -> Report:
    options = {"replicates": 0, "format": "video", **options}
    fake: Any = FakeRun(threshold, card or {})
    return evaluate(Localizer(fake), data, **options)


def test_frames_have_corloc_by_class_at_each_threshold_without_asking(videos: Path) -> None:
    report = run(videos)
    assert report.by_class is not None
    assert (report.by_class.images, report.by_class.videos) == ((4, 2), (2, 1))
    assert of(report, "fixed 0.5") == [25, 100, 62.5]
    assert of(report, ONE) == [25, 100, 62.5]
    assert of(report, OWN) == [75, 100, 87.5]
    assert of(report, CLASS_ACCURACY) == [100, 100, 100]
    assert of(run(videos, 0.3), "fixed 0.3") == [75, 0, 37.5]
    own, one = report.by_class.column(OWN), report.by_class.column(ONE)
    assert own is not None
    assert one is not None
    assert own.thresholds == (0.0, 0.401)  # 0.4 as float32 is a little more
    assert one.thresholds == (0.401, 0.401)


def test_the_mean_stands_beside_the_other_figures_and_in_comparisons(videos: Path) -> None:
    reports = [run(videos, threshold, replicates=50) for threshold in (0.5, 0.3)]
    first = reports[0]
    assert first.column("run").figures["corloc"].value == 62.5
    assert "corloc_own_thresholds" not in first.column("run").figures
    assert first.column("oracle-test").figures["corloc_own_thresholds"].value == 87.5
    rows = {row[0]: row[1:] for row in first.rows()}
    assert rows["CorLoc, mean over classes"][0].startswith("62.5 [")
    assert rows["CorLoc, ORACLE: each class's own threshold"][0] == ""
    found = compare(*reports).differences
    assert found["run", "corloc"].value == 37.5 - 62.5
    assert found["oracle-test", "corloc"].value == 0


def test_the_bootstrap_draws_videos_and_says_so(videos: Path) -> None:
    report = run(videos, 0.3, replicates=300)
    figure = report.column("run").figures["box_accuracy"]
    assert figure.value == 50
    assert (figure.low, figure.high) == (0, 100)
    by_class = report.by_class
    assert by_class is not None
    red = by_class.column("fixed 0.3").drawn[1]  # type: ignore[union-attr]
    assert set(red[np.isfinite(red)]) == {0.0}
    assert report.to_dict()["interval"] == "95 %, 300 Poisson bootstrap replicates over videos"
    rows = {row[0]: row[1] for row in report.rows()}
    assert rows["frames"].startswith("8 of 3 videos, by which intervals are drawn (split test, 2 of them without")
    assert "images" not in rows


def test_the_table_has_a_row_of_each_class_and_ends_with_the_mean(videos: Path) -> None:
    by_class = run(videos, replicates=20).by_class
    assert by_class is not None
    shown = by_class.table("runs/a")
    assert shown.header == [
        "class", "frames", "videos", "CorLoc, fixed 0.5", "CorLoc, ORACLE: one threshold",
        "CorLoc, ORACLE: each class's own", "class accuracy", "that threshold",
    ]  # fmt: skip
    assert [row[0] for row in shown.rows] == ["blue", "red", "mean over classes"]
    assert [row[1:3] for row in shown.rows] == [["4", "2"], ["2", "1"], ["6", "3"]]
    assert shown.rows[0][5].startswith("75.0 [")
    assert [row[-1] for row in shown.rows] == ["0.000", "0.401", "–"]
    text = " ".join(shown.notes)
    assert "best for their mean: 0.401" in text
    assert "as in the published tables of videos" in text
    assert "over videos, since frames of one are alike" in text


def test_it_goes_to_json(videos: Path) -> None:
    plain = json.loads(json.dumps(run(videos).to_dict(), allow_nan=False))
    blue, red = plain["per_class"]["classes"]
    assert (blue["class"], blue["frames"], blue["videos"]) == ("blue", 4, 2)
    assert blue[OWN] == {"value": 75, "low": None, "high": None, "threshold": 0.0}
    assert red["fixed 0.5"]["value"] == 100
    assert plain["per_class"]["mean"][ONE]["value"] == 62.5
    assert plain["videos"] == 3


def test_oracles_stand_there_only_where_one_was_asked_for(videos: Path) -> None:
    by_class = run(videos, protocol="otsu,fixed=0.3").by_class
    assert by_class is not None
    assert [each.key for each in by_class.columns] == ["otsu", "fixed 0.3", CLASS_ACCURACY]
    assert not any("ORACLE" in note for note in by_class.notes())


def test_class_accuracy_of_boxed_frames_stands_beside_that_of_all(videos: Path) -> None:
    report = run(videos)
    assert report.figures["class_accuracy"].value == pytest.approx(100 * 7 / 8)  # the empty red frame looks blue
    assert report.figures["class_accuracy_boxed"].value == 100


def images_of_several(root: Path) -> Path:
    """Blue at CORE, less of red at SPECK: an image of both, whose true box is SPECK; and one of each class alone."""
    paint(root / "both.png", (CORE, BLUE), (SPECK, RED))
    nested(root / "blue.png", BLUE)
    nested(root / "red.png", RED)
    nested(root / "train.png", RED)
    rows: list[tuple[object, ...]] = [("both.png", "blue;red", "test", *SPECK), ("blue.png", "blue", "test", *CORE)]
    rows += [("red.png", "red", "test", *HALO), ("train.png", "blue;red", "train", "", "", "", "")]
    table(root / "data.csv", "path,label,split,x0,y0,x1,y1", rows)
    return root / "data.csv"


def test_an_image_of_several_classes_counts_for_each_with_the_box_of_that_class(tmp_path: Path) -> None:
    data = images_of_several(tmp_path)
    report = run(data, format="auto", per_class=True)
    assert report.by_class is not None
    assert (report.by_class.images, report.by_class.videos) == ((2, 2), None)
    assert of(report, "fixed 0.5") == [50, 50, 50]  # blue's box of both is CORE and wrong, red's is SPECK and right
    assert of(report, OWN) == [50, 100, 75]
    assert of(report, CLASS_ACCURACY) == [100, 100, 100]
    assert report.column("run").figures["box_accuracy"].value == pytest.approx(100 / 3)  # of the surer class alone
    assert any("counts for each" in note for note in report.by_class.notes())


def test_images_have_it_only_if_asked_and_say_nothing_of_videos(tmp_path: Path) -> None:
    report = run(images_of_several(tmp_path), format="auto", replicates=10)
    assert report.by_class is None
    plain = report.to_dict()
    assert not {"per_class", "videos", "object_absent"} & plain.keys()
    assert plain["interval"].endswith("over images")
    assert "class_accuracy_boxed" not in plain["figures"]
    assert "corloc" not in plain["protocols"][0]["figures"]


def test_all_contours_are_no_corloc(videos: Path) -> None:
    assert run(videos, contours="all").by_class is None
    with pytest.raises(ConfigError, match="one box an image"):
        run(videos, contours="all", per_class=True)


def calibrated(least: float = 0.5) -> dict[str, Any]:
    """A probability of 1 / (1 + exp(2 - class score)): the score of CORE in HALO is 16.8, of a dim SPECK 0.2."""
    first = (1.0, *[0.0] * (len(FEATURES) - 1))
    flat = {"mean": [0.0] * len(FEATURES), "scale": [1.0] * len(FEATURES)}
    counts = {"least": least, "recall": 0.95, "positives": 50, "negatives": 50, "false": 0.0}
    return {"presence": {"features": FEATURES, "weights": first, "bias": -2.0, **flat, **counts}}


def test_a_calibrated_run_withholds_boxes_where_nothing_is(videos: Path) -> None:
    report = run(videos, card=calibrated(), replicates=100)
    figures = report.figures
    assert figures["absent_given_box"].value == 0
    assert figures["object_kept_box"].value == 100
    assert figures["auroc_presence"].value == figures["auroc_class_probability"].value == 1
    assert report.to_dict()["object_absent"] == {
        "absent": 2, "with_box": 6, "least_presence": 0.5, "note": None,
    }  # fmt: skip
    rows = {row[0]: row[1] for row in report.rows()}
    assert rows["nothing to find"] == "2 looked at, beside 6 with a true box"
    assert rows["no object there, given a box all the same"] == "0.0 [0.0, 0.0]"
    keen = run(videos, card=calibrated(0.01))
    assert keen.figures["absent_given_box"].value == 100
    strict = run(videos, card=calibrated(1.0))
    assert strict.figures["object_kept_box"].value == 0
    found = compare(keen, strict).differences
    assert found["", "absent_given_box"].value == -100
    assert found["", "auroc_presence"].value == 0


def test_a_run_that_cannot_tell_says_why_and_has_the_class_alone(videos: Path) -> None:
    report = run(videos, card={"presence": None, "presence_note": "too few views"})
    assert not {"absent_given_box", "object_kept_box", "auroc_presence"} & report.figures.keys()
    assert report.figures["auroc_class_probability"].value == 1
    assert {row[0]: row[1] for row in report.rows()}["nothing to find"].endswith("6 with a true box; too few views")
    assert "not calibrated" in run(videos).to_dict()["object_absent"]["note"]


def test_a_split_of_absent_frames_alone_is_measured_by_what_it_can_be(videos: Path) -> None:
    rows = [("test/blue/a/2.png", "", "", "", ""), ("test/red/c/2.png", "", "", "", "")]
    table(videos / "boxes.csv", "path,x0,y0,x1,y1", rows)
    truth = read_truth(read_catalog(videos, format="video"), "test")
    assert not truth.boxes
    assert len(truth.absent) == 2
    report = run(videos, card=calibrated(), replicates=10)
    assert report.figures["absent_given_box"].value == 0
    assert np.isnan(report.figures["object_kept_box"].value)
    assert np.isnan(report.figures["auroc_presence"].value)
    assert np.isnan(of(report, ONE)).all()
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_kept_evaluation_draws_by_video() -> None:
    overlaps = np.full((4, 1001), 0.25, np.float16)
    overlaps[:2] = 0.75
    right = np.ones(4, np.bool_)
    names = ["a/0", "a/1", "b/0", "b/1"]
    found = make_evaluation(names, overlaps, right, videos=["a", "a", "b", "b"])
    weights = found.draw(50)
    assert (weights[0] == weights[1]).all()
    assert not (weights == make_evaluation(names, overlaps, right).draw(50)).all()
