"""From a trained classifier and images, with no training: the class, a map of where it is seen, and a box around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from boxless.backbones import weights as weight_sources
from boxless.backbones.classifier import Classifier, load_classifier
from boxless.data.images import read_image
from boxless.devices import pick_device
from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.maps import DEFAULT_MAP, MAPS
from boxless.maps.base import MapExtractor
from boxless.maps.sanity import SAME_MAP, warnings
from boxless.ops.boxes import clip, scale
from boxless.ops.components import largest_boxes
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.overlay import draw
from boxless.predict.sources import Paths, Source, Sources
from boxless.settings import build
from boxless.stream import batched
from boxless.types import Box, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

OnError = Callable[[Path, str, DataError], None]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a classifier says of one image, and where it sees it."""

    prediction: Prediction  # with the map, at the size of the network's input
    layers: tuple[str, ...]  # that the map was read from
    warning: str | None  # what is wrong with the map, if anything
    overlay: Path | None  # the picture that was written


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for all images."""

    classifier: Classifier
    extractor: MapExtractor
    layers: Sequence[str] | None
    target: int | None
    out: Path | None


def explain(
    sources: Paths,
    *,
    model: str | None = None,
    map: str = DEFAULT_MAP,  # noqa: A002
    layers: str | Sequence[str] | None = None,
    target: str | int | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    weights: str = "auto",
    image_size: int | None = None,
    batch_size: int = 8,
    device: str = "auto",
    on_error: OnError | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Explanation]:
    """Explain images with a timm classifier as it is; the box is the largest component above the map's Otsu threshold.

    Args:
        sources: Images, folders or globs.
        model: A timm model name; None takes one whose weights are at hand.
        map: A map of ``boxless list maps``.
        layers: Dotted names of the layers to read; None finds the last grid.
        target: The class to look for, by name or number; None takes the predicted class of each image.
        out: Folder for an overlay of each image, as PNG; None writes none.
        settings: Settings of the map.
        weights: ``auto``, ``package``, ``hub`` or ``random``.
        image_size: Side of the network's square input; None takes that of its training.
        batch_size: Images in one pass.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        on_error: Called for an image that cannot be used, and the others go on; None raises.
        note: Called with sentences that the user should read: which model was taken, what holds for every map.

    Raises:
        BoxlessError: One of its kinds, whose message says what to do; before the first image where that can be.
    """
    say = note or (lambda text: None)
    folder = None if out is None else Path(out)
    listed = Sources(sources, output=folder)
    extractor: MapExtractor = build(MAPS.load(map), settings or {}, map)
    if model is None:
        model, reason = weight_sources.choose()
        say(reason)
    classifier = load_classifier(model, pick_device(device), weights=weights, image_size=image_size)
    index = None if target is None else classifier.index(str(target))
    if not extractor.class_specific:
        say(f"{map}: {SAME_MAP}")
    names = [layers] if isinstance(layers, str) else layers
    return _explanations(_Job(classifier, extractor, names, index, folder), listed, batch_size, on_error)


def _explanations(job: _Job, sources: Iterable[Source], size: int, on_error: OnError | None) -> Iterator[Explanation]:
    for batch in batched(sources, size):
        read: list[tuple[Source, Image, tuple[int, int]]] = []
        for source in batch:
            try:
                read.append((source, *read_image(source.path, shrink_to=_least_side(job))))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(source.path, source.name, error)
        if read:
            yield from _batch(job, read)


def _batch(job: _Job, read: Sequence[tuple[Source, Image, tuple[int, int]]]) -> Iterator[Explanation]:
    classifier, preprocess = job.classifier, job.classifier.preprocess
    images = torch.stack([preprocess(image) for _, image, _ in read]).to(classifier.device)
    found = job.extractor(classifier.model, images, job.target, job.layers)
    probabilities = found.logits.double().softmax(1).gather(1, found.classes[:, None])[:, 0].tolist()
    grids = torch.nan_to_num(found.maps)  # the sentence about it comes from the map itself
    maps = resize(grids[:, None], (preprocess.size, preprocess.size))[:, 0].clamp(0, 1).cpu().numpy()
    thresholds = otsu_thresholds(maps)
    boxes, areas = largest_boxes(maps, thresholds)
    said = [
        broken or wrong
        for broken, wrong in zip(warnings(found.maps.cpu().numpy()), warnings(maps, thresholds), strict=True)
    ]
    for i, (source, image, size) in enumerate(read):
        index = int(found.classes[i])
        label, score = classifier.label(index), float(probabilities[i])
        box = [Box(_original(boxes[i], maps.shape[1:], size), label, index, score)] if areas[i] else []
        prediction = Prediction(
            source.path, source.name, size, label, index, score, tuple(box), float(thresholds[i]), maps[i].copy()
        )
        overlay = _write(job.out, image, prediction) if job.out is not None else None
        yield Explanation(prediction, found.layers, said[i], overlay)


def _write(folder: Path, image: Image, prediction: Prediction) -> Path:
    """The suffix is added and replaces none: ``a.jpg`` and ``a.png`` are two images."""
    path = folder / f"{prediction.name}.png"
    with atomic_write(path, "wb") as file:
        draw(image, prediction).save(file, "PNG")
    return path


def _least_side(job: _Job) -> int | None:
    """An image that is drawn on keeps its size."""
    return job.classifier.preprocess.size if job.out is None else None


def _original(
    box: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = clip(scale(box[None], (shape[1], shape[0]), size), size)[0].tolist()
    return x0, y0, x1, y1
