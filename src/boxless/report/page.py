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

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light dark; --ink: #26282c; --soft: #6a6e76; --paper: #fafaf8; --line: #dcdcd6; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8e8e4; --soft: #a0a4ac; --paper: #18191c; --line: #36383e; } }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
         max-width: 100rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; } td, th { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line);
         text-align: left; vertical-align: top; } td.value { text-align: right; font-variant-numeric: tabular-nums; }
  td.note { color: var(--soft); } img { max-width: 100%; height: auto; border: 1px solid var(--line); }
  pre { overflow: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
  .wide { overflow-x: auto; }
</style>
</head>
<body>
<h1>$title</h1>
<p>Learnt from image labels alone: no box and no mask was seen in training.</p>
<div class="wide"><table>
<thead><tr><th>figure</th><th>value</th><th>what it says</th></tr></thead>
<tbody>
$rows
</tbody></table></div>
<h2>Pictures</h2>
<img src="data:image/png;base64,$picture" alt="Test images with the predicted box and, dashed, the true one">
<h2>How the run came about</h2>
<details><summary>The run's card</summary><pre>$card</pre></details>
</body>
</html>
""")


def write_page(
    path: Path, title: str, rows: Sequence[tuple[str, str, str]], picture: Path, card: Mapping[str, Any]
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        title: Its heading.
        rows: Name, value and note of each figure.
        picture: A PNG file, which is put into the page.
        card: The run's card.
    """
    lines = "\n".join(
        f'<tr><td>{escape(name)}</td><td class="value">{escape(value)}</td><td class="note">{escape(note)}</td></tr>'
        for name, value, note in rows
    )
    page = _PAGE.substitute(
        title=escape(title),
        rows=lines,
        picture=b64encode(picture.read_bytes()).decode(),
        card=escape(json.dumps(card, indent=2, ensure_ascii=False)),
    )
    with atomic_write(path) as file:
        file.write(page)
    return path
