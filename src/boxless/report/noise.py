"""What noise in val's boxes does to selection, as a picture: the panels of the thesis' figure 4.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.errors import DataError
from boxless.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from boxless.protocol.mask_study import MaskRow
    from boxless.protocol.noise_study import Selected, Spread

_BLUE, _RED, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#888888"  # of Okabe and Ito's palette
_DPI = 150


def draw_noise(
    path: str | Path,
    rows: Sequence[Selected],
    around: Mapping[str, float],
    masks: Mapping[str, Sequence[MaskRow]] | None = None,
    title: str = "",
) -> Path:
    """Draw a study as a PNG file, whole or not at all, and return its path.

    Panels: (A) how well noisy boxes fit the true ones, by level; (B) what they select, on test, with its range over
    runs and draws, beside what true boxes select (ORACLE) and what there was to lose; (C) how many epochs from those
    of true boxes; (D) PxAP on test of the epochs that eroded masks and pseudo-masks select, by their error.

    Args:
        path: The file.
        rows: Of `boxless.protocol.noise_study.study`, that without noise first.
        around: Of `boxless.protocol.noise_study.around`.
        masks: For each run its rows of `boxless.protocol.mask_study`; None leaves the panel out.
        title: Above all panels.

    Raises:
        DataError: There is no noisy row.
        RunError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    if len(rows) < 2:
        raise DataError(f"noise: got {len(rows)} rows; give those of a study, the one without noise first.")
    figure = Figure(figsize=(10, 7 if masks else 3.6), dpi=_DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(2, 2).flat if masks else figure.subplots(1, 3).flat
    _boxes(panels[0], rows)
    _worth(panels[1], rows, around)
    _distances(panels[2], rows)
    if masks:
        _masks(panels[3], masks)
    for letter, panel in zip("ABCD", panels, strict=False):
        text = panel.get_title()
        panel.set_title("")  # the one in the middle
        panel.set_title(f"({letter}) {text}", fontsize=10, loc="left")
        panel.grid(color="#e4e4e4", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8.5)
    if title:
        figure.suptitle(title, fontsize=11)
    target = Path(path)
    with atomic_write(target, "wb") as file:
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return target


def _boxes(panel: Axes, rows: Sequence[Selected]) -> None:
    levels = [100 * row.level for row in rows]
    panel.plot(levels, [100 * row.overlap for row in rows], "o-", color=_BLUE, markersize=4, label="mean IoU (x 100)")
    panel.plot(levels, [row.accuracy for row in rows], "s--", color=_RED, markersize=4, label="with IoU of 0.5 or more")
    panel.set(title="noisy boxes against true ones", xlabel="noise level (%)", ylabel="%", ylim=(0, 103))
    panel.legend(fontsize=8, frameon=False, loc="lower left")


def _worth(panel: Axes, rows: Sequence[Selected], around: Mapping[str, float]) -> None:
    levels = [100 * row.level for row in rows[1:]]
    for name, colour, marker, text in (
        ("max_box_accuracy", _BLUE, "o", "ORACLE threshold"),
        ("box_accuracy", _RED, "s", "threshold from the same boxes"),
    ):
        spreads: list[Spread] = [row.figures[name] for row in rows[1:]]
        means = [each.mean for each in spreads]
        off = [[each.mean - each.low for each in spreads], [each.high - each.mean for each in spreads]]
        shift = 0.6 if name == "box_accuracy" else -0.6
        panel.errorbar(
            [level + shift for level in levels], means, off, color=colour, marker=marker, markersize=4, linewidth=1.4,
            elinewidth=0.8, capsize=2, label=f"noisy boxes, {text}",
        )  # fmt: skip
        panel.axhline(rows[0].figures[name].mean, color=colour, linestyle=":", linewidth=1.4)
    panel.plot([], [], color=_GREY, linestyle=":", label="the same by true boxes (ORACLE)")
    for name, style in (("worst epoch", "-."), ("class accuracy", "--")):
        panel.axhline(around[name], color=_GREY, linestyle=style, linewidth=1, label=f"{name}, ORACLE threshold")
    panel.set(title="selected epochs on test: mean and range", xlabel="noise level (%)", ylabel="box accuracy (%)")
    panel.legend(fontsize=7, frameon=True, framealpha=0.9, loc="lower left")


def _distances(panel: Axes, rows: Sequence[Selected]) -> None:
    """Thin bars side by side: the lowest level, that in the middle, and the highest."""
    from matplotlib.ticker import MaxNLocator

    noisy = list(rows[1:])
    shown = dict.fromkeys((0, len(noisy) // 2, len(noisy) - 1))
    width = 0.8 / len(shown)
    for number, index in enumerate(shown):
        row = noisy[index]
        counts = Counter(row.distances)
        places = sorted(counts)
        heights = [100 * counts[place] / len(row.distances) for place in places]
        spots = [place + (number - (len(shown) - 1) / 2) * width for place in places]
        panel.bar(spots, heights, width, color=(_BLUE, _GREEN, _RED)[number], label=f"noise of {row.level:.0%}")
    panel.set(title="epochs from what true boxes select", xlabel="epochs later", ylabel="% of runs and draws")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(fontsize=8, frameon=False, loc="best")


def _masks(panel: Axes, masks: Mapping[str, Sequence[MaskRow]]) -> None:
    for number, (name, rows) in enumerate(masks.items()):
        colour = (_BLUE, _RED, _GREEN, _GREY)[number % 4]
        worn = [row for row in rows if row.masks != "pseudo-masks"]
        panel.plot([r.error for r in worn], [r.pxap for r in worn], "o-", color=colour, markersize=4, label=name)
        for row in rows:
            if row not in worn:
                panel.plot([row.error], [row.pxap], "*", color=colour, markersize=11, markeredgecolor="white")
    if any(row.masks == "pseudo-masks" for rows in masks.values() for row in rows):
        panel.plot([], [], "*", color=_GREY, markersize=9, linestyle="none", label="pseudo-masks")
    panel.set(title="epochs selected by eroded masks, on test", xlabel="mask error, 1 - AUC (%)", ylabel="PxAP (%)")
    panel.legend(fontsize=7, frameon=False, loc="best")
