"""The pictures of a search: how it went, and what each setting did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from boxless.methods.base import Space
from boxless.search.ledger import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 110
_IN_A_ROW = 4
# Of Okabe and Ito's palette, told apart by the colour-blind too, and by their shapes.
_LOOKS: dict[str, dict[str, Any]] = {
    "finished": {"color": "#0072b2", "marker": "o", "s": 36},
    "stopped": {"facecolors": "white", "edgecolors": "#d55e00", "marker": "s", "s": 26},
}
_NAMES = {"finished": "finished", "stopped": "stopped early"}


def draw_progress(trials: Sequence[Trial], measure: str) -> bytes:
    """Each trial's figure with the best so far, and each trial over its epochs, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 4.2), dpi=_DPI, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    _points(left, trials, [trial.number for trial in trials])
    best, steps = -math.inf, []
    for trial in trials:
        if trial.state == "finished" and trial.value is not None:
            best = max(best, trial.value)
        steps.append(best if best > -math.inf else math.nan)
    left.step(
        [trial.number for trial in trials], steps, where="post", color="#444444", linewidth=1, label="best so far"
    )
    _dress(left, "trial", measure)
    left.legend(frameon=False, fontsize=9, loc="best")
    top = max((t.value for t in trials if t.state == "finished" and t.value is not None), default=None)
    for trial in trials:
        if trial.curve and trial.state != "failed":
            chosen = trial.state == "finished" and trial.value == top
            look = _LOOKS[trial.state] if trial.state in _LOOKS else _LOOKS["stopped"]
            colour = look.get("color", "#d55e00")
            style = {"color": colour, "linewidth": 2.6 if chosen else 1.0, "alpha": 1.0 if chosen else 0.6}
            right.plot(range(1, len(trial.curve) + 1), trial.curve, marker=".", markersize=3, **style)
    _dress(right, "epoch", "")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def draw_settings(trials: Sequence[Trial], space: Mapping[str, Space], measure: str) -> bytes:
    """The criterion against each setting, a panel for each, as PNG."""
    from matplotlib.figure import Figure

    columns = min(_IN_A_ROW, len(space))
    rows = math.ceil(len(space) / columns)
    figure = Figure(figsize=(3.3 * columns, 3.1 * rows), dpi=_DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for place, axes in enumerate(panels.flat):
        axes.set_visible(place < len(space))
    for place, (name, each) in enumerate(space.items()):
        axes = panels.flat[place]
        drawn = [trial for trial in trials if name in trial.settings]
        if each.choices:
            names = [str(choice) for choice in each.choices]
            _points(axes, drawn, [names.index(str(trial.settings[name])) for trial in drawn])
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
        else:
            _points(axes, drawn, [float(trial.settings[name]) for trial in drawn])
            axes.set_xscale("log" if each.log else "linear")
            axes.set_xlim(_margin(each))
        _dress(axes, name, measure if place % columns == 0 else "")
    return _png(figure)


def _points(axes: Axes, trials: Sequence[Trial], places: Sequence[float]) -> None:
    for state, look in _LOOKS.items():
        chosen = [
            (place, trial.value)
            for place, trial in zip(places, trials, strict=True)
            if trial.state == state and trial.value is not None
        ]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), zorder=3, label=_NAMES[state], **look)


def _margin(space: Space) -> tuple[float, float]:
    low, high = float(space.low or 0.0), float(space.high or 0.0)
    if space.log:
        factor = (high / low) ** 0.04
        return low / factor, high * factor
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _dress(axes: Axes, below: str, beside: str) -> None:
    axes.set_xlabel(below, fontsize=10)
    axes.set_ylabel(beside, fontsize=10)
    axes.tick_params(labelsize=9)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
