"""How a run came about, as sentences and curves: its card and its metrics, read for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxless.parsing import parse_json
from boxless.protocol.provenance import ORACLE, selected_by, threshold_from

METRICS = "metrics.jsonl"
_PANELS = {"loss": "loss/", "class accuracy on val (%)": "val/class_accuracy", "mean IoU with boxes of val": "val/iou/"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the protocol card."""

    title: str
    text: str

    @property
    def oracle(self) -> bool:
        """Whether true boxes had a hand in it."""
        return ORACLE in self.text


def facts(card: Mapping[str, Any]) -> list[Fact]:
    """The card of a run in words; what an older card does not say is left out."""
    data, backbone, selection = card.get("data", {}), card.get("backbone", {}), card.get("selection", {})
    rule = card.get("threshold", {}).get("rule", "otsu")
    shown = "each map's own, by Otsu" if rule == "otsu" else f"{rule:g} of each map's maximum"
    counts = ", ".join(f"{count:,} {split}" for split, count in data.get("images", {}).items())
    licence = backbone.get("licence")
    frozen = "frozen" if backbone.get("frozen") else "trained too"
    versions = ", ".join(f"{name} {number}" for name, number in (card.get("versions") or {}).items())
    told = {
        "Learnt from": card.get("supervision", ""),
        "Weights selected by": selected_by(card) + _epoch(selection),
        "Threshold": f"{shown}: {threshold_from(card)}" if rule != "otsu" else f"{shown}; no box is looked at",
        "Boxes": card.get("box_rule", ""),
        "Data": f"{data.get('source', '')} ({counts}); {data.get('split_rule', '')}" if data else "",
        "Method": f"{card.get('method', '')}, at {card.get('resolution', '?')} x {card.get('resolution', '?')} pixels",
        "Backbone": f"{backbone.get('name', '')}, {frozen}" + (f"; licence {licence}" if licence else ""),
        "Made": f"{card.get('date', '')}, seed {card.get('seed', '?')}" + _took(card.get("training_seconds")),
        "With": f"boxless {card.get('boxless', '')}" + (f", {versions}" if versions else ""),
    }
    return [Fact(title, str(text)) for title, text in told.items() if text]


def training(folder: Path) -> list[dict[str, Any]]:
    """What was written of each epoch, as panels of lines: none if nothing was written, or it cannot be read."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        read = [parse_json(line) for line in lines if line.strip()]
    except (OSError, ValueError):
        return []
    records = [each for each in read if isinstance(each, dict) and isinstance(each.get("epoch"), int)]
    panels = []
    for title, prefix in _PANELS.items():
        names = dict.fromkeys(name for record in records for name in record if name.startswith(prefix))
        lines_of = [_line(records, name, name.removeprefix(prefix) or title) for name in names]
        if lines_of:
            panels.append({"title": title, "lines": lines_of})
    return panels


def _line(records: list[dict[str, Any]], name: str, title: str) -> dict[str, Any]:
    points = [(record["epoch"] + 1, record[name]) for record in records if isinstance(record.get(name), (int, float))]
    return {"name": title, "x": [x for x, _ in points], "y": [round(float(y), 5) for _, y in points]}


def _epoch(selection: Mapping[str, Any]) -> str:
    epoch = selection.get("epoch")
    return "" if epoch is None else f" (epoch {epoch + 1})"


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f", trained for {seconds / 60:.0f} min"
