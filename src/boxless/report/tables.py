"""One table of text in the forms that people paste it from: Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from boxless.errors import DataError
from boxless.files import atomic_write

_MARKDOWN = {character: f"\\{character}" for character in "\\`*_<|~"} | {"&": "&amp;"}
_LATEX = {character: f"\\{character}" for character in "{}$&#%_"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "–": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns, with what a reader must know to read it.

    A cell may have several lines, for a terminal; each form below puts them on one.

    Raises:
        DataError: A row has not just as many cells as the header.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what would be a crooked table in some forms and a damaged one in others."""
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise DataError(
                    f"rows[{number}]: got {len(row)} cells for the {len(self.header)} columns of {self.title!r}."
                )

    def markdown(self) -> str:
        """A table of GitHub's Markdown, readable as plain text too; the notes are a list below it."""
        lines = [[_markdown(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * width for width in widths]
        text = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in (lines[0], rule, *lines[1:])
        ]
        title = [f"**{_markdown(self.title)}**", ""] if self.title else []
        notes = ["", *(f"- {_markdown(note)}" for note in self.notes)] if self.notes else []
        return "\n".join([*title, *text, *notes]) + "\n"

    def csv(self) -> str:
        """Header and rows, as RFC 4180 has them but with plain line ends; title and notes have no place in it."""
        buffer = StringIO()
        lines = [[_one_line(cell) for cell in row] for row in (self.header, *self.rows)]
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        return buffer.getvalue()

    def latex(self) -> str:
        r"""A floating table for the package ``booktabs``; it is compiled as UTF-8, in the font encoding T1."""
        head, *body = ([_latex(cell) for cell in row] for row in (self.header, *self.rows))
        return (
            "\n".join(
                [
                    r"\begin{table}",
                    r"  \centering",
                    rf"  \caption{{{_latex(self.title)}}}",
                    rf"  \begin{{tabular}}{{{'l' * len(self.header)}}}",
                    r"    \toprule",
                    f"    {_line(head)}",
                    r"    \midrule",
                    *(f"    {_line(row)}" for row in body),
                    r"    \bottomrule",
                    r"  \end{tabular}",
                    *(rf"  \par\footnotesize {_latex(note)}" for note in self.notes),
                    r"\end{table}",
                ]
            )
            + "\n"
        )

    def write(self, folder: Path, stem: str) -> list[Path]:
        """Write ``stem.md``, ``stem.csv`` and ``stem.tex`` into a folder, each whole or not at all."""
        texts = {"md": self.markdown(), "csv": self.csv(), "tex": self.latex()}
        return [_write(folder / f"{stem}.{kind}", text) for kind, text in texts.items()]


def write_all(folder: Path, stem: str, tables: Mapping[str, Table]) -> list[Path]:
    """Write several: all in ``stem.md`` and in ``stem.tex``, and each by its name as ``stem-NAME.csv``."""
    texts = {
        f"{stem}.md": "\n".join(each.markdown() for each in tables.values()),
        f"{stem}.tex": "\n".join(each.latex() for each in tables.values()),
        **{f"{stem}-{name}.csv": each.csv() for name, each in tables.items()},
    }
    return [_write(folder / name, text) for name, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as file:
        file.write(text)
    return path


def _line(cells: Iterable[str]) -> str:
    r"""A row; what follows the ``\\`` of the row before must not look like its argument."""
    text = " & ".join(cells)
    return ("{}" if text[:1] in ("[", "*") else "") + text + r" \\"


def _markdown(text: str) -> str:
    escaped = "".join(_MARKDOWN.get(character, character) for character in _one_line(text))
    return escaped.replace("](", r"]\(")  # a link; brackets alone are none


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in re.sub("--+", _apart, _one_line(text)))
    return escaped.replace(_BETWEEN, "{}")


_BETWEEN = "\0"


def _apart(hyphens: re.Match[str]) -> str:
    """Hyphens that LaTeX would make a dash of."""
    return _BETWEEN.join(hyphens.group())


def _one_line(text: str) -> str:
    return " ".join(text.split())
