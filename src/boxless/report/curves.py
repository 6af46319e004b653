"""Box accuracy against the threshold, as a picture: where a method's maps are worth something, and what was chosen."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.metrics._checks import check_iou, check_thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

Mark = tuple[float | Sequence[float] | None, Sequence[float]]

WIDTH, HEIGHT = 1200, 800  # pixels, unless panels need a second row
_DPI = 150
_PANELS_IN_A_ROW = 3
# Okabe and Ito's palette (Color Universal Design, 2008), told apart by the colour-blind too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", "--", "-.")  # when the colours are used up
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = (":", (0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (1, 4)))  # of sources without one threshold; no curve has these
_GREY = "#444444"
_ORACLE = "oracle"
_LONGEST = 44  # letters of a name in one line of the legend
_LINE = 28  # pixels of a line in the legend
_FREE_LINES = 5  # lines of the legend that there is room for in HEIGHT


@dataclass(frozen=True, slots=True)
class Curve:
    """The box accuracy of one run."""

    name: str
    thresholds: ArrayLike  # (t,) ascending fractions of a map's maximum
    accuracy: ArrayLike  # (levels, t) in per cent
    iou_levels: Sequence[float]
    # Source of a threshold, such as "oracle-test", "validation", "fixed" or "otsu" -> its threshold (one, one for each
    # level, or None if each map has its own), and the accuracy there at each level. What begins with "oracle" has seen
    # the boxes that it is scored on.
    marks: Mapping[str, Mark] = field(default_factory=dict)


def draw_curves(path: str | Path, curves: Sequence[Curve], title: str = "") -> Path:
    """Draw accuracy against threshold as a PNG file, whole or not at all, and return its path.

    One run has one panel with a colour for each IoU level; several runs have a panel for each level with a colour for
    each run. Chosen thresholds are marked on the curves, hollow and named ORACLE if they were chosen with the boxes
    that they are scored on; a source with a threshold for each map is a level line. The picture has 1200 x 800 pixels,
    and is higher if there are more than three panels or many runs.

    Raises:
        DataError: There is no curve, a curve has no figures (nan, since no image had a true box), its shapes do not fit
            together, or the runs have different IoU levels.
        RunError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    _check_all(curves)
    count = 1 if len(curves) == 1 else len(curves[0].iou_levels)
    rows = math.ceil(count / _PANELS_IN_A_ROW)
    keys = _curve_keys(curves), _source_keys(curves)
    height = HEIGHT * (1 + 0.75 * (rows - 1)) + _LINE * max(0, max(map(_lines_of, keys)) - _FREE_LINES)
    figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, layout="constrained", facecolor="white")
    _fill(figure.subplots(rows, math.ceil(count / rows), sharex=True, sharey=True, squeeze=False), curves)
    if title:
        figure.suptitle(textwrap.fill(title, 2 * _LONGEST), fontsize=12).set_parse_math(False)
    for key, place in zip(keys, ("left", "right") if keys[1] else ("center", ""), strict=True):
        _add_legend(figure, key, f"outside lower {place}", max(map(_lines_of, keys)))
    target = Path(path)
    with atomic_write(target, "wb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # it draws a frame in its place
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return target


def _check_all(curves: Sequence[Curve]) -> None:
    if not curves:
        raise DataError("there is no curve to draw; give at least one.")
    for curve in curves:
        _check(curve)
        if tuple(curve.iou_levels) != tuple(curves[0].iou_levels):
            raise DataError(
                f"{curve.name}: its IoU levels are {tuple(curve.iou_levels)}, those of {curves[0].name} are "
                f"{tuple(curves[0].iou_levels)}; evaluate both at the same levels."
            )


def _check(curve: Curve) -> None:
    thresholds = check_thresholds(curve.thresholds)
    levels = [check_iou(level) for level in curve.iou_levels]
    accuracy = np.asarray(curve.accuracy, dtype=np.float64)
    if accuracy.shape != (len(levels), len(thresholds)) or not levels:
        raise DataError(
            f"{curve.name}: got accuracy of shape {accuracy.shape} for {len(levels)} IoU levels and "
            f"{len(thresholds)} thresholds; expected (levels, thresholds)."
        )
    _check_figures(f"{curve.name}: accuracy", accuracy)
    for source, (threshold, figures) in curve.marks.items():
        where = f"{curve.name}: mark {source!r}"
        places = np.asarray(0.0 if threshold is None else threshold, dtype=np.float64)
        fits = np.shape(figures) == (len(levels),) and places.shape in ((), (len(levels),))
        if not fits or not ((places >= 0) & (places <= 1)).all():
            raise DataError(
                f"{where}: got {threshold} and {figures}; expected a threshold in [0, 1], one for each level, "
                f"or None, and the accuracy at each of the {len(levels)} levels."
            )
        _check_figures(where, np.asarray(figures, dtype=np.float64))


def _check_figures(where: str, figures: NDArray[np.float64]) -> None:
    if np.isnan(figures).any():
        raise DataError(
            f"{where}: {int(np.isnan(figures).sum())} of {figures.size} figures are nan, as where no image has a true "
            "box, and cannot be drawn; evaluate on images with boxes."
        )
    if figures.min() < 0 or figures.max() > 100:
        raise DataError(
            f"{where}: runs from {figures.min():g} to {figures.max():g}; accuracies are per cent, 0 to 100."
        )


@dataclass(frozen=True, slots=True)
class _Sources:
    """The sources of thresholds in a picture, and how each is drawn."""

    points: list[str]  # with a threshold: a mark on the curve
    lines: list[str]  # with one for each map: a level line

    def marker(self, source: str, colour: str) -> dict[str, Any]:
        """How a point looks: hollow and a star for an oracle."""
        if source.startswith(_ORACLE):
            look = {"marker": "*", "markersize": 13, "markerfacecolor": "white", "markeredgecolor": colour}
            return {**look, "markeredgewidth": 1.4, "linestyle": "none"}
        plain = [each for each in self.points if not each.startswith(_ORACLE)]
        look = {"marker": _MARKERS[plain.index(source) % len(_MARKERS)], "markersize": 7}
        return {**look, "markerfacecolor": colour, "markeredgecolor": "white", "linestyle": "none"}

    def line(self, source: str, colour: str) -> dict[str, Any]:
        """How a level line looks."""
        return {"color": colour, "linestyle": _LINES[self.lines.index(source) % len(_LINES)], "linewidth": 1.4}


def _sources(curves: Sequence[Curve]) -> _Sources:
    points: dict[str, None] = {}
    lines: dict[str, None] = {}
    for curve in curves:
        for source, (threshold, _) in curve.marks.items():
            (lines if threshold is None else points)[source] = None
    return _Sources(list(points), list(lines))


def _fill(panels: Any, curves: Sequence[Curve]) -> None:
    """Draw into the panels, an array of axes (rows, columns); those left over are hidden."""
    levels, sources = curves[0].iou_levels, _sources(curves)
    several = len(curves) > 1
    drawn: list[Axes] = list(panels.flat)[: len(levels) if several else 1]
    for panel in panels.flat:
        panel.set_visible(panel in drawn)
    for index, level in enumerate(levels):
        panel = drawn[index if several else 0]
        for number, curve in enumerate(curves):
            _draw(panel, curve, index, _style(number if several else index), sources)
        panel.set_title(_level_name(level) if several else textwrap.fill(curves[0].name, 2 * _LONGEST), fontsize=10.5)
        panel.title.set_parse_math(False)
    for number, panel in enumerate(drawn):
        _dress(panel, bool(number % panels.shape[1]), number + panels.shape[1] < len(drawn), several)


def _dress(panel: Axes, has_left: bool, has_below: bool, several: bool) -> None:
    """Axes and grid; what the axes mean is said at the left and lower edges alone."""
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 100)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    panel.set_yticks(range(0, 101, 20))
    panel.tick_params(labelsize=9, labelbottom=not has_below, labelleft=not has_left)
    panel.grid(color="#e4e4e4", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if not has_below:
        panel.set_xlabel(f"threshold{chr(10) if several else ' '}(fraction of the map's maximum)", fontsize=10)
    if not has_left:
        panel.set_ylabel("box accuracy (%)", fontsize=10)


def _draw(panel: Axes, curve: Curve, index: int, style: dict[str, Any], sources: _Sources) -> None:
    """One level of one run."""
    panel.plot(np.asarray(curve.thresholds), np.asarray(curve.accuracy)[index], **style)
    for source, (threshold, figures) in curve.marks.items():
        if threshold is None:
            panel.axhline(figures[index], zorder=2.5, **sources.line(source, style["color"]))
        else:
            place = float(np.broadcast_to(threshold, len(figures))[index])
            panel.plot([place], [figures[index]], clip_on=False, zorder=4, **sources.marker(source, style["color"]))


def _style(number: int) -> dict[str, Any]:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": dash, "linewidth": 1.8}


def _level_name(level: float) -> str:
    return f"IoU \u2265 {level:g}"


_Key = list[tuple[str, dict[str, Any]]]  # what a legend says, and the look that it says it of


def _curve_keys(curves: Sequence[Curve]) -> _Key:
    names = (
        [curve.name for curve in curves] if len(curves) > 1 else [_level_name(each) for each in curves[0].iou_levels]
    )
    return [(textwrap.fill(name, _LONGEST), _style(number)) for number, name in enumerate(names)]


def _source_keys(curves: Sequence[Curve]) -> _Key:
    sources = _sources(curves)
    keys = []
    for source in sources.points:
        note = " (chosen on the scored boxes)" if source.startswith(_ORACLE) else ""
        name = source.replace(_ORACLE, _ORACLE.upper(), 1) if note else source
        keys.append((textwrap.fill(name + note, _LONGEST), sources.marker(source, _GREY)))
    for source in sources.lines:
        keys.append((textwrap.fill(f"{source} (a threshold for each map)", _LONGEST), sources.line(source, _GREY)))
    return keys


def _columns_of(key: _Key) -> int:
    """As many as fit in half the width, but none that a few lines do not need."""
    widest = max(len(line) for name, _ in key for line in name.split("\n"))
    return max(1, min((_LONGEST + 8) // (widest + 8), math.ceil(len(key) / _FREE_LINES)))


def _lines_of(key: _Key) -> int:
    return math.ceil(sum(name.count("\n") + 1 for name, _ in key) / _columns_of(key)) if key else 0


def _add_legend(figure: Figure, key: _Key, place: str, lines: int) -> None:
    """Below the panels. Empty lines make it as high as its neighbour, since both stand on the lower edge."""
    from matplotlib.lines import Line2D

    if not key:
        return
    if _columns_of(key) == 1:
        key = key + [(" ", {"linestyle": "none"})] * (lines - _lines_of(key))
    handles = [Line2D([], [], **look) for _, look in key]
    names = [name for name, _ in key]
    options: dict[str, Any] = {"loc": place, "ncols": _columns_of(key), "fontsize": 9, "frameon": False}
    legend = figure.legend(handles, names, **options)
    for text in legend.get_texts():
        text.set_parse_math(False)
