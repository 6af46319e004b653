"""How good a run is on data whose boxes are known. True boxes are read here, and nowhere in training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.images import read_image
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, DataError, MissingTruthError
from boxless.listener import Listener
from boxless.metrics.baselines import centred_boxes, whole_image_boxes
from boxless.metrics.localization import LocalizationAccumulator, LocalizationScores, box_accuracy
from boxless.ops.components import default_thresholds, largest_boxes, sweep_batch
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.localizer import Localizer
from boxless.runs import Run
from boxless.stream import batched, default_workers, ordered_map
from boxless.types import Item

IOU = 0.5
CENTRED_SIDE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The figures of a run on one split, each with what it rests on."""

    scores: LocalizationScores
    baselines: Mapping[str, float]  # box accuracy, per cent, of boxes that look at no pixel
    split: str
    threshold: str  # the run's own rule
    truth_source: str
    refused: tuple[tuple[str, str], ...]  # (name, reason) of images that could not be read

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and note of each figure, for a table."""
        s, at = self.scores, f"IoU {IOU}"
        oracle = f"ORACLE: best threshold {_number(s.oracle_threshold, 3)}, found with these very boxes"
        own = f"at the run's own threshold ({self.threshold})"
        rows = [
            (f"MaxBoxAcc, {at}", _percent(s.max_box_accuracy), oracle),
            (f"box accuracy, {at}", _percent(s.box_accuracy), f"true class given, {own}"),
            ("top-1 localization", _percent(s.top1_localization), f"class and box right, {own}"),
            ("top-5 localization", _percent(s.top5_localization), "class among the first five and box right"),
            ("mean IoU", _number(s.mean_iou, 3), f"true class given, {own}"),
            ("class accuracy", _percent(s.top1_class), f"top-5: {_percent(s.top5_class)}"),
        ]
        rows += [
            (f"baseline: {name}", _percent(value), f"box accuracy, {at}") for name, value in self.baselines.items()
        ]
        without = f", {s.without_box} of them without a true box" if s.without_box else ""
        return [*rows, ("images", str(s.count), f"split {self.split}{without}")]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; a figure that no image gave is null."""
        scores = {key: _plain(value) for key, value in asdict(self.scores).items()}
        return {
            "split": self.split,
            "box_rule": "largest 8-connected component of the map of the true class",
            "threshold": {"rule": self.threshold, "oracle_source": "oracle-test"},
            "truth": self.truth_source,
            "scores": scores,
            "baselines": {key: _plain(value) for key, value in self.baselines.items()},
            "refused": dict(self.refused),
        }


def evaluate(
    run: str | Path | Localizer,
    source: str | Path,
    *,
    split: str = "test",
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    listener: Listener | None = None,
) -> Report:
    """Measure a run on a split of labelled data.

    Boxes come from the map of an image's true class (of several, the one that the run scores highest), as MaxBoxAcc
    has it; whether the class was recognised is what top-1 and top-5 localization add.

    Args:
        run: A run folder, or a localizer.
        source: Labelled data of any known format; its boxes, where it has some, are what is measured against.
        split: ``train``, ``val`` or ``test``.
        format: The format of ``source``.
        images: Where the pictures are, for formats that list them.
        device: Where to compute, if ``run`` is a folder.
        batch_size: Images in one forward pass.
        listener: Hears of the progress.

    Raises:
        ConfigError: The data have no such split.
        DataError: A class that the run does not know, or data that cannot be read.

    Data without boxes are no error: the figures about boxes are then nan.
    """
    listener = listener or Listener()
    localizer = run if isinstance(run, Localizer) else Localizer.load(run, device=device)
    loaded: Run = localizer.run
    catalog = read_catalog(source, format=format, images=images, listener=listener)
    items = _items(catalog, split, loaded.classes)
    try:
        truth = read_truth(catalog, split)
    except MissingTruthError as error:
        listener.note(f"{error} Until then only classes are measured.")
        truth = Truth({}, "none")
    work = _Evaluation(loaded, truth, batch_size or localizer.default_batch_size())
    listener.begin(f"evaluating {split}", len(items))
    for done in work.run(items):
        listener.advance(done)
    listener.end()
    threshold = loaded.threshold if isinstance(loaded.threshold, str) else f"{loaded.threshold:g}"
    return Report(work.scores.compute(), work.baselines(), split, threshold, truth.source, tuple(work.refused))


class _Evaluation:
    """Batches of images against their true boxes; keeps no map and no image."""

    def __init__(self, run: Run, truth: Truth, batch_size: int) -> None:
        self.run_record, self.truth, self.batch_size = run, truth, batch_size
        self.thresholds = default_thresholds()
        self.scores = LocalizationAccumulator(self.thresholds, IOU)
        self.refused: list[tuple[str, str]] = []
        self._sizes: list[tuple[int, int]] = []
        self._boxes: list[NDArray[np.float64]] = []

    def run(self, items: Sequence[Item]) -> Iterator[int]:
        """Evaluate the items, yielding how many were done with since the last time."""
        decoded = ordered_map(self._decode, items, workers=default_workers(), ahead=2 * self.batch_size)
        for batch in batched(decoded, self.batch_size):
            good = [each for each in batch if each[1] is not None]
            if good:
                self._add(
                    [item for item, _, _ in good], [t for _, t, _ in good if t is not None], [s for *_, s in good]
                )
            yield len(batch)

    def baselines(self) -> dict[str, float]:
        """Box accuracy of boxes that look at no pixel, on the same images."""
        sizes = np.array(self._sizes, dtype=np.float64).reshape(-1, 2)
        return {
            f"centred box, side {CENTRED_SIDE}": box_accuracy(centred_boxes(sizes, CENTRED_SIDE), self._boxes, IOU),
            "whole image": box_accuracy(whole_image_boxes(sizes), self._boxes, IOU),
        }

    def _decode(self, item: Item) -> tuple[Item, Tensor | None, tuple[int, int]]:
        preprocess = self.run_record.preprocess
        try:
            image, size = read_image(item.path, shrink_to=preprocess.size)
        except DataError as error:
            self.refused.append((item.name, str(error)))
            return item, None, (0, 0)
        return item, preprocess(image), size

    @torch.no_grad()  # not inference_mode: methods may take gradients inside
    def _add(self, items: Sequence[Item], tensors: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> None:
        run = self.run_record
        images = torch.stack(list(tensors)).to(run.device, memory_format=torch.channels_last)
        labels = [list(item.labels) for item in items]
        first = torch.tensor([each[0] for each in labels], device=run.device)[:, None]
        said = run.method.localize(images, first)
        logits = said.logits.double().cpu().numpy()
        if any(len(each) > 1 for each in labels):
            best = [each[int(logits[i, each].argmax())] for i, each in enumerate(labels)]
            said = run.method.localize(images, torch.tensor(best, device=run.device)[:, None])
        side = run.preprocess.size
        maps = resize(said.maps.float(), (side, side))[:, 0].clamp(0, 1).cpu().numpy()
        swept, _ = sweep_batch(maps, self.thresholds)
        own, _ = largest_boxes(maps, self._own_thresholds(maps))
        scale = np.array([[w, h, w, h] for w, h in sizes], dtype=np.float64) / side
        boxes = [self.truth.boxes.get(item.name, np.zeros((0, 4))) for item in items]
        self.scores.update(swept * scale[:, None], own * scale, logits, labels, boxes)
        self._sizes += sizes
        self._boxes += boxes

    def _own_thresholds(self, maps: NDArray[np.float32]) -> NDArray[np.float64]:
        threshold = self.run_record.threshold
        return otsu_thresholds(maps) if isinstance(threshold, str) else np.full(len(maps), threshold)


def _items(catalog: Catalog, split: str, classes: Sequence[str]) -> tuple[Item, ...]:
    """The split's items, their labels as the run counts its classes."""
    if not catalog.splits.get(split):
        known = ", ".join(name for name, items in catalog.splits.items() if items)
        raise ConfigError(f"split {split!r}: {catalog.root} has no images in it; it has {known}.")
    unknown = sorted(set(catalog.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{catalog.root}: the run does not know the class {', '.join(map(repr, unknown))}; it knows "
            f"{', '.join(classes)}. Leave those images out, or train with them."
        )
    place = [classes.index(name) for name in catalog.classes]
    return tuple(replace(item, labels=tuple(place[label] for label in item.labels)) for item in catalog.splits[split])


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f} %"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value
