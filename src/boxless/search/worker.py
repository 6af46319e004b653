"""One trial, where Ray runs it: a run like any other, which tells of each epoch and goes on where it was."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from boxless.errors import BoxlessError
from boxless.files import write_json
from boxless.listener import Listener
from boxless.runs import CARD, RECIPE
from boxless.search.ledger import TRIAL, close, locked, read_curve

FIGURE, EPOCHS = "figure", "epochs"  # as Ray hears of them: the best so far, and how many epochs were judged
WORKER = "worker.json"
ORPHAN_SECONDS = 120.0  # within which Ray ends the workers of a search that was killed


@final
class Reporter(Listener):
    """Tells Ray of the epochs that the criterion judges; Ray may end the trial there, its checkpoint being written.

    Args:
        folder: Of the trial.
        stage: The stage that is judged.
        send: Hears of figures.
    """

    def __init__(self, folder: Path, stage: str, send: Callable[[dict[str, float]], None]) -> None:
        self.folder, self.stage, self.send, self.sent = folder, stage, send, -1

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Send the figure, if the epoch has one."""
        self.catch_up()

    def catch_up(self) -> None:
        """Send what is not yet sent: also of epochs that a worker did before it was killed."""
        curve = read_curve(self.folder, self.stage)
        if curve and len(curve) != self.sent:
            self.sent = len(curve)
            self.send({FIGURE: max(curve), EPOCHS: len(curve)})


def run_trial(config: Mapping[str, Any]) -> None:
    """Train by the trial's settings, or go on with it; what ends it is entered in its folder.

    Args:
        config: The trial's ``folder``, that of the ``search``, the ``recipe`` that all start from, the ``stage`` that
            is judged, ``threads``, ``device``, and whether files are to be trusted.
    """
    from ray import tune

    folder = Path(config["folder"])
    reporter = Reporter(folder, config["stage"], tune.report)
    with locked(folder, wait=ORPHAN_SECONDS, busy="another process still works on this trial."):
        if not (folder / CARD).exists():  # else it was killed between its last step and its last word
            write_json(folder / WORKER, {"pid": os.getpid(), "host": platform.node()})
            try:
                _train(config, folder, reporter)
            except Exception as error:  # of a broken trial the others go on
                kind = type(error).__name__ if isinstance(error, BoxlessError) else ""
                close(folder, "failed", str(error) if kind else f"{type(error).__name__}: {error}", kind)
    reporter.catch_up()


def _train(config: Mapping[str, Any], folder: Path, reporter: Reporter) -> None:
    import json

    import torch

    from boxless.api import with_settings
    from boxless.recipe import from_dict
    from boxless.search.prepare import give_boxes
    from boxless.training.session import train
    from boxless.trust import trusting

    torch.set_num_threads(config["threads"])
    drawn = json.loads((folder / TRIAL).read_text(encoding="utf-8"))["settings"]
    recipe = with_settings(from_dict(config["recipe"], str(folder)), drawn)
    give_boxes(Path(config["search"]), folder)
    with trusting(config["trust"]):
        train(recipe, folder, resume=(folder / RECIPE).exists(), device=config["device"], listener=reporter)
