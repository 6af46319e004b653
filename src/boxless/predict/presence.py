"""Whether there is anything to find: a calibrated probability, from what the network says of an image.

A classifier names one of its classes whatever it is shown. What it says of an image without any of them is less sure
and less local, so a logistic regression on a few figures of its class scores and its map tells the two apart. It learns
from val without a true box: an image in which the run's box agrees with the pseudo-box shows something, and what lies
outside of pseudo-boxes, with some room, shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.images import read_image
from boxless.errors import DataError, RunError
from boxless.files import write_json
from boxless.listener import Listener
from boxless.ops.boxes import iou, scale
from boxless.ops.components import largest_boxes
from boxless.ops.otsu import otsu_thresholds
from boxless.stream import batched, default_workers, ordered_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.predict.engine import Engine
    from boxless.types import Boxes

    Floats = NDArray[np.float64]
    View = NDArray[np.uint8]

RECALL = 0.95  # part of what the run finds on val that abstaining keeps
FIT = 0.5  # IoU of the run's box with a pseudo-box from which on it counts as found
GAP = 0.1  # room left around a pseudo-box, as a part of its sides: it may be too small
ROOM = 0.2  # least side of what lies beside it, as a part of the image's
LEAST = 50  # views of either kind, to learn anything from
MOST = 2000  # images of val that are looked at: a draw from more
_STEPS = 25  # of Newton's method, which needs about 8
_RIDGE = 1.0  # pull of the weights towards 0, beside sums over views

FEATURES = (
    "highest class score",
    "energy",  # log of the sum of the exponentials of class scores (Liu et al., NeurIPS 2020)
    "lead over the second class",
    "entropy of the classes",
    "map's peak",
    "contrast of foreground and background",
    "area of the foreground",
    "part of it in one piece",
)


def measure(logits: Floats, maps: NDArray[np.float32], thresholds: Floats) -> Floats:
    """The figures of `FEATURES` for each image, (b, f).

    Args:
        logits: (b, k) class scores.
        maps: (b, h, w) of the predicted class, finite, in [0, 1].
        thresholds: (b,) fractions of each map's maximum.
    """
    scores = np.sort(np.asarray(logits, np.float64), axis=1)
    top = scores[:, -1]
    shifted = scores - top[:, None]
    total = np.exp(shifted).sum(1)
    shares = np.exp(shifted) / total[:, None]
    entropy = np.log(total) - (shares * shifted).sum(1)
    lead = top - scores[:, -2] if scores.shape[1] > 1 else np.zeros_like(top)
    flat = np.asarray(maps, np.float64).reshape(len(maps), -1)
    peak = flat.max(1)
    above = flat > (thresholds * peak)[:, None]
    area = above.mean(1)
    inner = np.where(above, flat, 0).sum(1) / np.maximum(above.sum(1), 1)
    outer = np.where(above, 0, flat).sum(1) / np.maximum((~above).sum(1), 1)
    _, largest = largest_boxes(maps, thresholds)
    one = largest / np.maximum(above.sum(1), 1)
    return np.stack([top, top + np.log(total), lead, entropy, peak, inner - outer, area, one], 1)


@dataclass(frozen=True, slots=True)
class Presence:
    """What tells whether there is anything to find, as the card of a run keeps it."""

    features: tuple[str, ...]
    mean: tuple[float, ...]  # of each feature in what it was learnt from
    scale: tuple[float, ...]  # standard deviation of each; 1 where it does not vary
    weights: tuple[float, ...]  # of the standardised features
    bias: float
    least: float  # the probability that `recall` of val's found objects reach
    recall: float
    positives: int  # views with an object that it was learnt from
    negatives: int  # views without
    false: float  # part of these negatives that reach `least`

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Presence:
        """From a card's mapping.

        Raises:
            RunError: It is of another version, or damaged.
        """
        try:
            row = ("features", "mean", "scale", "weights")
            given: dict[str, Any] = {name: tuple(value) if name in row else value for name, value in card.items()}
            made = cls(**given)
            sound = made.features == FEATURES and all(len(getattr(made, name)) == len(FEATURES) for name in row)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise RunError(
                "the run's calibration of presence is damaged or of another version of boxless; make it again with "
                "boxless.predict.presence.calibrate_run(RUN)."
            )
        return made

    def to_dict(self) -> dict[str, Any]:
        """As the card keeps it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def probability(self, logits: Floats, maps: NDArray[np.float32], thresholds: Floats) -> Floats:
        """That there is something to find, (b,): arguments as of `measure`."""
        figures = (measure(logits, maps, thresholds) - self.mean) / self.scale
        return _logistic(figures @ np.array(self.weights) + self.bias)


def calibrate(
    engine: Engine, examples: Sequence[tuple[Path, Boxes]], listener: Listener | None = None
) -> dict[str, Any]:
    """Learn to tell, from images of val and their pseudo-boxes: the mapping for the card of a run.

    With an object are the images in which the run's box has an IoU of ``FIT`` or more with a pseudo-box. Without one is
    what lies beside the pseudo-boxes, cut as large as there is room. Both are shown at the size of the network's input,
    as any image is.

    Args:
        engine: The run.
        examples: Files of val, and the pseudo-boxes of each in pixels of the upright image; files that cannot be read
            take no part.
        listener: Hears of the progress.

    Raises:
        DataError: Fewer than ``LEAST`` views of either kind are left.
    """
    listener = listener or Listener()
    drawn = [each for each in examples if len(each[1])]
    _check_enough(len(drawn), "images of val have a pseudo-box")
    if len(drawn) > MOST:
        drawn = [drawn[place] for place in np.random.default_rng(0).choice(len(drawn), MOST, replace=False)]
    listener.begin("learning when there is nothing to find", len(drawn))
    shown, empty = [np.zeros((0, len(FEATURES)))], [np.zeros((0, len(FEATURES)))]
    found = ordered_map(lambda each: _views(engine, *each), drawn, workers=default_workers(), ahead=64)
    for chunk in batched(found, engine.batch_size):
        looks = [each for each in chunk if each is not None]
        wholes, beside = [each.whole for each in looks], [each.beside for each in looks if each.beside is not None]
        if wholes:
            figures, boxes = _look(engine, wholes)
            fits = [iou(box[None], each.boxes).max() >= FIT for box, each in zip(boxes, looks, strict=True)]
            shown.append(figures[np.array(fits)])
        if beside:
            empty.append(_look(engine, beside)[0])
        listener.advance(len(chunk))
    listener.end()
    return _fitted(np.concatenate(shown), np.concatenate(empty)).to_dict()


def calibrate_run(
    folder: str | Path, data: str | Path | None = None, *, device: str = "auto", trust: bool = False
) -> dict[str, Any]:
    """Give a finished run what `calibrate` learns, from its own pseudo-boxes of val: for runs that have none yet.

    Args:
        folder: Of the run; its card is rewritten, whole or not at all.
        data: What it was trained on, if that is not where it was.
        device: Where it runs.
        trust: Whether a recipe that names code may have it loaded, which runs it.

    Returns:
        What the card says under ``presence`` now.

    Raises:
        RunError: The folder is no finished run, or has no pseudo-boxes of val.
        DataError: They are too few, or the data cannot be read.
    """
    from boxless.data.catalog import read_catalog
    from boxless.predict.torch_engine import TorchEngine
    from boxless.runs import CARD, open_run, read_card
    from boxless.training.val_boxes import FOLDER, name_of, read_boxes

    run = open_run(folder, device, trust=trust)
    sources = run.recipe.protocol.boxes
    kept = [run.folder / FOLDER / f"{name_of(each)}.csv" for each in sources if not isinstance(sources, str)]
    if not kept or not kept[0].exists():
        raise RunError(f"{folder}: the run has no pseudo-boxes of val; train again with --pseudo-boxes to have them.")
    settings = run.recipe.data
    catalog = read_catalog(data or settings.source, format=settings.format, images=settings.images)
    boxes = read_boxes(kept[0])
    found = [(item.path, boxes[item.name]) for item in catalog.splits.get("val", ()) if item.name in boxes]
    presence = calibrate(TorchEngine(run), found)
    card = {key: value for key, value in read_card(run.folder).items() if key != "presence_note"}
    write_json(run.folder / CARD, card | {"presence": presence})
    return presence


@dataclass(frozen=True, slots=True)
class _Views:
    """Of one image."""

    whole: View  # (s, s, 3)
    boxes: Boxes  # pseudo-boxes in pixels of ``whole``
    beside: View | None  # (s, s, 3) what lies beside them, if there is room


def _views(engine: Engine, path: Path, boxes: Boxes) -> _Views | None:
    try:
        image, size = read_image(path, shrink_to=2 * engine.size)
    except DataError:
        return None
    place = _beside(scale(boxes, size, image.size), image.size)
    aside = None if place is None else engine.resize(image.crop(place))
    return _Views(engine.resize(image), scale(boxes, size, (engine.size, engine.size)), aside)


def _beside(boxes: Boxes, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The largest part of an image left, right, above or below of all boxes; None if it is too narrow."""
    width, height = size
    (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    across, down = GAP * (x1 - x0), GAP * (y1 - y0)
    left, top, right, bottom = (round(edge) for edge in (x0 - across, y0 - down, x1 + across, y1 + down))
    parts = ((0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height))
    roomy = [each for each in parts if each[2] - each[0] >= ROOM * width and each[3] - each[1] >= ROOM * height]
    return max(roomy, key=lambda each: (each[2] - each[0]) * (each[3] - each[1]), default=None)


def _look(engine: Engine, views: Sequence[View]) -> tuple[Floats, Floats]:
    """The features of views, and the run's box in each."""
    said = engine.forward(np.stack(views))
    maps = said.maps[:, 0]
    otsu = engine.threshold == "otsu"
    thresholds = otsu_thresholds(maps) if otsu else np.full(len(maps), float(engine.threshold))
    boxes, _ = largest_boxes(maps, thresholds)
    return measure(said.logits, maps, thresholds), boxes


def _fitted(shown: Floats, empty: Floats) -> Presence:
    """Logistic regression in which both kinds of views have the same say, by Newton's method."""
    _check_enough(len(shown), "images of val have a box of the run that fits their pseudo-box")
    _check_enough(len(empty), "images of val have room beside their pseudo-box")
    views = np.concatenate([shown, empty])
    mean, deviation = views.mean(0), views.std(0)
    spread = np.where(deviation > 0, deviation, 1.0)
    rows = np.column_stack([(views - mean) / spread, np.ones(len(views))])
    truth = np.repeat([1.0, 0.0], [len(shown), len(empty)])
    say = np.repeat([len(views) / (2 * len(shown)), len(views) / (2 * len(empty))], [len(shown), len(empty)])
    ridge = np.append(np.full(len(FEATURES), _RIDGE), 1e-6)  # next to none on the bias
    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        probability = _logistic(rows @ weights)
        slope = rows.T @ (say * (probability - truth)) + ridge * weights
        curve = (rows * (say * probability * (1 - probability))[:, None]).T @ rows + np.diag(ridge)
        weights -= np.linalg.solve(curve, slope)
    probability = _logistic(rows @ weights)
    least = float(np.quantile(probability[: len(shown)], 1 - RECALL))
    return Presence(
        FEATURES,
        tuple(mean.tolist()),
        tuple(spread.tolist()),
        tuple(weights[:-1].tolist()),
        float(weights[-1]),
        least,
        RECALL,
        len(shown),
        len(empty),
        float((probability[len(shown) :] >= least).mean()),
    )


def _check_enough(count: int, what: str) -> None:
    if count < LEAST:
        raise DataError(f"presence: {count} {what}; to learn when there is nothing to find, it takes {LEAST}.")


def _logistic(values: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -values)))
