"""boxless evaluate as it is typed: what is a run and what is data, what is printed and written, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from boxless.cli.app import app
from boxless.data.transforms import Preprocess
from boxless.predict.localizer import Localizer
from boxless.recipe import Recipe, read_recipe
from boxless.types import Localization

BOX = (10, 20, 50, 60)  # of 100 x 100 images


class Brightness:
    """The map is the brightness of red, the class red; or, if it looks at little, at the upper half of it alone."""

    backbone = SimpleNamespace(any_size=True)

    def __init__(self, *, half: bool) -> None:
        self.half = half

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        maps = images[:, :1].clone()
        if self.half:
            maps[:, :, 40:] = 0
        logits = images.mean((2, 3))[:, [2, 0]]
        return Localization(
            logits, maps, torch.zeros(len(images), 1, dtype=torch.int64) if classes is None else classes
        )


@dataclass(frozen=True)
class FakeRun:
    folder: Path
    method: Brightness
    recipe: Recipe
    threshold: str | float = "otsu"
    classes: tuple[str, ...] = ("blue", "red")
    multi_label: bool = False
    digest: str = "x"
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(100, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are brightness, those whose name ends with b of the upper half; the folders that were loaded."""
    folders: list[str] = []

    def load(folder: str | Path, device: str = "auto", *, trust: bool = False) -> Localizer:
        folders.append(str(folder))
        method = Brightness(half=str(folder).endswith("b"))
        return Localizer(FakeRun(Path(folder), method, read_recipe(Path(folder) / "recipe.yaml")))  # type: ignore[arg-type]

    monkeypatch.setattr(Localizer, "load", load)
    return folders


def make_run(folder: Path, source: Path | str = "") -> str:
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    Recipe().override(data={"source": str(source)}).save(folder / "recipe.yaml")
    return str(folder)


def make_data(root: Path, test: int = 2) -> Path:
    lines = ["path,x0,y0,x1,y1"]
    for split, count in (("train", 1), ("val", 1), ("test", test)):
        for label, colour in (("blue", (200, 0, 255)), ("red", (255, 0, 0))):
            for number in range(count):
                path = root / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = Image.new("RGB", (100, 100))
                image.paste(colour, BOX)
                image.save(path)
                lines.append(f"{split}/{label}/{number}.png,{','.join(map(str, BOX))}")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def run(tmp_path: Path, data: Path) -> str:
    return make_run(tmp_path / "runs/a", data)


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A run of the upper half of each object, trained on other data, with the same names and one image more a class."""
    return make_run(tmp_path / "runs/b", make_data(tmp_path / "elsewhere", test=3))


@pytest.fixture
def maps(tmp_path: Path) -> tuple[str, str]:
    """A folder of maps and a list of boxes: a.jpg is right, b.jpg is not."""
    (tmp_path / "maps").mkdir()
    for name, columns in (("a", 5), ("b", 1)):
        values = np.zeros((10, 10))
        values[:, :columns] = 0.8
        np.save(tmp_path / f"maps/{name}.npy", values)
    (tmp_path / "given.csv").write_text("path,x0,y0,x1,y1,width,height\na.jpg,0,0,5,10,10,10\nb.jpg,0,0,5,10,10,10\n")
    return str(tmp_path / "maps"), str(tmp_path / "given.csv")


def call(*arguments: object) -> Any:
    command = ["evaluate", "--bootstrap", "20", *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, command, catch_exceptions=False)


def done(*arguments: object) -> Any:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def error(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return str(result.stderr)


def figure(report: dict[str, Any], source: str, key: str = "box_accuracy") -> float:
    found = {each["threshold"]["source"]: each["figures"][key]["value"] for each in report["protocols"]}
    return float(found[source])


def test_a_run_on_data_is_a_table(run: str, data: Path) -> None:
    lines = done(run, data).stdout.splitlines()
    assert lines[0].split() == [run, "otsu", "oracle-test"]
    rows = {line.partition("  ")[0]: line for line in lines}
    assert "ORACLE: these boxes" in rows["threshold from"]
    assert rows["box accuracy, IoU 0.5 (GT-known)"].count("100.0 [100.0, 100.0]") == 2
    assert "4 (split test)" in rows["images"]


def test_json_is_one_document_without_nan(run: str, data: Path) -> None:
    found = json.loads(done(run, data, "--json", "--bootstrap", 0).stdout, parse_constant=pytest.fail)
    assert (found["name"], found["images"], found["refused"]) == (run, 4, [])
    assert figure(found, "otsu") == figure(found, "oracle-test") == 100
    assert found["protocols"][0]["figures"]["box_accuracy"]["low"] is None


def test_without_data_a_run_is_measured_on_its_own(run: str) -> None:
    assert json.loads(done(run, "--json").stdout)["images"] == 4


def test_two_runs_are_compared_on_the_first_ones_data(run: str, other: str, loaded: list[str]) -> None:
    found = json.loads(done(run, other, "--json").stdout)
    assert loaded == [run, other]
    assert [each["images"] for each in found["runs"]] == [4, 4]  # the second was trained on data with six
    assert [figure(each, "otsu", "mean_iou") for each in found["runs"]] == [1, 0.5]
    difference = {(each["threshold"], each["figure"]): each for each in found["differences"][0]["second_less_first"]}
    assert difference["otsu", "mean_iou"]["value"] == -0.5
    assert difference["otsu", "box_accuracy"]["value"] == 0
    assert difference["oracle-test", "box_accuracy_0.7"]["value"] == -100
    json.dumps(found, allow_nan=False)


def test_two_runs_on_data_are_two_tables_and_one_of_differences(run: str, other: str, data: Path) -> None:
    text = done(run, other, data, "--protocol", "otsu").stdout
    headers = [line for line in text.splitlines() if line.startswith((run, other))]
    assert [header.split("  ")[0] for header in headers] == [run, other, f"{other} less {run}"]
    assert "-100.0 [-100.0, -100.0]" in text
    assert json.loads(done(run, run, data, "--json").stdout)["differences"][0]["second_less_first"][0]["value"] == 0


def test_out_writes_what_was_measured_and_a_picture(run: str, other: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/out"
    text = done(run, data, "--out", out).stdout
    assert text.splitlines()[-1] == f"written: {out / 'evaluation.json'}, {out / 'curves.png'}"
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "evaluation.json"]
    assert figure(json.loads((out / "evaluation.json").read_text()), "otsu") == 100
    assert Image.open(out / "curves.png").format == "PNG"
    done(run, other, data, "--out", out)
    assert len(json.loads((out / "evaluation.json").read_text())["runs"]) == 2


def test_without_boxes_there_is_no_picture(run: str, data: Path, tmp_path: Path) -> None:
    (data / "boxes.csv").unlink()
    text = done(run, data, "--out", tmp_path / "out").stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]
    assert "class accuracy" in text


def test_what_was_refused_ends_it_with_exit_code_1(run: str, data: Path) -> None:
    (data / "test/red/1.png").write_bytes(b"no image")
    result = call(run, data, "--json")
    assert result.exit_code == 1
    assert [each["name"] for each in json.loads(result.stdout)["refused"]] == ["test/red/1.png"]
    assert "1 image was refused" in result.stderr


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("otsuu", "did you mean 'otsu'"),
        ("validaton", "did you mean 'validation'"),
        ("oracles", "did you mean 'oracle-test'"),
        ("fixed=1.2", "fixed=1.2; a threshold is a fraction"),
        ("fixed", "given as fixed=0.35"),
        ("", "names no threshold source"),
        ("validation-pseudo", "--pseudo-boxes FILE"),
    ],
)
def test_a_protocol_that_there_is_not_names_what_there_is(run: str, data: Path, protocol: str, said: str) -> None:
    assert said in error(run, data, "--protocol", protocol)


def test_data_without_a_run_say_that_a_run_is_missing(data: Path) -> None:
    assert f"{data} is not one (it has no card.json)" in error(data)
    assert "got none" in error()


def test_options_that_do_not_go_together_are_refused(run: str, data: Path, maps: tuple[str, str]) -> None:
    folder, boxes = maps
    given = ("--maps", folder, "--boxes", boxes)
    assert "leave out RUN or DATA" in error(run, *given)
    assert "leave out RUN or DATA" in error(run, data, *given)
    assert "leave out --pseudo-boxes, --format" in error(*given, "--pseudo-boxes", boxes, "--format", "csv")
    assert "--maps and --boxes belong together" in error("--maps", folder)
    assert "--maps and --boxes belong together" in error("--boxes", boxes)
    assert "--compat: it is for --maps" in error(run, data, "--compat", "wsolevaluation")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contours", "biggest"), "it is one of largest, all"),
        (("--compat", "wsol"), "one of wsolevaluation"),
        (("--protocol", "validation"), "needs a run"),
        (("--compat", "wsolevaluation", "--protocol", "otsu"), "leave otsu out"),
        (("--split", "tset"), "did you mean 'test'"),
    ],
)
def test_what_maps_alone_do_not_know_is_refused(maps: tuple[str, str], options: tuple[str, str], said: str) -> None:
    assert said in error("--maps", maps[0], "--boxes", maps[1], *options)


def test_maps_of_any_program_are_scored(maps: tuple[str, str], tmp_path: Path) -> None:
    found = json.loads(done("--maps", maps[0], "--boxes", maps[1], "--json", "--out", tmp_path / "out").stdout)
    assert (found["name"], found["images"], found["truth"]) == (maps[0], 2, maps[1])
    assert figure(found, "otsu") == 50
    assert figure(found, "otsu", "mean_iou") == pytest.approx(0.6)
    assert (tmp_path / "out/curves.png").is_file()
    text = done("--maps", maps[0], "--boxes", maps[1], "--compat", "wsolevaluation").stdout
    assert text.splitlines()[0].split() == [maps[0], "oracle-test"]


def test_a_broken_map_is_refused_by_name_with_exit_code_1(maps: tuple[str, str]) -> None:
    np.save(Path(maps[0]) / "b.npy", np.full((10, 10), np.nan))
    result = call("--maps", maps[0], "--boxes", maps[1], "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [each["name"] for each in found["refused"]] == ["b.jpg"]
    assert (found["images"], figure(found, "otsu")) == (1, 100)


def test_if_every_map_is_broken_nothing_is_drawn(maps: tuple[str, str], tmp_path: Path) -> None:
    for name in "ab":
        np.save(Path(maps[0]) / f"{name}.npy", np.full((10, 10), 2.0))
    result = call("--maps", maps[0], "--boxes", maps[1], "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]


def test_figures_by_class_are_a_table_of_their_own_in_the_terminal_in_json_and_in_files(
    run: str, other: str, data: Path, tmp_path: Path
) -> None:
    shown = done(run, data, "--per-class", "--out", tmp_path / "out").stdout
    lines = [line.split("  ")[0] for line in shown.splitlines()]
    assert lines[lines.index("class") :][:4] == ["class", "blue", "red", "mean over classes"]
    assert "CorLoc, mean over classes" in lines
    assert "ORACLE: these very boxes chose the threshold." in shown
    kept = json.loads((tmp_path / "out/evaluation.json").read_text())["per_class"]
    assert [each["class"] for each in kept["classes"]] == ["blue", "red"]
    assert kept["mean"]["otsu"]["value"] == 100
    for kind in ("csv", "md", "tex"):
        text = (tmp_path / f"out/per-class.{kind}").read_text()
        assert "mean over classes" in text
        assert f"per-class.{kind}" in shown
    done(run, other, "--per-class", "--out", tmp_path / "both")
    assert sorted(each.name for each in (tmp_path / "both").glob("*.csv")) == ["per-class-1.csv", "per-class-2.csv"]
    assert "per_class" not in json.loads(done(run, data, "--json").stdout)


def test_videos_have_figures_by_class_without_asking(run: str, tmp_path: Path) -> None:
    data = make_data(tmp_path / "videos")
    for label in ("blue", "red"):
        for split in ("train", "val", "test"):
            frames = data / split / label
            (frames / "clip").mkdir()
            for frame in frames.glob("*.png"):
                frame.rename(frames / "clip" / frame.name)
    table = (data / "boxes.csv").read_text().replace("/blue/", "/blue/clip/").replace("/red/", "/red/clip/")
    (data / "boxes.csv").write_text(table.replace("test/red/clip/1.png,10,20,50,60", "test/red/clip/1.png,,,,"))
    shown = done(run, data, "--format", "video").stdout
    rows = {line.partition("  ")[0]: line for line in shown.splitlines()}
    assert "4 of 2 videos, by which intervals are drawn (split test, 1 of them without a true box)" in rows["frames"]
    assert "1 looked at, beside 3 with a true box; the run is not calibrated" in rows["nothing to find"]
    assert rows["mean over classes"].split()[3:5] == ["3", "2"]
    assert "bootstrap intervals over videos" in shown


def test_figures_by_class_are_refused_where_there_are_no_classes_or_no_one_threshold(
    run: str, data: Path, maps: tuple[str, str]
) -> None:
    assert "leave out --per-class" in error("--maps", maps[0], "--boxes", maps[1], "--per-class")
    assert "--per-class: the protocol table" in error(run, data, "--protocol", "both", "--per-class")
    assert "CorLoc is of one box an image" in error(run, data, "--contours", "all", "--per-class")
