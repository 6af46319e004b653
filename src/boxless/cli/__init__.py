"""The command line: one file a verb, each a thin layer over a public function."""

from __future__ import annotations


def main() -> None:
    """Run ``boxless`` with the arguments of the process."""
    from boxless.cli.app import app

    app(prog_name="boxless")
