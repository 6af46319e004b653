"""Trials as files, without a training behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from boxless.search.ledger import Ledger, Trial, close

STAGE = "training"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "search", STAGE)


@pytest.fixture
def enter(ledger: Ledger) -> Callable[..., Trial]:
    """Enters a trial with a curve, at its end or not."""

    def make(settings: dict[str, Any], curve: Sequence[float] = (), state: str = "waiting", **ending: Any) -> Trial:
        trial = ledger.add(settings)
        lines = [json.dumps({"epoch": epoch, "loss/x": 1.0, "select": value}) for epoch, value in enumerate(curve)]
        (trial.folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if state == "finished":
            write_card(trial.folder, max(curve), **ending)
        elif state != "waiting":
            close(trial.folder, state, **ending)  # type: ignore[arg-type]
        return ledger.read(trial.folder)

    return make


def write_card(folder: Path, value: float, by: str = "pseudo:spectral") -> None:
    selection = {"criterion": "in words", "by": by, "measure": "iou", "value": value, "epoch": 0}
    card = {"selection": selection, "training_seconds": 12.5, "threshold": {"rule": 0.3, "source": "found on val"}}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "recipe.yaml").write_text("version: 1\n")
