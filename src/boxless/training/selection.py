"""Which weights of a stage are kept: those with the best figure on val at the end of an epoch, or the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from torch import Tensor

from boxless.data.catalog import Catalog
from boxless.data.truth import read_truth
from boxless.methods.base import Method, Stage
from boxless.recipe import Protocol
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.training.validation import box_hits, class_accuracy

if TYPE_CHECKING:
    from boxless.types import Boxes

NAMES = {"classification": "class_accuracy", "localization": "max_box_accuracy"}
CRITERIA = {
    "classification": "class accuracy on val",
    "localization": "MaxBoxAcc on val, by its true boxes (oracle)",
    "last": "last epoch",
}


@dataclass(frozen=True, slots=True)
class Selector:
    """The figure on val that weights are selected by.

    Args:
        rule: As the recipe's ``protocol.select`` says.
        method: What is selected.
        examples: The images of val; there may be none.
        cache: Their features, if they were computed before.
        truth: True boxes by image name, of which ``localization`` alone knows.
        fabric: The processes, each of which looks at its share of the images.
    """

    rule: str
    method: Method
    examples: Examples
    cache: FeatureCache | None
    truth: Mapping[str, Boxes]
    fabric: Fabric

    @property
    def name(self) -> str:
        """What the figure is called in the log."""
        return NAMES[self.rule]

    def judges(self, stage: Stage) -> bool:
        """Whether the figure changes in a stage, and weights can be selected by it."""
        if not len(self.examples):
            return False
        return {"classification": stage.classifies, "localization": stage.localizes}.get(self.rule, False)

    def __call__(self) -> float | None:
        """The figure of the present weights, in per cent; None if no image can tell."""
        share = {"rank": self.fabric.global_rank, "world": self.fabric.world_size}
        device = self.fabric.device
        if self.rule == "classification":
            counts: list[float] = [*class_accuracy(self.method, self.examples, self.cache, device, **share)]
        else:
            hits, seen = box_hits(self.method, self.examples, self.truth, self.cache, device, **share)
            counts = [*hits.tolist(), seen]
        found = self.fabric.all_reduce(torch.tensor(counts, device=device), reduce_op="sum")
        *right, count = found.tolist() if isinstance(found, Tensor) else counts
        return 100.0 * max(right) / count if count else None


def make_selector(
    protocol: Protocol, method: Method, catalog: Catalog, val_set: Examples, cache: FeatureCache | None, fabric: Fabric
) -> Selector:
    """The selector that a recipe asks for.

    Raises:
        MissingTruthError: It asks for true boxes of val, and there are none.
    """
    by_boxes = protocol.select == "localization" and len(val_set) > 0
    truth = read_truth(catalog, "val").boxes if by_boxes else {}
    return Selector(protocol.select, method, val_set, cache, truth, fabric)
