"""How good a run is on data whose boxes are known. True boxes are read here, and nowhere in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.catalog import Catalog, read_catalog
from boxless.data.masks import Masks, read_masks
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, DataError
from boxless.listener import Listener
from boxless.metrics.boxes import Contours, iou_curves
from boxless.ops.components import default_thresholds
from boxless.predict.localizer import Localizer
from boxless.protocol.absence import Absence
from boxless.protocol.inputs import (
    drawn_by,
    items_of,
    own_data,
    own_pseudo_boxes,
    read_pseudo_boxes,
    true_boxes,
    with_boxes,
)
from boxless.protocol.passes import Mapped, Pass
from boxless.protocol.per_class import PerClass
from boxless.protocol.pixels import pixel_fields
from boxless.protocol.provenance import of_run, own_found_on
from boxless.protocol.report import Report, make_report
from boxless.protocol.scoring import LEVELS, Scoring
from boxless.protocol.threshold import ORACLE, PSEUDO, VALIDATION, Threshold, found, parse_sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.runs import Run
    from boxless.types import Item

    Watch = Callable[[Mapped, Sequence[NDArray[np.float64]]], None]

DEFAULT_PROTOCOL = ("run", ORACLE)
BOX_RULES = {
    "largest": "largest 8-connected component of the map of the true class",
    "all": "the best of all 8-connected components of the map of the true class",
}


def evaluate(
    run: str | Path | Localizer,
    source: str | Path | None = None,
    *,
    split: str = "test",
    protocol: str | Sequence[str] = DEFAULT_PROTOCOL,
    pseudo_boxes: str | Path | None = None,
    masks: str | Path | None = None,
    contours: Contours = "largest",
    replicates: int = 1000,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    trust: bool = False,
    device: str = "auto",
    batch_size: int | None = None,
    listener: Listener | None = None,
    watch: Watch | None = None,
    per_class: bool = False,
) -> Report:
    """Measure a run on a split of labelled data.

    Boxes come from the map of an image's true class (of several, the one that the run scores highest), as MaxBoxAcc
    has it; whether the class was recognised is what top-1 and top-5 localization add.

    Args:
        run: A run folder, or a localizer.
        source: Labelled data of any known format; its boxes and masks, where it has some, are what is measured against.
            By default the data that the run was trained on.
        split: ``train``, ``val`` or ``test``.
        protocol: Where thresholds come from: names of `boxless.protocol.threshold.SOURCES`, or ``all``. ``validation``
            takes the best one on the split ``val`` of the same data.
        pseudo_boxes: A file of boxes of the split ``val``, for ``validation-pseudo``; by default those that the run
            keeps.
        masks: Where the data's true masks are, if not in a usual place; see `boxless.data.masks.read_masks`.
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        replicates: Of the bootstrap that intervals come from; 0 leaves them out.
        format: The format of ``source``.
        images: Where the pictures are, for formats that list them.
        trust: Whether a run's folder may have the code loaded that its recipe names, see `boxless.trust`.
        device: Where to compute, if ``run`` is a folder.
        batch_size: Images in one forward pass.
        listener: Hears of the progress.
        watch: Sees each batch that is measured, and the true boxes of its images, in original pixels.
        per_class: Whether figures of each class are wanted (CorLoc). Frames of videos have them always, and of these
            the bootstrap draws whole videos.

    Raises:
        ConfigError: The data have no such split, a threshold source lacks what it needs, ``validation`` is asked for
            on the split ``val``, where it would be an oracle by another name, or figures by class with all contours.
        UnknownNameError: There is no such threshold source.
        DataError: A class that the run does not know, or data that cannot be read.

    Data without boxes are no error: figures about boxes are then left out, or nan.
    """
    listener = listener or Listener()
    localizer = run if isinstance(run, Localizer) else Localizer.load(run, device=device, trust=trust)
    loaded: Run = localizer.run
    rules = parse_sources(
        protocol, loaded.threshold, own_found_on=own_found_on(loaded), pseudo=pseudo_boxes is not None
    )
    boxes = pseudo_boxes or own_pseudo_boxes(loaded)
    _check(rules, split, pseudo_boxes, boxes)
    if per_class and contours != "largest":
        raise ConfigError("per_class: CorLoc is of one box an image; leave contours=all out.")
    source, format, images = own_data(loaded.recipe, source, format, images)  # noqa: A001
    catalog = read_catalog(source, format=format, images=images, listener=listener)
    work = _Evaluation(loaded, catalog, batch_size or localizer.engine.batch_size, listener)
    items = work.items(split)
    truth = true_boxes(catalog, split, listener)
    found_rules = [work.find(rule, contours, boxes or "") for rule in rules]
    scoring = Scoring(rules, contours=contours, replicates=replicates)
    videos = {item.shot.video for item in items if item.shot}
    wants = per_class or (bool(videos) and contours == "largest")
    sums = _Sums(
        scoring,
        PerClass(loaded.classes, scoring, frames=bool(videos)) if wants else None,
        Absence(truth.absent, localizer.engine, _why_uncalibrated(loaded)) if truth.absent else None,
    )
    without, refused = work.score(items, split, truth, read_masks(catalog, split, masks), sums, watch)
    return make_report(
        str(getattr(loaded, "folder", "") or "run"),
        scoring,
        [with_oracle(rule, scoring, split) for rule in found_rules],
        split=f"split {split}",
        truth_source=truth.source,
        box_rule=BOX_RULES[contours],
        without_box=without,
        refused=refused,
        selected_by=of_run(loaded)[0],
        videos=len(videos),
        per_class=sums.by_class,
        absence=sums.absence,
    )


def _check(rules: Sequence[Threshold], split: str, given: str | Path | None, boxes: str | Path | None) -> None:
    """Refuse threshold sources that lack what they need."""
    if any(rule.source == PSEUDO for rule in rules) and boxes is None:
        raise ConfigError(
            f"protocol: {PSEUDO} needs pseudo-boxes, and the run keeps none; give a file with --pseudo-boxes FILE."
        )
    if given is not None and not any(rule.source == PSEUDO for rule in rules):
        raise ConfigError(f"pseudo_boxes: nothing of the protocol looks at {given}; name {PSEUDO} in it too.")
    if split == "val" and any(rule.source == VALIDATION for rule in rules):
        raise ConfigError(
            f"protocol: on the split val {VALIDATION} would choose with the very boxes that are measured with; "
            f"that is {ORACLE}. Leave {VALIDATION} out, or evaluate another split."
        )


def _why_uncalibrated(run: Run) -> str:
    return str(getattr(run, "card", {}).get("presence_note") or "")


def with_oracle(rule: Threshold, scoring: Scoring, split: str) -> Threshold:
    """The rule, with its thresholds if it is the oracle."""
    if not rule.is_best_here:
        return rule
    return replace(rule, levels=LEVELS, values=scoring.best(), found_on=f"the very boxes of {split}")


@dataclass(frozen=True, slots=True)
class _Sums:
    """What is summed up of a split: what all have, and what only some data or users want."""

    scoring: Scoring
    by_class: PerClass | None
    absence: Absence | None

    def update(self, mapped: Mapped, boxes: Sequence[NDArray[np.float64]], pixels: Mapping[str, Any]) -> None:
        """Add a batch, with the fields of its masks."""
        names = [item.name for item in mapped.items]
        more = {**pixels, **(self.absence.update(mapped, boxes) if self.absence else {})}
        ious = self.scoring.update(names, mapped.maps, boxes, mapped.sizes, mapped.named, more, drawn_by(mapped.items))
        if self.by_class:
            self.by_class.update(mapped.items, ious, mapped.named.first)


class _Evaluation:
    """A run at work on the splits of one data set."""

    def __init__(self, run: Run, catalog: Catalog, batch_size: int, listener: Listener) -> None:
        self.run, self.catalog, self.batch_size, self.listener = run, catalog, batch_size, listener

    def items(self, split: str) -> tuple[Item, ...]:
        """The split's items, their labels as the run counts its classes."""
        return items_of(self.catalog, self.run.classes, split)

    def find(self, rule: Threshold, contours: Contours, boxes: str | Path) -> Threshold:
        """A threshold of the validation split, found there; any other as it is."""
        if rule.source not in (VALIDATION, PSEUDO):
            return rule
        items = self.items("val")
        if rule.source == VALIDATION:
            truth = read_truth(self.catalog, "val")
            source = f"true boxes of split val ({truth.source}, ORACLE)"
        else:
            truth = read_pseudo_boxes(boxes, self.catalog, items)
            source = f"pseudo-boxes of split val ({truth.source})"
        boxed = [item for item in items if item.name in truth.boxes]
        right, count = self._right(boxed, truth, contours)
        if not count:
            raise DataError(
                f"{rule.source}: no image of split val that could be read has a box; nothing to choose with."
            )
        return found(rule, 100.0 * right / count, default_thresholds(), LEVELS, f"{count:,} images with {source}")

    def score(
        self,
        items: Sequence[Item],
        split: str,
        truth: Truth,
        masks: Masks | None,
        sums: _Sums,
        watch: Watch | None = None,
    ) -> tuple[int, list[tuple[str, str]]]:
        """Sum up all figures of a split: how many images had no true box, and what was refused."""
        work = Pass(self.run, self.batch_size)
        without = 0
        self.listener.begin(f"evaluating {split}", len(items))
        for done, mapped in work.over(items):
            if mapped is not None:
                mapped, boxes = with_boxes(mapped, truth, work.refused)
                without += sum(not len(each) for each in boxes)
                names = [item.name for item in mapped.items]
                if names:
                    pixels = pixel_fields(masks, names, mapped.maps, work.refused)
                    sums.update(mapped, boxes, pixels)
                    if watch is not None:
                        watch(mapped, boxes)
            self.listener.advance(done)
        self.listener.end()
        if sums.by_class and (pairs := sums.by_class.pairs()):
            self._score_pairs(pairs, truth, sums.by_class, sums.scoring)
        return without, work.refused

    def _score_pairs(self, pairs: Sequence[Item], truth: Truth, by_class: PerClass, scoring: Scoring) -> None:
        """Look again at images of several classes, for the box of each of these."""
        work = Pass(self.run, self.batch_size, named=False)
        self.listener.begin("evaluating images of several classes, by class", len(pairs))
        for done, mapped in work.over(pairs):
            if mapped is not None:
                mapped, boxes = with_boxes(mapped, truth, work.refused)
                by_class.update(mapped.items, scoring.overlaps(mapped.maps, boxes, mapped.sizes))
            self.listener.advance(done)
        self.listener.end()

    def _right(self, items: Sequence[Item], truth: Truth, contours: Contours) -> tuple[NDArray[np.float64], int]:
        """How many images are right at each level and threshold, and of how many."""
        work = Pass(self.run, self.batch_size, named=False)
        right, count = np.zeros((len(LEVELS), len(default_thresholds()))), 0
        self.listener.begin("finding the threshold on val", len(items))
        for done, mapped in work.over(items):
            if mapped is not None:
                mapped, boxes = with_boxes(mapped, truth, work.refused)
                curves = iou_curves(mapped.maps, boxes, mapped.sizes, contours=contours)
                right += np.stack([(curves >= level).sum(axis=0) for level in LEVELS])
                count += len(curves)
            self.listener.advance(done)
        self.listener.end()
        for name, reason in work.refused:
            self.listener.note(f"{name}: left out of the validation split: {reason}")
        return right, count
