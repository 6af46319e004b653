"""The last thing that training learns: to tell whether there is anything to find, from val's pseudo-boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from boxless.data.catalog import Catalog
from boxless.errors import DataError
from boxless.listener import Listener
from boxless.methods.base import Method
from boxless.predict.presence import calibrate
from boxless.predict.torch_engine import TorchEngine
from boxless.recipe import Recipe
from boxless.runs import Run
from boxless.training.examples import Examples
from boxless.training.selection import Settled
from boxless.training.tracking import primary_of

NONE = "no pseudo-boxes of val were made, and no box says what an image without an object looks like"


def learn_presence(
    recipe: Recipe,
    catalog: Catalog,
    method: Method,
    settled: Settled,
    val_set: Examples,
    folder: Path,
    listener: Listener,
) -> dict[str, Any]:
    """What the card says of it: ``presence``, which is None where it cannot be learnt, and then why.

    Args:
        recipe: Of the run.
        catalog: The data.
        method: With the weights that the run keeps.
        settled: The sets of pseudo-boxes, and the threshold.
        val_set: The images of val.
        folder: Of the run.
        listener: Hears of the progress.
    """
    primary = primary_of(settled.sets)
    if primary is None or primary.what != "boxes":
        return {"presence": None, "presence_note": NONE}
    device = next(iter(method.parameters()), torch.empty(0)).device
    rule, training = settled.threshold()["rule"], method.training
    run = Run(
        folder, recipe, {}, tuple(catalog.classes), method.eval(), val_set.preprocess, rule,
        catalog.multi_label, device, digest="",
    )  # fmt: skip
    examples = [(item.path, primary.boxes[item.name]) for item in val_set.items if item.name in primary]
    try:
        return {"presence": calibrate(TorchEngine(run), examples, listener)}
    except DataError as error:
        return {"presence": None, "presence_note": str(error)}
    finally:
        method.train(training)
