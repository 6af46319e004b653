"""What the weights of a run find on a split, measured once: of each image the IoU at every threshold.

It is kept in the run folder, so that any table is made again without looking at an image. What it depends on is in the
file's name: weights, recipe, images, true boxes and the rule for boxes. Images that could not be read are kept as such.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boxless.data.catalog import Catalog
from boxless.data.truth import Truth
from boxless.errors import RunError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.metrics.boxes import Contours
from boxless.metrics.drawn import draw
from boxless.protocol.inputs import drawn_by, items_of, with_boxes
from boxless.protocol.passes import Pass
from boxless.protocol.scoring import LEVELS, Scoring
from boxless.protocol.threshold import OTSU, Threshold
from boxless.protocol.transfer import KEPT, highest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.runs import Run
    from boxless.types import Item

FOLDER = "evaluations"
VERSION = 1  # of the files
_ARRAYS = ("overlaps", "highest", "right_class")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The figures of each image that could be read, before any mean is taken."""

    names: tuple[str, ...]
    # (n, 1 + t) float16: the IoU at Otsu's threshold, then at each of the sweep; a row of nan without a true box. A
    # value lies on the same side of 0.3, 0.5 and 0.7 as before it was rounded.
    overlaps: NDArray[np.float16]
    # (4, 1 + KEPT) float64: `boxless.protocol.transfer.highest` of the images with a true box.
    highest: NDArray[np.float64]
    right_class: NDArray[np.bool_]  # (n,) whether the first class is right
    refused: tuple[tuple[str, str], ...] = ()  # (name, reason)
    videos: tuple[str, ...] = ()  # of each image its video, by which the bootstrap draws; none of plain images

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """Which images have a true box, (n,)."""
        known: NDArray[np.bool_] = ~np.isnan(self.overlaps[:, 0])
        return known

    def draw(self, replicates: int) -> NDArray[np.float32]:
        """How often each of them counts, from `boxless.metrics.drawn.draw`."""
        drawn_by = zip(self.videos or self.names, self.boxed, strict=True)
        return draw([name for name, known in drawn_by if known], replicates)


@dataclass(slots=True)
class Evaluator:
    """Measures runs on one split, or finds what was measured before.

    Args:
        catalog: The data.
        split: Of the data.
        truth: The true boxes of the split.
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        device: Where to compute.
        batch_size: Images in one forward pass; None for what suits the device.
        listener: Hears of the progress.
    """

    catalog: Catalog
    split: str
    truth: Truth
    contours: Contours = "largest"
    device: str = "auto"
    batch_size: int | None = None
    listener: Listener = field(default_factory=Listener)
    _files: dict[Path, str] = field(default_factory=dict)  # digests of weights

    def __call__(self, folder: Path, classes: Sequence[str], criterion: str, weights: str) -> Evaluation:
        """The evaluation of the weights that a criterion selected.

        Args:
            folder: The run's.
            classes: The run's.
            criterion: One of those on the run's card.
            weights: The file in the run folder that holds what it selected.
        """
        items = items_of(self.catalog, classes, self.split)
        path = folder / FOLDER / f"{self._digest(folder, weights, items)}.npz"
        if found := read_evaluation(path):
            return found
        from boxless.runs import open_run

        made = self._measure(open_run(folder, self.device, criterion=criterion), items)
        try:
            write_evaluation(path, made)
        except RunError as error:
            self.listener.note(f"{error} So the next table measures these weights again.")
        return made

    def _digest(self, folder: Path, weights: str, items: Sequence[Item]) -> str:
        """Of all that decides an evaluation; a frozen backbone is in the run's own weights alone, so they count too."""
        from boxless.runs import RECIPE, WEIGHTS

        files = [self._file(folder / name) for name in dict.fromkeys((WEIGHTS, weights, RECIPE))]
        told = [VERSION, self.contours, list(LEVELS), files, [_facts(item, self.truth) for item in items]]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def _file(self, path: Path) -> str:
        if path not in self._files:
            try:
                with path.open("rb") as file:
                    self._files[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise RunError(f"{path}: cannot be read ({error.strerror}); the run is damaged.") from error
        return self._files[path]

    def _measure(self, run: Run, items: Sequence[Item]) -> Evaluation:
        from boxless.predict.localizer import Localizer

        work = Pass(run, self.batch_size or Localizer(run).engine.batch_size, named=False)
        scoring = Scoring([Threshold(OTSU)], contours=self.contours, replicates=0)
        names: list[str] = []
        videos: list[str] = []
        overlaps, right = [np.zeros((0, 1 + len(scoring.thresholds)), np.float16)], [np.zeros(0, np.bool_)]
        self.listener.begin(f"evaluating {Path(run.folder).name}, {self.split}", len(items))
        for done, mapped in work.over(items):
            if mapped is not None:
                mapped, boxes = with_boxes(mapped, self.truth, work.refused)
                names += [item.name for item in mapped.items]
                videos += drawn_by(mapped.items)
                if mapped.items:
                    overlaps.append(_halved(scoring.overlaps(mapped.maps, boxes, mapped.sizes)))
                    right.append(mapped.named.first)
            self.listener.advance(done)
        self.listener.end()
        videos = videos if any(item.shot for item in items) else []
        return make_evaluation(names, np.concatenate(overlaps), np.concatenate(right), work.refused, videos)


def make_evaluation(
    names: Sequence[str],
    overlaps: NDArray[np.float16],
    right_class: NDArray[np.bool_],
    refused: Sequence[tuple[str, str]] = (),
    videos: Sequence[str] = (),
) -> Evaluation:
    """The evaluation of these images; arguments as its fields."""
    kept = np.zeros((0, 0))
    made = Evaluation(tuple(names), overlaps, kept, right_class, tuple(refused), tuple(videos))
    return replace(made, highest=highest(overlaps[made.boxed, 1:].astype(np.float32), made.draw(KEPT)))


def read_evaluation(path: Path) -> Evaluation | None:
    """What was kept; None if nothing was, or if it cannot be read and has to be measured again."""
    try:
        with np.load(path, allow_pickle=False) as found:
            told = json.loads(str(found["told"]))
            refused = tuple((name, reason) for name, reason in told["refused"])
            overlaps, best, right_class = (found[name] for name in _ARRAYS)
            videos = tuple(told.get("videos", ()))
            return Evaluation(tuple(told["names"]), overlaps, best, right_class, refused, videos)
    except Exception:  # a damaged archive makes zipfile and numpy raise nearly anything
        return None


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation, whole or not at all.

    Raises:
        RunError: The folder cannot be written to.
    """
    told = json.dumps({name: getattr(evaluation, name) for name in ("names", "refused", "videos")})
    with atomic_write(path, "wb") as file:
        arrays = {name: getattr(evaluation, name) for name in _ARRAYS}
        np.savez_compressed(file, told=np.array(told), **arrays)


def _facts(item: Item, truth: Truth) -> list[object]:
    """What an image is known by: another file of that name has another size or time."""
    try:
        seen = item.path.stat()
        stamp: Iterable[int] = (seen.st_size, seen.st_mtime_ns)
    except OSError:
        stamp = ()
    boxes = truth.boxes.get(item.name)
    video = [item.shot.video] if item.shot else []
    return [item.name, list(item.labels), list(stamp), None if boxes is None else boxes.tolist(), *video]


def _halved(ious: NDArray[np.float64]) -> NDArray[np.float16]:
    """As float16, each on its side of every level."""
    rounded: NDArray[np.float16] = ious.astype(np.float16)
    for level in LEVELS:
        above = rounded.astype(np.float64) >= level  # float16 would round the level too
        wrong = above != (ious >= level)
        towards = np.where(above, 0, 1).astype(np.float16)
        rounded = np.where(wrong, np.nextafter(rounded, towards), rounded)
    return rounded
