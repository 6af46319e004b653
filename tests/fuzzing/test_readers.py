"""Every reader of files ends with a value or with an error of our own, whatever the file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Figures, feed, inputs
from .readers import readers

FINDINGS = Path(__file__).parent / "findings"
NEEDS = {"video": "av", "image: parts of a tiff": "tifffile", "clip folder": "open_clip"}
FEW = 25


def told(figures: Figures) -> str:
    return "\n".join(f"{place}: {content[:80]!r}\n{text}" for place, (content, text) in figures.findings.items())


@pytest.mark.parametrize("name", readers())
def test_a_reader_refuses_what_it_cannot_use_with_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "boxless"))
    reader = readers()[name]
    sound = feed(reader, reader.seeds(), tmp_path)
    assert sound.accepted == sound.inputs > 0
    cases = [
        path.read_bytes() for path in sorted(FINDINGS.glob(f"{name.replace(': ', '-').replace(' ', '-')}-????????"))
    ]
    figures = feed(reader, [*cases, *inputs(name, reader, FEW, seed=1)], tmp_path)
    assert not figures.findings, told(figures)
    assert figures.refused + figures.accepted == figures.inputs


def test_a_finding_is_one(tmp_path: Path) -> None:
    from dataclasses import replace

    def breaks(folder: Path) -> None:
        raise KeyError(folder)

    figures = feed(replace(readers()["recipe"], read=breaks), [b"x"], tmp_path)
    assert [*figures.findings] == ["KeyError ?"]
