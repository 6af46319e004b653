"""The results of a search as one self-contained HTML page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from boxless.files import atomic_write
from boxless.methods.base import Space
from boxless.report.page import style
from boxless.search.ledger import Trial
from boxless.search.plots import draw_progress, draw_settings
from boxless.search.results import setting, shown

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style
  tr.best td { font-weight: 600; } tr.other td { color: var(--soft); } img { background: white; }
  #trials td, #trials th { white-space: nowrap; } #trials td:last-child { white-space: normal; min-width: 12rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
<p>Trials were compared by: <b>$selected_by</b>.</p>
$best
<h2>How the search went</h2>
<figure><img src="data:image/png;base64,$progress" alt="The criterion after each trial, and the best so far">
<figcaption>Left: each trial's figure in the order in which they were drawn, and the best finished one so far. Right:
each trial over its epochs; those that fell behind were
stopped early.</figcaption></figure>
<h2>What each setting did</h2>
<figure><img src="data:image/png;base64,$settings" alt="The criterion against each setting">
<figcaption>Each trial's figure against the value that was drawn. Settings were drawn together, and more often where
earlier trials did well: a trend here is a hint and no proof.</figcaption></figure>
$importance
<h2>Trials</h2>
<div class="wide"><table id="trials">
<thead><tr>$header</tr></thead>
<tbody>
$rows
</tbody></table></div>
<p>Finished trials are run folders: <code>boxless predict</code> and <code>boxless evaluate</code> open them. One that
was stopped early is trained to its end by <code>boxless train --resume --out FOLDER</code>.</p>
<h2>The space</h2>
<div class="wide"><table><thead><tr><th>setting</th><th>range</th></tr></thead><tbody>
$space
</tbody></table></div>
</body>
</html>
""")
_STATES = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "waiting": "not at its end"}


def write_page(path: Path, value: Mapping[str, Any], trials: Sequence[Trial], space: Mapping[str, Space]) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        value: As ``results.json`` has it.
        trials: By number.
        space: What was searched.
    """
    measure, entries = value["measure"], value["trials"]
    counts = {state: sum(entry["state"] == state for entry in entries) for state in _STATES}
    told = ", ".join(f"{count} {_STATES[state]}" for state, count in counts.items() if count)
    mark = "ORACLE: search" if value["criterion"] == "oracle" else "Search"
    header = ("trial", "state", measure, "epochs", *space, "folder", "")
    page = _PAGE.substitute(
        style=style(),
        title=escape(f"{mark} of {value['method']}"),
        summary=escape(f"{len(entries)} trials: {told}."),
        selected_by=escape(value["selected_by"]),
        best=_best(value),
        progress=b64encode(draw_progress(trials, measure)).decode(),
        settings=b64encode(draw_settings(trials, space, measure)).decode(),
        importance=_importance(value["importance"]),
        header="".join(f"<th>{escape(name)}</th>" for name in header),
        rows="\n".join(_row(entry, value["best"], list(space), measure) for entry in entries),
        space="\n".join(_cells((name, _range(text))) for name, text in value["space"].items()),
    )
    with atomic_write(path) as file:
        file.write(page)
    return path


def _best(value: Mapping[str, Any]) -> str:
    best = value["best"]
    if best is None:
        return "<p>No trial is finished, so there is no best one.</p>"
    chosen = ", ".join(f"{name} {setting(each)}" for name, each in best["settings"].items())
    lines = [
        f"<p>Best: trial {best['number']} in <code>{escape(best['folder'])}</code>, {escape(value['measure'])} "
        f"<b>{shown(best['value'], value['measure'])}</b>, with {escape(chosen)}. Its recipe is "
        "<code>best.yaml</code>.</p>"
    ]
    if value["threshold_source"]:
        lines.append(f"<p>Its threshold: {escape(value['threshold_source'])}.</p>")
    lines.append(
        "<p>The best of many trials looks a little better on val than it is. What it is worth, the test set says.</p>"
    )
    return "\n".join(lines)


def _importance(parts: Mapping[str, float]) -> str:
    if not parts:
        return ""
    told = ", ".join(f"{escape(name)} {100 * part:.0f} %" for name, part in parts.items())
    return f"<p>Which settings tell good trials from others (PED-ANOVA): {told}. Of few trials, a rough guide.</p>"


def _row(entry: Mapping[str, Any], best: Mapping[str, Any] | None, names: Sequence[str], measure: str) -> str:
    is_best = best is not None and entry["number"] == best["number"]
    kind = "best" if is_best else "" if entry["state"] == "finished" else "other"
    settings = [setting(entry["settings"].get(name, "")) for name in names]
    figure, epochs = shown(entry["value"], measure), str(entry["epochs_judged"])
    cells = (str(entry["number"]), _STATES[entry["state"]], figure, epochs, *settings, entry["folder"], entry["reason"])
    return _cells(cells, kind)


def _cells(cells: Sequence[str], kind: str = "") -> str:
    return f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _range(text: object) -> str:
    if isinstance(text, list):
        return f"one of {', '.join(map(str, text))}"
    bounds, _, scale = str(text).partition(":")
    low, _, high = bounds.partition("..")
    return f"{low} to {high}{', by its logarithm' if scale else ''}"
