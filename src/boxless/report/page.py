"""The page of a run: templates, style and scripts of this package put together into one file that needs no other.

Nothing of it is loaded from anywhere, which the page's own policy forbids. Its scripts are named in that policy by
their digests, so that no name of a class or a file can become one.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("boxes.js", "state.js", "tiles.js", "view.js", "figures.js", "start.js")


def style(*names: str) -> str:
    """The house's style sheet, and further ones of this package after it."""
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", *names))


def render(facts: Mapping[str, Any], data: Mapping[str, Any], pictures: Sequence[str]) -> bytes:
    """The page.

    Args:
        facts: What the template shows.
        data: What the scripts read.
        pictures: JPEG files as base64, in the order of the data's images.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    drawing = _plotly()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        **facts,
        style=style("report.css"),
        script=script,
        policy=f"'{_digest(script)}' '{_digest(drawing)}'",
        data=as_json(data),
        plotly=_packed(drawing),
        pictures=pictures,
    )
    return page.encode("utf-8", "backslashreplace")  # names of files may hold what is no text


def as_json(value: Any) -> str:
    """JSON that ends no script element, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _plotly() -> str:
    """The script of plotly, from its package."""
    from importlib.util import find_spec

    found = find_spec("plotly")
    folder = Path(str(found.origin)).parent if found else Path()  # importing all of it would take half a second
    text = (folder / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # as a browser reads a script element


@cache
def _packed(text: str) -> str:
    return b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _digest(script: str) -> str:
    return "sha256-" + b64encode(sha256(script.encode()).digest()).decode()
