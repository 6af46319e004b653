"""What is known on val of the weights of an epoch: class accuracy, and how well boxes fit each set of boxes there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from boxless.data.images import read_size
from boxless.data.masks import Masks
from boxless.methods.base import Method, Stage
from boxless.metrics._overlap import best_overlaps
from boxless.metrics.boxes import clip_to
from boxless.ops.boxes import scale
from boxless.ops.components import default_thresholds, sweep_batch
from boxless.ops.maps import resize
from boxless.protocol.mask_criterion import MaskFigure
from boxless.recipe import Protocol
from boxless.stream import batched, default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.training.features import FeatureCache
from boxless.training.validation import class_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.types import Boxes, Item

    Floats = NDArray[np.float64]

CLASSIFICATION, LAST, ORACLE, PSEUDO = "classification", "last", "oracle", "pseudo"
FIT = 0.5  # IoU of a box that counts as right: MaxBoxAcc
BATCH = 64
HIGHEST = 0.999  # threshold that a run may have


@dataclass(frozen=True, slots=True)
class BoxSet:
    """Boxes of val that localization is measured with: pseudo-boxes of a source, or the true ones."""

    name: str  # of the source; ORACLE in capitals for true boxes
    boxes: Mapping[str, Boxes]  # by item name, in original pixels; images without any take no part
    supervision: str = ""  # what they were made from besides image labels

    @property
    def is_oracle(self) -> bool:
        """Whether these are true boxes."""
        return self.name == ORACLE.upper()

    @property
    def what(self) -> str:
        """What they are: boxes or masks."""
        return "boxes"

    @property
    def count(self) -> int:
        """How many images have one."""
        return sum(bool(len(boxes)) for boxes in self.boxes.values())

    def __contains__(self, name: str) -> bool:
        """Whether an image has one."""
        return bool(len(self.boxes.get(name, ())))

    @property
    def criterion(self) -> str:
        """The name of what selects by them."""
        return ORACLE if self.is_oracle else f"{PSEUDO}:{self.name}"


@dataclass(frozen=True, slots=True)
class MaskSet(BoxSet):
    """Masks of val that maps are measured with: pseudo-masks, or the true ones."""

    masks: Mapping[str, NDArray[np.bool_]] | Masks = field(default_factory=dict)  # by item name

    @property
    def what(self) -> str:
        """Masks; see :class:`BoxSet`."""
        return "masks"

    @property
    def count(self) -> int:
        """How many images have one."""
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        """Whether an image has one."""
        return name in self._names

    @property
    def _names(self) -> Collection[str]:
        return self.masks.names if isinstance(self.masks, Masks) else self.masks.keys()


def primary_of(sets: Sequence[BoxSet]) -> BoxSet | None:
    """The pseudo-boxes that select and give the threshold: the first set that is no oracle."""
    return next((each for each in sets if not each.is_oracle), None)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well maps fit a set of boxes or masks, each figure at the threshold that is best for it."""

    figures: Mapping[str, float]  # by measure: mean IoU, a fraction, and MaxBoxAcc; or PxAP; accuracies in per cent
    threshold: float  # the best by the measure of the protocol


@dataclass(frozen=True, slots=True)
class Look:
    """The figures of one epoch."""

    measure: str
    class_accuracy: float | None  # in per cent
    fits: Mapping[str, Fit]  # by criterion

    def value(self, criterion: str) -> float | None:
        """The figure of a criterion; None if it has none."""
        if criterion == CLASSIFICATION:
            return self.class_accuracy
        fit = self.fits.get(criterion)
        return None if fit is None else fit.figures[self.measure]

    def thresholds(self) -> dict[str, float]:
        """The best threshold on each set of boxes, by criterion."""
        return {name: fit.threshold for name, fit in self.fits.items()}

    def record(self) -> dict[str, float]:
        """The figures as the journal names them."""
        found: dict[str, float] = {}
        if self.class_accuracy is not None:
            found["val/class_accuracy"] = self.class_accuracy
        for criterion, fit in self.fits.items():
            name = criterion.removeprefix(f"{PSEUDO}:") if criterion != ORACLE else ORACLE.upper()
            found |= {f"val/{measure}/{name}": value for measure, value in fit.figures.items()}
            found[f"val/threshold/{name}"] = fit.threshold
        return found


Best = Mapping[str, Mapping[str, Any]]  # by criterion: value, epoch, and the thresholds of that epoch


@dataclass(frozen=True, slots=True)
class Tracker:
    """Looks at val at the end of each epoch, and knows which criterion has the say in a stage.

    Args:
        protocol: Of the recipe.
        method: What is looked at.
        examples: The images of val; there may be none.
        cache: Their features, if they were computed before.
        sets: The boxes to measure with; the first that is no oracle selects.
        fabric: The processes, each of which looks at its share of the images.
    """

    protocol: Protocol
    method: Method
    examples: Examples
    cache: FeatureCache | None
    sets: Sequence[BoxSet]
    fabric: Fabric
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def sizes(self, boxes: BoxSet) -> dict[str, tuple[int, int]]:
        """(width, height) of the images that have a box in a set and could be read, by name."""
        items = (item for place, item in enumerate(self.examples.items) if place not in self.examples.refused)
        return {item.name: self._size(item) for item in items if item.name in boxes}

    def judged(self, stage: Stage) -> tuple[str, ...]:
        """The criteria whose figures change in a stage; the last epoch is always one."""
        if not len(self.examples):
            return (LAST,)
        by_boxes = [each.criterion for each in self.sets] if stage.localizes else []
        return (*([CLASSIFICATION] if stage.classifies else []), *by_boxes, LAST)

    def ruling(self, stage: Stage) -> str:
        """The criterion by which a stage's weights are selected: what the recipe asks for, or what comes nearest."""
        wanted = self.protocol.select
        primary = primary_of(self.sets)
        named = primary.criterion if wanted == PSEUDO and primary else wanted
        order = (LAST,) if wanted == LAST else (named, CLASSIFICATION, LAST)
        return next(each for each in order if each in self.judged(stage))

    def look(self, stage: Stage) -> Look:
        """The figures of the present weights."""
        judged = self.judged(stage)
        share = {"rank": self.fabric.global_rank, "world": self.fabric.world_size}
        right = count = 0
        if CLASSIFICATION in judged:
            right, count = class_accuracy(self.method, self.examples, self.cache, self.fabric.device, **share)
        sums = [np.zeros(self._length(each)) for each in self.sets]
        if any(each.criterion in judged for each in self.sets):
            sums = self._localized(sums, **share)
        flat = torch.from_numpy(np.concatenate([[right, count], *sums])).to(_exact(self.fabric.device))
        found = self.fabric.all_reduce(flat, reduce_op="sum")
        values = (found if isinstance(found, Tensor) else flat).cpu().double().numpy()
        ends = np.cumsum([2, *(len(each) for each in sums)])
        fits = {}
        for each, start, end in zip(self.sets, ends, ends[1:], strict=False):
            fit = self._fit(each, values[start:end]) if each.criterion in judged else None
            if fit is not None:
                fits[each.criterion] = fit
        return Look(self.protocol.measure, 100.0 * values[0] / values[1] if values[1] else None, fits)

    def better(self, best: Best, look: Look, stage: Stage, epoch: int) -> dict[str, Mapping[str, Any]]:
        """The best epoch of each criterion, now that one more is known; of equals the latest."""
        found = dict(best)
        for criterion in self.judged(stage):
            value = look.value(criterion)
            old = best.get(criterion, {}).get("value")
            if criterion == LAST or (value is not None and (old is None or value >= old)):
                found[criterion] = {"value": value, "epoch": epoch, "thresholds": look.thresholds()}
        return found

    def _length(self, boxes: BoxSet) -> int:
        """Of what is summed up over images for a set."""
        if isinstance(boxes, MaskSet):
            return len(MaskFigure({}, (1, 1)).sums())
        return 1 + 2 * len(default_thresholds())

    def _fit(self, boxes: BoxSet, sums: Floats) -> Fit | None:
        """The figures of a set, from its sums over images; None if none took part. Of equal thresholds the lowest."""
        if isinstance(boxes, MaskSet):
            precision, at = MaskFigure.figure(sums)
            return None if np.isnan(precision) else Fit({"pxap": precision}, round(min(at, HIGHEST), 3))
        if not sums[0]:
            return None
        right, ious = sums[1:].reshape(2, -1) / sums[0]
        chosen = right if self.protocol.measure == "box_accuracy" else ious
        at = float(default_thresholds()[int(chosen.argmax())])
        return Fit({"iou": float(ious.max()), "box_accuracy": 100.0 * float(right.max())}, round(at, 3))

    @torch.no_grad()  # not inference_mode: methods may take gradients inside
    def _localized(self, sums: list[Floats], *, rank: int, world: int) -> list[Floats]:
        """What is summed up over a process' share of the images, for each set.

        Images are decoded also where features are at hand, since some methods' maps need both.
        """
        method, examples, device = self.method, self.examples, self.fabric.device
        mode, side = method.training, examples.preprocess.size
        method.eval()
        masks = [MaskFigure(each.masks, (side, side)) if isinstance(each, MaskSet) else None for each in self.sets]
        shown = ordered_map(
            lambda i: (i, examples.attempt(i, examples.plain)),
            [i for i in range(rank, len(examples), world) if any(examples.items[i].name in each for each in self.sets)],
            workers=default_workers(),
            ahead=2 * BATCH,
        )
        for chunk in batched(((i, image) for i, image in shown if image is not None), BATCH):
            rows = [i for i, _ in chunk]
            images = torch.stack([image for _, image in chunk]).to(device, memory_format=torch.channels_last)
            features = None if self.cache is None else self.cache.read(rows, [False] * len(rows), device)
            with nullcontext() if features is None else method.backbone.replay(images, features):
                maps = method.localize(images, examples.labels[rows, None].to(device)).maps.float()
            large = torch.nan_to_num(resize(maps, (side, side))[:, 0]).clamp(0, 1).cpu().numpy()
            self._add_boxes(large, rows, sums)
            for figure in masks:
                if figure is not None:
                    figure.update([examples.items[i].name for i in rows], large)
        method.train(mode)
        return [each if figure is None else figure.sums() for each, figure in zip(sums, masks, strict=True)]

    def _size(self, item: Item) -> tuple[int, int]:
        if item.name not in self._sizes:
            self._sizes[item.name] = read_size(item.path)
        return self._sizes[item.name]

    def _add_boxes(self, maps: NDArray[np.float32], rows: Sequence[int], sums: list[Floats]) -> None:
        """Sweep maps (n, h, w) once, and measure their boxes with each set of boxes."""
        grid = (maps.shape[2], maps.shape[1])
        if all(isinstance(each, MaskSet) for each in self.sets):
            return

        def one(place: int) -> list[Floats | None]:
            item = self.examples.items[rows[place]]
            size = self._size(item)
            boxes = scale(sweep_batch(maps[place : place + 1])[0][0], grid, size)
            trues = [each.boxes.get(item.name) for each in self.sets]
            return [
                None if true is None or not len(true) else best_overlaps(boxes, clip_to(true, size, item.name), 0.0)
                for true in trues
            ]

        workers = default_workers()
        for overlaps in ordered_map(one, range(len(rows)), workers=workers, ahead=2 * workers):
            for number, ious in enumerate(overlaps):
                if ious is not None:
                    sums[number] += np.concatenate([[1], ious >= FIT, ious])


def _exact(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
