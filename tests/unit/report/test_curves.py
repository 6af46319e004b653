from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from boxless.errors import DataError, RunError
from boxless.report.curves import Curve, draw_curves

LEVELS = (0.3, 0.5, 0.7)
THRESHOLDS = np.arange(0, 1, 0.01)
FALLING = 100 * np.array([[1], [0.5], [0.25]]) * (1 - THRESHOLDS)
BLUE, VERMILION, GREEN, PURPLE = (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)
MARKS = {
    "oracle-test": (np.array([0.0, 0.1, 0.2]), np.array([100.0, 45.0, 20.0])),
    "validation": (0.4, (60.0, 30.0, 15.0)),
    "otsu": (None, (70.0, 35.0, 17.5)),
}


def curve(name: str = "run", marks: Mapping[str, Any] = MARKS, accuracy: Any = FALLING, levels: Any = LEVELS) -> Curve:
    return Curve(name, THRESHOLDS, accuracy, levels, marks)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draws, and gives the figure before it became pixels."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(curves: Sequence[Curve], title: str = "") -> Figure:
        draw_curves(tmp_path / "curves.png", curves, title)
        return figures[-1]

    return draw


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def legends(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in each.get_texts() if text.get_text().strip()] for each in figure.legends]


def visible(figure: Figure) -> list[Any]:
    return [panel for panel in figure.axes if panel.get_visible()]


def holds(path: Path, colour: tuple[int, int, int]) -> bool:
    with Image.open(path) as image:
        return bool((np.abs(np.asarray(image.convert("RGB")).astype(int) - colour).max(-1) <= 2).sum() > 100)


def test_one_run_is_one_panel_with_a_colour_for_each_level(tmp_path: Path) -> None:
    path = draw_curves(str(tmp_path / "new" / "é.png"), [curve()])
    assert path == tmp_path / "new" / "é.png"
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (1200, 800))
    assert [holds(path, colour) for colour in (BLUE, VERMILION, GREEN, PURPLE)] == [True, True, True, False]
    assert [each.name for each in path.parent.iterdir()] == ["é.png"]


def test_curves_are_drawn_where_they_are(drawn: Any) -> None:
    (panel,) = visible(drawn([curve(marks={})]))
    assert [line.get_xydata().tolist() for line in panel.lines] == [
        np.stack([THRESHOLDS, accuracy], axis=1).tolist() for accuracy in FALLING
    ]
    assert (panel.get_xlim(), panel.get_ylim()) == ((0, 1), (0, 100))


def test_marks_are_drawn_at_each_levels_threshold(drawn: Any) -> None:
    (panel,) = visible(drawn([curve()]))
    marks = {line.get_marker(): [] for line in panel.lines}
    for line in panel.lines:
        marks[line.get_marker()].append((line, line.get_xydata().tolist()))
    assert [place for _, place in marks["*"]] == [[[0, 100]], [[0.1, 45]], [[0.2, 20]]]
    assert {line.get_markerfacecolor() for line, _ in marks["*"]} == {"white"}
    assert [place for _, place in marks["o"]] == [[[0.4, 60]], [[0.4, 30]], [[0.4, 15]]]
    level_lines = [place for line, place in marks["None"] if line.get_linestyle() == ":"]
    assert level_lines == [[[0, y], [1, y]] for y in (70, 35, 17.5)]


def test_axes_and_oracles_are_named(drawn: Any) -> None:
    figure = drawn([curve("my run")], "CUB")
    found = texts(figure)
    assert {"CUB", "my run", "threshold (fraction of the map's maximum)", "box accuracy (%)"} <= set(found)
    assert legends(figure) == [
        ["IoU ≥ 0.3", "IoU ≥ 0.5", "IoU ≥ 0.7"],
        ["ORACLE-test (chosen on the scored boxes)", "validation", "otsu (a threshold for each map)"],
    ]


def test_several_runs_have_a_panel_for_each_level(drawn: Any) -> None:
    figure = drawn([curve("a"), curve("b", {"fixed": (0.2, (1, 2, 3))}, FALLING / 2)])
    panels = visible(figure)
    assert [panel.get_title() for panel in panels] == ["IoU ≥ 0.3", "IoU ≥ 0.5", "IoU ≥ 0.7"]
    assert legends(figure)[0] == ["a", "b"]
    assert legends(figure)[1][-2:] == ["fixed", "otsu (a threshold for each map)"]
    whole = [line.get_ydata().tolist() for line in panels[1].lines if len(line.get_ydata()) == len(THRESHOLDS)]
    assert whole == [FALLING[1].tolist(), (FALLING[1] / 2).tolist()]


def test_many_levels_and_runs_still_fit(drawn: Any, tmp_path: Path) -> None:
    levels = (0.3, 0.4, 0.5, 0.6)
    curves = [curve(f"run {i} " + "with words " * 6, {}, np.full((4, 100), i), levels) for i in range(9)]
    figure = drawn(curves)
    assert len(visible(figure)) == 4
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] == 1200
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 < box.x1 <= image.size[0]
        assert 0 <= box.y0 < box.y1 <= min(panel.get_window_extent().y0 for panel in figure.axes)
    looks = {(line.get_color(), str(line.get_linestyle())) for line in visible(figure)[0].lines}
    assert len(looks) == len(curves)


def test_names_are_shown_as_they_are(drawn: Any) -> None:
    names = ["_a", "$x_1$ \\frac", "模型"]  # the font has no glyphs for the last, which must not warn
    assert legends(drawn([curve(name, {}) for name in names])) == [names]


def test_pictures_are_equal_byte_for_byte(tmp_path: Path) -> None:
    first, second = (draw_curves(tmp_path / f"{i}.png", [curve()]).read_bytes() for i in range(2))
    assert first == second


def test_nothing_global_is_touched(tmp_path: Path) -> None:
    code = f"""
import sys, boxless.report.curves as curves
assert "matplotlib" not in sys.modules
import matplotlib
state = lambda: [(key, matplotlib.rcParams[key]) for key in matplotlib.rcParams if key != "backend"]  # asking picks one
before = state()
curves.draw_curves({str(tmp_path / "a.png")!r}, [curves.Curve("a", [0, 0.5], [[1, 2]], [0.5])])
assert "matplotlib.pyplot" not in sys.modules and state() == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "there is no curve to draw"),
        (
            [curve(accuracy=np.full((3, 100), np.nan))],
            "run: accuracy: 300 of 300 figures are nan, .*no image has a true",
        ),
        ([curve(), curve("b", accuracy=np.where(FALLING > 20, FALLING, np.nan))], "b: accuracy: .* figures are nan"),
        ([curve(marks={"otsu": (None, (1, np.nan, 2))})], "run: mark 'otsu': 1 of 3 figures are nan"),
        ([curve(accuracy=FALLING * 1.5)], "run: accuracy: runs from .* to 150; accuracies are per cent"),
        (
            [curve(accuracy=FALLING[:, :99])],
            r"run: got accuracy of shape \(3, 99\) for 3 IoU levels and 100 thresholds",
        ),
        ([curve(accuracy=FALLING[:0], levels=())], r"run: got accuracy of shape \(0, 100\) for 0 IoU levels"),
        ([curve(levels=(0.3, 0.5, 50))], "iou: got 50"),
        ([curve(marks={"fixed": (0.5, (1, 2))})], "run: mark 'fixed': got 0.5 and .*expected a threshold"),
        ([curve(marks={"fixed": ((0.5, 0.6), (1, 2, 3))})], "run: mark 'fixed': got"),
        (
            [curve("a"), curve("b", levels=(0.3, 0.5, 0.6))],
            r"b: its IoU levels are \(0\.3, 0\.5, 0\.6\), those of a are",
        ),
        ([Curve("a", [0.5, 0.2], [[1, 2]], [0.5])], "thresholds: got .*strictly ascending"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, curves: list[Curve], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_curves(tmp_path / "a.png", curves)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        draw_curves(tmp_path / "file" / "a.png", [curve()])
