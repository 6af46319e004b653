"""Tables as text: what each form takes for markup is written so that a reader sees it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from boxless.errors import DataError
from boxless.report.tables import Table

TABLE = Table(
    "Boxes, 95 %",
    ("method", "ORACLE: BT-TT"),
    [("ted_loc | x", "69.7 [65.8, 73.3]"), ("a,b", 'say "no"')],
    ["see --out & rest"],
)


def test_markdown_is_aligned_and_escapes_its_own_signs() -> None:
    assert TABLE.markdown() == (
        "**Boxes, 95 %**\n\n"
        "| method        | ORACLE: BT-TT     |\n"
        "| ------------- | ----------------- |\n"
        "| ted\\_loc \\| x | 69.7 [65.8, 73.3] |\n"
        '| a,b           | say "no"          |\n'
        "\n- see --out &amp; rest\n"
    )


def test_markdown_makes_no_link_code_html_or_second_line_of_a_cell() -> None:
    row = Table("", ("a",), [("[x](y) `z` <b>\nnext",)]).markdown().splitlines()[2]
    assert row == r"| [x]\(y) \`z\` \<b> next |"


def test_csv_is_read_back_as_it_was() -> None:
    assert list(csv.reader(TABLE.csv().splitlines())) == [list(TABLE.header), *map(list, TABLE.rows)]


def test_latex_has_booktabs_rules_and_escapes_its_own_signs() -> None:
    text = TABLE.latex()
    assert [line.strip() for line in text.splitlines()] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Boxes, 95 \%}",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"method & ORACLE: BT-TT \\",
        r"\midrule",
        r"ted\_loc \textbar{} x & 69.7 [65.8, 73.3] \\",
        r"a,b & say \textquotedbl{}no\textquotedbl{} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\footnotesize see -{}-out \& rest",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("x^2 ~ $3 #4", r"x\textasciicircum{}2 \textasciitilde{} \$3 \#4"),
        ("1 ± 2 – 3", r"1 $\pm$ 2 -- 3"),
        ("---", "-{}-{}-"),
        ("two\nlines", "two lines"),
    ],
)
def test_every_sign_of_latex_is_text(text: str, latex: str) -> None:
    assert rf"\caption{{{latex}}}" in Table(text, ("a",), []).latex()


@pytest.mark.parametrize("first", ["[1, 2]", "*"])
def test_a_row_of_latex_is_no_argument_of_the_one_before(first: str) -> None:
    text = Table("", ("a",), [("x",), (first,)]).latex()
    assert not re.search(r"\\\\\s*[\[*]", text)
    assert "{}" + first in text


def test_a_crooked_row_is_refused() -> None:
    with pytest.raises(DataError, match=r"rows\[1\]: got 1 cells for the 2 columns of 'T'"):
        Table("T", ("a", "b"), [("1", "2"), ("1",)])


def test_all_forms_are_written_side_by_side(tmp_path: Path) -> None:
    files = TABLE.write(tmp_path / "out", "boxes")
    assert [path.name for path in files] == ["boxes.md", "boxes.csv", "boxes.tex"]
    assert [path.read_text() for path in files] == [TABLE.markdown(), TABLE.csv(), TABLE.latex()]
