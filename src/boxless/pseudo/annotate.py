"""From class-labelled images to annotation files: proposals made, kept so that the job can be stopped, and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxless import formats as files
from boxless.data.catalog import Catalog, read_catalog
from boxless.data.listing import some
from boxless.data.truth import Truth, read_truth
from boxless.errors import ConfigError, MissingTruthError, UnknownNameError
from boxless.files import write_json
from boxless.listener import Listener
from boxless.protocol.guard import Guard, like_a_constant
from boxless.pseudo.annotators import make_annotator
from boxless.pseudo.job import Job
from boxless.pseudo.material import open_material
from boxless.pseudo.overlays import Overlays
from boxless.pseudo.quality import Quality
from boxless.pseudo.quality import quality as measure
from boxless.pseudo.store import ProposalStore
from boxless.pseudo.table import DEFAULT_ANNOTATOR
from boxless.pseudo.teacher import PROBE
from boxless.recipe import Text
from boxless.trust import trusting
from boxless.types import Item, Prediction

KEPT, OVERLAYS, QUALITY = ".proposals", "overlays", "quality.json"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What an annotation job did."""

    images: int  # that are in the files
    boxes: int
    empty: int  # images without a box
    before: int  # proposals, one for each image and class, that an earlier call had made
    refused: tuple[tuple[str, str], ...]  # (name, reason) of the images that could not be used
    files: tuple[Path, ...]  # what each format's writer made, in the order asked for
    overlays: Path | None  # the folder of pictures
    classifier: str  # what said where the class is
    supervision: str  # what the boxes know besides the classes of these images and the classifier; empty: nothing
    made_from: Mapping[str, Any]  # the annotator's own words, such as the source of its maps
    remarks: tuple[str, ...]  # what the user should know of the proposals
    without: tuple[str, ...]  # names of the images without a box: marked in the files, left out by who reads them
    guard: Guard | None  # whether the boxes are more than a constant, which no label tells; None without a box
    quality: Quality | None  # beside true boxes, where that was asked for


def annotate(
    source: str | Path,
    out: str | Path,
    *,
    classifier: str | Path | None = None,
    annotator: str = DEFAULT_ANNOTATOR,
    settings: Mapping[str, Any] | None = None,
    names: str | Path | None = None,
    templates: str | Sequence[str] = "auto",
    backbone: str | None = None,
    image_size: int | None = None,
    split: str = "train",
    formats: Sequence[str] = ("coco",),
    overlays: bool = False,
    quality: bool = False,
    format: str = "auto",  # noqa: A002
    images: str | Path | None = None,
    trust: bool = False,
    device: str = "auto",
    listener: Listener | None = None,
) -> Annotated:
    """Give boxes to images whose class is known, and write them as annotations; nothing is trained.

    A box is of the image's own class, its score what the annotator chose it by. Proposals are kept in
    ``out/.proposals`` by the image's content, so that a job that was stopped goes on there; training finds them too, if
    ``pseudo.folder`` names that folder. The files are written anew each time.

    Args:
        source: Labelled images: a folder with one folder for each class, a list, or ``sample``.
        out: The folder for everything that is written; not inside ``source``.
        classifier: A finished run that knows the classes, whose backbone gives the maps as well, a timm model that was
            trained on these classes, in this order, a CLIP model, which tells them by their names, or ``probe`` for one
            that is fitted to the labels of the train split. None takes the one that the annotator is made for, or else
            the probe.
        annotator: One of ``boxless list annotators``.
        settings: Of the annotator, such as ``{"top_k": 3}``.
        names: For a CLIP model: a file with names and synonyms of classes, see :mod:`boxless.text`; None takes them
            from the data.
        templates: For a CLIP model: the sentences that names are put in, or the name of some; ``auto`` takes those of
            the paper.
        backbone: Another network, of timm, to take the maps from.
        image_size: Side of the square that images are resized to; None takes that of the classifier.
        split: ``train``, ``val``, ``test``, or ``all``. Pseudo-boxes that runs are selected by are those of ``val``.
        formats: Names of the table ``boxless.formats.FORMATS``.
        overlays: Write ``out/overlays/<name>.jpg`` for each image: its maps, its proposals, pixels drawn about one of
            them. Of an image with several classes it is about the first.
        quality: Look at true boxes too, and tell how good the boxes are by stage, in ``out/quality.json`` as well: an
            oracle's knowledge, by which nothing is chosen. Stages are made anew for it, which takes as long again.
        format: The format of ``source``, if it is not to be found out.
        images: Where the pictures are, for formats that list them.
        trust: Whether a classifier's run may have the code loaded that its recipe names, see `boxless.trust`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        listener: Hears of the progress.

    Raises:
        BoxlessError: One of its kinds, whose message says what to do.
    """
    for name in formats:
        if name not in files.FORMATS:
            raise UnknownNameError("format", name, files.FORMATS)
    hears, folder = listener or Listener(), Path(out)
    made = make_annotator(annotator, settings or {})
    text = Text(
        names=None if names is None else str(names),
        templates=templates if isinstance(templates, str) else tuple(templates),
    )
    teacher = str(classifier or made.classifier or PROBE)
    catalog = read_catalog(source, format=format, images=images, listener=hears)
    items = _items(catalog, split, folder)
    truth = _truth(catalog, split) if quality else None
    with trusting(trust):
        opened = open_material(
            teacher,
            catalog,
            backbone=backbone,
            image_size=image_size,
            device=device,
            text=text,
            folder=folder / KEPT,
            listener=hears,
        )
    made_from = made.made_from(opened.material)
    made.admit(catalog.items)
    with ProposalStore(folder / KEPT, made.settings, {**made_from, **opened.digests()}) as store:
        job = Job(made, opened, store, opened.translated(items), hears)
        before = job.fill()
        found = store.read(job.keys)
    if overlays:
        pictures = Overlays(made, annotator, opened, folder / OVERLAYS, store.folder.name)
        pictures.write(job.examples, job.keys, found, hears)
    predictions = job.predictions(found)
    written = tuple(files.write(name, predictions, opened.classes, folder) for name in formats)
    measured = None
    if truth is not None:
        measured = measure(predictions, truth.boxes, truth.source, job.stages(truth.boxes))
        about = {"annotator": annotator, "classifier": teacher, "supervision": made.supervision, "split": split}
        write_json(folder / QUALITY, {**about, "made_from": made_from, **measured.to_dict()})
    return Annotated(
        images=len(predictions),
        boxes=sum(len(each.boxes) for each in predictions),
        empty=sum(not each.boxes for each in predictions),
        before=before,
        refused=job.refused(),
        files=written,
        overlays=folder / OVERLAYS if overlays else None,
        classifier=teacher,
        supervision=made.supervision,
        made_from=made_from,
        remarks=(*found.remarks(), *_absent(catalog, items)),
        without=tuple(each.name for each in predictions if not each.boxes),
        guard=_guard(predictions),
        quality=measured,
    )


def _items(catalog: Catalog, split: str, out: Path) -> tuple[Item, ...]:
    """The images of a split, none twice.

    Raises:
        ConfigError: There is no such split, or ``out`` lies in the data.
    """
    folder = catalog.source or catalog.root
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{out}: lies in the data {folder}, where what is written would be taken for images of a class; choose an "
            "--out beside it."
        )
    found = catalog.items if split == ALL else catalog.splits.get(split, ())
    if not found:
        known = ", ".join([*(name for name, items in catalog.splits.items() if items), ALL])
        raise ConfigError(f"split {split!r}: {folder} has no images in it; it has {known}.")
    return tuple({item.name: item for item in found}.values())


def _absent(catalog: Catalog, items: Sequence[Item]) -> tuple[str, ...]:
    """A remark on classes that none of the images shows."""
    shown = {label for item in items for label in item.labels}
    absent = [repr(name) for index, name in enumerate(catalog.classes) if index not in shown]
    return (f"No image here shows {some(absent)}: nothing is said of such images.",) if absent else ()


def _truth(catalog: Catalog, split: str) -> Truth:
    """True boxes of a split, or of all splits that have some.

    Raises:
        MissingTruthError: There are none.
    """
    if split != ALL:
        return read_truth(catalog, split)
    found = []
    for name in catalog.splits:
        try:
            found.append(read_truth(catalog, name))
        except MissingTruthError as error:
            missing = error
    if not found:
        raise missing
    return Truth({name: boxes for each in found for name, boxes in each.boxes.items()}, found[0].source)


def _guard(predictions: Sequence[Prediction]) -> Guard | None:
    """Whether the boxes of all these images are more than one box in the middle of each."""
    found = [each for each in predictions if each.boxes]
    return like_a_constant([each.boxes[0].xyxy for each in found], [each.size for each in found]) if found else None
