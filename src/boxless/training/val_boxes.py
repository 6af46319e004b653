"""The boxes of val that a run selects by and takes its threshold from: pseudo-boxes, and true ones where asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric

from boxless.backbones.base import evaluating
from boxless.data.box_files import read_box_file
from boxless.data.catalog import Catalog
from boxless.data.images import read_size
from boxless.data.truth import BOX_COLUMNS, read_truth
from boxless.errors import ConfigError, DataError, MissingTruthError, RunError, UnknownNameError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.methods.base import Method
from boxless.ops.boxes import clip, scale
from boxless.pseudo.annotators import Annotator, Material, make_annotator
from boxless.pseudo.records import Proposals
from boxless.pseudo.store import ProposalStore, image_key, network_digest
from boxless.pseudo.table import ANNOTATORS
from boxless.pseudo.teacher import PROBE, check_teacher
from boxless.pseudo.usual import usual_annotator
from boxless.recipe import Recipe
from boxless.stream import default_workers, ordered_map
from boxless.training.examples import Examples
from boxless.training.naming import whole
from boxless.training.tracking import ORACLE, PSEUDO, BoxSet
from boxless.training.val_masks import SOURCE as CLASS_MAPS
from boxless.training.val_masks import absent_classes, pseudo_masks, true_masks
from boxless.training.val_material import Materials

if TYPE_CHECKING:
    from boxless.types import Boxes

FOLDER, STORE = "pseudo_boxes", "proposals_of_val"
BATCH = 32  # images whose boxes are scored together, and between two writes
AUTO = "auto"


def settle_boxes(recipe: Recipe, classes: Sequence[str], kept: Path) -> Recipe:
    """The recipe with the sources of pseudo-boxes that are meant, and files by their whole paths.

    ``auto`` takes what `usual_annotator` says, and nothing if neither selection nor threshold asks for pseudo-boxes.

    Args:
        recipe: All settings.
        classes: Of the data, in their order.
        kept: The run folder: a file that it has a copy of may be gone.

    Raises:
        ConfigError: A source is neither an annotator nor a file, two have one name, or the classifier does not fit.
    """
    protocol = recipe.protocol
    named = protocol.boxes.split(",") if isinstance(protocol.boxes, str) else list(protocol.boxes)
    sources = [each.strip() for each in named if each.strip()]
    if sources == [AUTO]:
        wanted = PSEUDO in (protocol.select, protocol.threshold)
        usual = CLASS_MAPS if protocol.measure == "pxap" else usual_annotator()
        sources = [usual] if wanted and usual else []
    if protocol.measure == "pxap":
        absent_classes(protocol.absent, classes)
        if not set(sources) <= {CLASS_MAPS}:
            raise ConfigError(
                f"protocol.boxes: got {', '.join(sources)}; with protocol.measure=pxap there are pseudo-masks in place "
                f"of pseudo-boxes, which {CLASS_MAPS} makes from the maps of protocol.classifier; leave it at auto."
            )
        settled = sources
    else:
        settled = [_source(each, kept) for each in sources]
    names = [name_of(each) for each in settled]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"protocol.boxes: two sources are called {twice[0]!r}; leave one out, or rename the file.")
    classifier = protocol.classifier
    if classifier != PROBE:
        check_teacher(classifier, classes)
        classifier = str(Path(classifier).absolute()) if Path(classifier).is_dir() else whole(classifier)
    return recipe.override(protocol={"boxes": tuple(settled), "classifier": classifier})


def name_of(source: str) -> str:
    """What the pseudo-boxes of a source are called: an annotator's name, or a file's without its ending."""
    return source if source in ANNOTATORS else Path(source).stem


def _source(text: str, kept: Path) -> str:
    if text in ANNOTATORS:
        return text
    path = Path(text).expanduser()
    if path.exists() or _copy(kept, text).exists():
        return str(path.absolute())
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"protocol.boxes: {text}: there is no such file of pseudo-boxes; check the path.")
    raise UnknownNameError("annotator", text, ANNOTATORS)


def _copy(folder: Path, source: str) -> Path:
    return folder / FOLDER / f"{name_of(source)}.csv"


@dataclass(frozen=True, slots=True)
class ValBoxes:
    """Finds the boxes of val before training begins; they are kept in the run folder and made once.

    Args:
        recipe: As `settle_boxes` left it.
        catalog: The data.
        method: What learns, before it has learnt anything: a copy of its backbone serves the annotators.
        train_set: The images that a probe learns from.
        val_set: The images of val.
        folder: Of the run.
        fabric: The processes; the first one makes the boxes.
        listener: Hears of the progress.
        stop: Called between writes; it may raise to end the work.
    """

    recipe: Recipe
    catalog: Catalog
    method: Method
    train_set: Examples
    val_set: Examples
    folder: Path
    fabric: Fabric
    listener: Listener
    stop: Callable[[], None]
    _materials: Materials = field(init=False)

    def __post_init__(self) -> None:
        made = Materials(
            self.recipe,
            self.method,
            self.catalog.classes,
            self.train_set,
            self.val_set.preprocess,
            self.fabric.device,
            self.listener,
            self.stop,
        )
        object.__setattr__(self, "_materials", made)

    def __call__(self) -> tuple[BoxSet, ...]:
        """Pseudo-boxes of each source in the recipe's order, then true boxes if they are asked for.

        Raises:
            MissingTruthError: True boxes are asked for, and val has none.
            DataError: A file has no box of an image of val.
        """
        protocol = self.recipe.protocol
        if len(self.val_set) and protocol.select == PSEUDO and not protocol.boxes:
            self.listener.note(
                "no annotator of val is at hand: class accuracy selects weights, and Otsu cuts maps. Selective Search "
                "comes with pip install 'boxless[selective-search]'; --pseudo-boxes names another, or a file."
            )
        if not len(self.val_set):
            if protocol.boxes:
                self.listener.note(
                    "val has no images that could select: the last weights are kept, and Otsu cuts maps."
                )
            return ()
        by_masks = protocol.measure == "pxap"
        if by_masks:
            sets: list[BoxSet] = [pseudo_masks(self)] if protocol.boxes else []
        else:
            sets = [self._of_source(each) for each in protocol.boxes]
        if protocol.oracle or protocol.select == ORACLE:
            sets.append(true_masks(self.catalog) if by_masks else _true_boxes(self.catalog))
        return tuple(sets)

    def _of_source(self, source: str) -> BoxSet:
        name, supervision = name_of(source), ""
        path = _copy(self.folder, source)
        if source in ANNOTATORS:
            supervision = ANNOTATORS.load(source).supervision
        if self.fabric.is_global_zero and not path.exists():
            rows = self._annotated(source) if source in ANNOTATORS else self._of_file(source)
            write_boxes(path, rows)
        self.fabric.barrier()
        found = read_boxes(path)
        if without := sum(not len(boxes) for boxes in found.values()):
            self.listener.note(
                f"{without:,} of {len(found):,} images of val have no pseudo-box by {name}, and take no part."
            )
        return BoxSet(name, found, supervision)

    def _of_file(self, source: str) -> dict[str, list[Row]]:
        """Boxes of another program, of the images of val alone."""
        pictures = {item.name: item.path for item in self.val_set.items}
        given = read_box_file(source, images=self.catalog.root, split="val", pseudo=True, pictures=pictures)
        names = list(pictures)
        boxes = {name: [(*map(float, each), 1.0) for each in given.boxes.get(name, ())] for name in names}
        if not any(boxes.values()):
            raise DataError(
                f"{given.source}: none of its {len(given.boxes)} images is in the split val of {self.catalog.root}; "
                f"paths are relative to the data's folder, such as {names[0]}."
            )
        return boxes

    def _annotated(self, source: str) -> dict[str, list[Row]]:
        annotator = make_annotator(source, {})
        annotator.admit(self.val_set.items)
        with torch.random.fork_rng():
            material = self.material(annotator.classifier)
            made = {
                **annotator.made_from(material),
                "backbone": network_digest(material.backbone),
                "classifier": network_digest(material.teacher.network),
                "size": self.val_set.preprocess.size,
            }
            keys = [self._key(place) for place in range(len(self.val_set))]
            with ProposalStore(self.folder / STORE, annotator.settings, made) as store:
                store.fill(
                    keys,
                    lambda places: self._make(annotator, material, places),
                    batch=BATCH,
                    listener=self.listener,
                    stop=self.stop,
                )
                found = store.read(keys) if any(keys) else None
        return {item.name: self._rows(found, place) for place, item in enumerate(self.val_set.items)}

    def material(self, own: str) -> Material:
        """What an annotator is given; see `Materials`."""
        return self._materials(own)

    def _make(self, annotator: Annotator, material: Material, places: list[int]) -> Proposals:
        images = torch.stack(list(ordered_map(self._show, places, workers=default_workers(), ahead=len(places))))
        device = self.fabric.device
        images = images.to(device, memory_format=torch.channels_last)
        with evaluating(material.backbone):
            return annotator(
                images,
                self.val_set.labels[places].to(device),
                material,
                [self.val_set.items[place] for place in places],
            )

    def _show(self, place: int) -> torch.Tensor:
        image = self.val_set.attempt(place, self.val_set.plain)
        side = self.val_set.preprocess.size
        return torch.zeros(3, side, side) if image is None else image

    def _key(self, place: int) -> str | None:
        try:
            return image_key(self.val_set.items[place].path, int(self.val_set.labels[place]))
        except DataError as error:
            self.val_set.refused[place] = str(error)
            return None

    def _rows(self, found: Proposals | None, place: int) -> list[Row]:
        """The best box of one image, in original pixels; none of one that cannot be read, or with nothing found."""
        if found is None or place in self.val_set.refused or not found.valid[place].any():
            return []
        size, valid = read_size(self.val_set.items[place].path), found.valid[place]
        corners = clip(scale(found.boxes[place][valid].numpy(), (found.grid[1], found.grid[0]), size), size)
        scores = found.scores[place][valid].tolist()
        return [(*each, score) for each, score in zip(corners.tolist(), scores, strict=True)][:1]


Row = tuple[float, ...]


def write_boxes(path: Path, boxes: Mapping[str, Sequence[Row]]) -> None:
    """Write boxes with scores as CSV; an image without any has a line with empty fields, which marks it."""
    with atomic_write(path) as file:
        lines: Any = csv.writer(file, lineterminator="\n")
        lines.writerow(("path", *BOX_COLUMNS, "score"))
        for name, rows in boxes.items():
            lines.writerows([(name, *(f"{value:.6g}" for value in row)) for row in rows] or [(name, *[""] * 5)])


def read_boxes(path: Path) -> dict[str, Boxes]:
    """The boxes that `write_boxes` wrote, by item name; (0, 4) where nothing was found.

    Raises:
        RunError: The file is missing or damaged.
    """
    found: dict[str, list[list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file, strict=True):
                corners = [line[column] for column in BOX_COLUMNS]
                found.setdefault(line["path"], []).extend([[*map(float, corners)]] if corners[0] else [])
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path}: cannot be read as pseudo-boxes ({error}); the run is damaged.") from error
    return {name: np.array(boxes, dtype=np.float64).reshape(-1, 4) for name, boxes in found.items()}


def _true_boxes(catalog: Catalog) -> BoxSet:
    truth = read_truth(catalog, "val")
    if not truth.boxes:
        raise MissingTruthError(f"{truth.source}: no box on val, only {len(truth.absent)} images without an object.")
    return BoxSet(ORACLE.upper(), truth.boxes)
