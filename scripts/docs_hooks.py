"""What the site needs beside its pages: links to files outside of docs/, and the help of each verb.

The pages are read in the repository too, so a link leaves docs/ as a path, such as ``../recipes/README.md``. Here it is
checked, and made one to the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(\.\./[^)\s#]+)(?=[)#])")
HELP = "<!-- the help of each verb -->"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page as the site shows it.

    Raises:
        PluginError: A link leads to a file that is not there.
    """
    from mkdocs.exceptions import PluginError

    folder = (ROOT / "docs" / page.file.src_uri).parent

    def lead(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return found[1]
        if not target.exists():
            raise PluginError(f"docs/{page.file.src_uri} links to {found[1]}, which is not there.")
        return config["extra"]["repository"] + target.relative_to(ROOT).as_posix()

    return LINK.sub(lead, markdown).replace(HELP, _help() if HELP in markdown else "")


def _help() -> str:
    """Each verb's own words, as ``--help`` prints them."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from boxless.cli.app import app

    def said(*words: str) -> str:
        shown = CliRunner(env={"COLUMNS": "90"}).invoke(app, [*words, "--help"], terminal_width=90, prog_name="boxless")
        return f"```text\n{shown.stdout.strip()}\n```"

    verbs = get_command(app).commands
    return "\n\n".join([said(), *(f"## boxless {verb}\n\n{said(verb)}" for verb in verbs)])
