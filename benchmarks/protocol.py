"""The protocol table of benchmarks/protocol.yaml; writes benchmarks/results/protocol.json and docs/evaluation.md.

    python benchmarks/protocol.py [FOLDER]

Without a folder of finished runs the trainings of that file are done first, about an hour; a second call goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _machine import describe

import boxless
from boxless.protocol.table import protocol_table
from boxless.runs import read_card

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "protocol.json"
PAGE = ROOT / "docs" / "evaluation.md"
MARKS = ("<!-- made by benchmarks/protocol.py: begin -->", "<!-- end -->")
REALISTIC, ORACLES = {"BV-VT": "VT", "BV-Otsu": "Otsu"}, {"BV-VT": "VT", "BV-TT": "BV-TT", "BT-TT": "BT-TT"}
PAIRS = {"own_threshold": "own threshold", "otsu": "Otsu's for both", "best_threshold": "ORACLE: TT for both"}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "protocol" / "sample"
    if len(sys.argv) < 2:
        boxless.run_benchmark(ROOT / "benchmarks" / "protocol.yaml")
    runs = sorted(card.parent for card in folder.rglob("card.json"))
    shown = protocol_table(runs, "sample").to_dict()
    cards = [read_card(run) for run in runs]
    trained = sorted({f"{card['method']} at {run.parent.name}" for run, card in zip(runs, cards, strict=True)})
    result = {
        **describe("2 torch threads", "torch", "timm", "numpy", "opencv-contrib-python-headless"),
        "commits": sorted({str(card["commit"]) for card in cards}),
        "runs": trained,
        "truth": "the sample's",
        **{key: shown[key] for key in ("split", "images", "contours", "interval", "less_true_boxes")},
        "rows": [{**row, "runs": len(row["runs"])} for row in shown["rows"]],
    }
    RESULTS.write_text(json.dumps(_short(result), indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(
        f"{before}{MARKS[0]}\n{_table(shown)}\n\n{_differences(shown)}\n{MARKS[1]}{after}", encoding="utf-8"
    )


def _table(shown: Mapping[str, Any]) -> str:
    titles = [*(f"realistic: {each}" for each in REALISTIC.values()), *(f"ORACLE: {each}" for each in ORACLES.values())]
    lines = [
        _line("method", "selected by", *titles, "realistic: mean IoU, VT"),
        "|---|---|" + "---|" * (len(titles) + 1),
    ]
    for row in shown["rows"]:
        real, oracle = row["realistic"], row["ORACLE"]
        cells = [_cell(real.get("box_accuracy", {}).get(key)) for key in REALISTIC]
        cells += [_cell(oracle.get("box_accuracy", {}).get(key)) for key in ORACLES]
        iou = real.get("mean_iou", {}).get("BV-VT")
        lines.append(_line(f"`{row['group']}`", row["selected_by"], *cells, _cell(iou, 3)))
    return "\n".join(lines)


def _differences(shown: Mapping[str, Any]) -> str:
    lines = [_line("selected by", "methods", *PAIRS.values()), "|---|---|" + "---|" * len(PAIRS)]
    for row in shown["less_true_boxes"]["box_accuracy"]:
        cells = [_cell(row.get(key), sign="+") for key in PAIRS]
        lines.append(_line(row["selected_by"], str(len(row["groups"])), *cells))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(found: Mapping[str, Any] | None, digits: int = 1, sign: str = "") -> str:
    if not found:
        return ""
    low, value, high = (f"{found[key]:{sign}.{digits}f}" for key in ("low", "value", "high"))
    return f"{value} [{low}, {high}]"


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items() if key != "run"}
    if isinstance(value, list | tuple):
        return [_short(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
