"""The table of docs/choosing.md, from what was measured: ``python scripts/choosing.py`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from boxless.methods import METHODS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "choosing.md"
BEGIN, END = "<!-- made by scripts/choosing.py: begin -->\n", "<!-- made by scripts/choosing.py: end -->"
HEADER = (
    "| method | val's pseudo-boxes | Otsu: no box | ORACLE: these boxes | class accuracy | minutes | maps |",
    "|---|---|---|---|---|--:|---|",
)


def table() -> str:
    """A line for each method that was trained on the sample, the best at Otsu's threshold first."""
    measured = _read("accuracy")["rows"]
    realistic = {
        row["group"]: row["realistic"]["box_accuracy"]["BV-VT"]
        for row in _read("protocol")["rows"]
        if row["criterion"] == "pseudo:selective_search"
    }
    names = [name for name in METHODS if name in measured]
    names.sort(key=lambda name: -measured[name]["box_accuracy_otsu"][0])
    lines = [_line(name, measured[name], realistic.get(name)) for name in names]
    return "\n".join([*HEADER, *lines, ""])


def _line(name: str, row: dict[str, Any], chosen: dict[str, float] | None) -> str:
    method = METHODS.load(name)
    cells = [
        f"`{name}`",
        "not measured" if chosen is None else f"{chosen['value']:.1f} [{chosen['low']:.1f}, {chosen['high']:.1f}]",
        *(_interval(row[key]) for key in ("box_accuracy_otsu", "max_box_accuracy_oracle", "class_accuracy")),
        f"{row['train_seconds'] / 60:.0f}",
        "of each class" if method.class_specific else "one for all",
    ]
    return f"| {' | '.join(cells)} |"


def _interval(figures: list[float]) -> str:
    value, low, high = figures
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> None:
    """Write it into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
