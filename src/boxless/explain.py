"""From a trained classifier and images, with no training: the class, a map of where it is seen, and a box around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from boxless.backbones import weights as weight_sources
from boxless.backbones.classifier import Classifier, load_classifier
from boxless.data.images import read_image
from boxless.devices import pick_device
from boxless.errors import DataError
from boxless.files import atomic_write
from boxless.maps import DEFAULT_MAP, MAPS
from boxless.maps.base import MapExtractor, Maps
from boxless.maps.sanity import NOT_FINITE, SAME_FOR_ALL, kinds_of, same_for_all_classes, sentence
from boxless.maps.score import ScoreMap
from boxless.ops.components import largest_boxes
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.boxing import original
from boxless.predict.overlay import draw
from boxless.predict.sources import Paths, Source, Sources
from boxless.settings import build
from boxless.stream import batched
from boxless.types import Box, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

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
    note: Callable[[str], None]


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
        say(f"{map}: {sentence(SAME_FOR_ALL)}")
    names = [layers] if isinstance(layers, str) else layers
    return _explanations(_Job(classifier, extractor, names, index, folder, say), listed, batch_size, on_error)


def _explanations(job: _Job, sources: Iterable[Source], size: int, on_error: OnError | None) -> Iterator[Explanation]:
    checked = False
    for batch in batched(sources, size):
        read: list[tuple[Source, Image, tuple[int, int]]] = []
        for source in batch:
            try:
                read.append((source, *read_image(source.path, shrink_to=_least_side(job))))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(source.path, source.name, error)
        if not read:
            continue
        images = torch.stack([job.classifier.preprocess(image) for _, image, _ in read]).to(job.classifier.device)
        found = job.extractor(job.classifier.model, images, job.target, job.layers)
        if not checked:
            checked = True
            _check_classes(job, images, found)
        yield from _finished(job, read, found)


def _check_classes(job: _Job, images: Tensor, found: Maps) -> None:
    """Say so if a map that is one of a class is, for the first image, that of the least likely class too.

    Not so for maps of scores, where one more map takes as long as the first: a thousand passes.
    """
    if isinstance(job.extractor, ScoreMap) or not job.extractor.class_specific:
        return
    shown, least = int(found.classes[0]), int(found.logits[0].argmin())
    if shown == least:
        return
    other = job.extractor(job.classifier.model, images[:1], least, job.layers)
    if same_for_all_classes(torch.cat([found.maps[:1], other.maps]).cpu().numpy()):
        job.note(sentence(SAME_FOR_ALL))


def _finished(job: _Job, read: Sequence[tuple[Source, Image, tuple[int, int]]], found: Maps) -> Iterator[Explanation]:
    classifier, preprocess = job.classifier, job.classifier.preprocess
    probabilities = found.logits.double().softmax(1).gather(1, found.classes[:, None])[:, 0].tolist()
    finite = found.maps.isfinite().flatten(1).all(1).tolist()
    grids = torch.nan_to_num(found.maps)
    maps = resize(grids[:, None], (preprocess.size, preprocess.size))[:, 0].clamp(0, 1).cpu().numpy()
    thresholds = otsu_thresholds(maps)
    boxes, areas = largest_boxes(maps, thresholds)
    wrong = [kind if sound else NOT_FINITE for kind, sound in zip(kinds_of(maps, thresholds), finite, strict=True)]
    for i, (source, image, size) in enumerate(read):
        index, kind = int(found.classes[i]), wrong[i]
        label, score = classifier.label(index), float(probabilities[i])
        box = [Box(original(boxes[i], maps.shape[1:], size), label, index, score)] if areas[i] else []
        prediction = Prediction(
            source.path,
            source.name,
            size,
            label,
            index,
            score,
            tuple(box),
            float(thresholds[i]),
            map=maps[i].copy(),
            warning=kind,
        )
        said = None if kind is None else sentence(kind)
        overlay = _write(job.out, image, prediction) if job.out is not None else None
        yield Explanation(prediction, found.layers, said, overlay)


def _write(folder: Path, image: Image, prediction: Prediction) -> Path:
    """The suffix is added and replaces none: ``a.jpg`` and ``a.png`` are two images."""
    path = folder / f"{prediction.name}.png"
    with atomic_write(path, "wb") as file:
        draw(image, prediction).save(file, "PNG")
    return path


def _least_side(job: _Job) -> int | None:
    """An image that is drawn on keeps its size."""
    return job.classifier.preprocess.size if job.out is None else None
