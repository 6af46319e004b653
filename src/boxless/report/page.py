"""One self-contained HTML page about a run: its figures, its pictures, and how they came about."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from boxless.files import atomic_write

STYLE = """\
  :root { color-scheme: light dark; --ink: #26282c; --soft: #6a6e76; --paper: #fafaf8; --line: #dcdcd6; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8e8e4; --soft: #a0a4ac; --paper: #18191c; --line: #36383e; } }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
         max-width: 100rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; } td, th { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line);
         text-align: left; vertical-align: top; } td { font-variant-numeric: tabular-nums; }
  figure { margin: 1.5rem 0; } figcaption { color: var(--soft); }
  img { max-width: 100%; height: auto; border: 1px solid var(--line); }
  pre { overflow: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
  .wide { overflow-x: auto; }
"""
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<h1>$title</h1>
<p>Learnt from image labels alone: no box and no mask was seen in training.</p>
<div class="wide"><table>
<thead><tr>$header</tr></thead>
<tbody>
$rows
</tbody></table></div>
<p>In brackets: 95 % bootstrap intervals over images. ORACLE: the threshold was chosen on the very boxes that are
measured with, an upper bound and not what a user gets.</p>
<h2>Pictures</h2>
$pictures
<h2>How the run came about</h2>
<details><summary>The run's card</summary><pre>$card</pre></details>
</body>
</html>
""")
_FIGURE = '<figure><img src="data:image/png;base64,{1}" alt="{0}"><figcaption>{0}</figcaption></figure>'


def write_page(
    path: Path,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: Mapping[str, Path],
    card: Mapping[str, Any],
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        title: Its heading.
        header: The titles of the table's columns.
        rows: The table: a figure's name, and its values.
        pictures: PNG files by what they show; they are put into the page.
        card: The run's card.
    """
    page = _PAGE.substitute(
        style=STYLE,
        title=escape(title),
        header="".join(f"<th>{escape(name)}</th>" for name in header),
        rows="\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows),
        pictures="\n".join(_FIGURE.format(escape(caption), _encoded(file)) for caption, file in pictures.items()),
        card=escape(json.dumps(card, indent=2, ensure_ascii=False)),
    )
    with atomic_write(path) as file:
        file.write(page)
    return path


def _encoded(picture: Path) -> str:
    return b64encode(picture.read_bytes()).decode()
