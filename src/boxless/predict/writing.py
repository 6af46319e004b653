"""Prediction jobs that write files and can be stopped at any moment: first a journal, then the formats from it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from boxless import formats as files
from boxless.data.large import read_reduced
from boxless.errors import DataError, RunError, UnknownNameError
from boxless.files import atomic_write, unwritable
from boxless.maps.sanity import Warned, Warnings
from boxless.predict.journal import FILE_NAME, Header, Journal
from boxless.predict.localizer import Localizer
from boxless.predict.masks import write_mask
from boxless.predict.options import Options
from boxless.predict.overlay import draw
from boxless.predict.sources import Paths, Source, Sources
from boxless.protocol.provenance import GIVEN
from boxless.stream import default_workers, ordered_map
from boxless.types import Prediction

if TYPE_CHECKING:
    from boxless.runs import Run
    from boxless.types import FloatMap

OVERLAY_SIDE = 4096  # pixels: of the longest side of an overlay; a larger image is shown smaller
Progress = Callable[[int, int], None]  # (images done with, images in all), once a batch
Refusal = tuple[Path, str, str]  # (path, name, reason)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a prediction job did."""

    written: int  # images predicted now
    skipped: int  # images that an earlier call had done
    refused: tuple[tuple[str, str], ...]  # (name, reason) of the images that could not be used
    files: tuple[Path, ...]  # what each format's writer made, in the order asked for
    images_per_second: float  # of those written now, from the first file read to the last format written
    warnings: tuple[Warned, ...] = ()  # what is wrong with the maps of the images written and skipped


def predict_to(
    run: Run | Localizer | str | Path,
    sources: Paths,
    out: Path,
    *,
    formats: Sequence[str],
    options: Options | None = None,
    maps: bool = False,
    overlays: bool = False,
    min_score: float | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Predict images and write each format under ``out``; what an earlier call did is not done again.

    The formats hold all that the journal ``out/predictions.jsonl`` holds: these sources in their order, then what
    earlier calls found under the same folders, if the image is still there. Images that were refused are tried again.

    Args:
        run: A run, a localizer, or the path of a run folder.
        sources: A file, a folder, a glob, or several; see `Sources`.
        out: The folder for everything that is written.
        formats: Names of the table ``boxless.formats.FORMATS``.
        options: How boxes are found; with ``masks``, ``out/masks/<name>.png`` is written too.
        maps: Write ``out/maps/<name>.npy``: float32 in [0, 1], at the size of the network's input; where several
            classes are looked for, ``out/maps/<name>.<class>.npy`` too.
        overlays: Write ``out/overlays/<name>.jpg``: the image with its map and boxes.
        min_score: In place of that of the options.
        overwrite: Forget what the journal holds.
        batch_size: Images in one forward pass.
        workers: Threads for decoding, and for maps and overlays.
        progress: Called after each batch.

    Raises:
        UnknownNameError: A format that no table lists.
        DataError: A source that does not exist, or no image in all of them.
        RunError: ``out`` cannot be written, or holds the predictions of another run, settings or folders.
    """
    for name in formats:
        if name not in files.FORMATS:
            raise UnknownNameError("format", name, files.FORMATS)
    started = time.perf_counter()
    localizer = _localizer(run)
    listed = Sources(sources, output=out)
    total = listed.count()
    _refuse_unwritable(out)
    options = options or Options()
    options = options if min_score is None else replace(options, min_score=min_score)
    header = _header(localizer, options, listed)
    size = batch_size or localizer.engine.batch_size
    threads = default_workers() if workers is None else workers
    try:
        with Journal(out / FILE_NAME, header, overwrite=overwrite) as journal:
            job = _Job(
                localizer,
                journal,
                _Extras(out, len(header.classes), maps, overlays, options.masks),
                options,
                size,
                threads,
            )
            for done in job.run(listed):
                if progress is not None:
                    progress(done, total)
            written = _write_formats(formats, journal, listed, out)
    except KeyboardInterrupt as stop:
        stop.add_note(how_to_resume(out))
        raise
    seconds = time.perf_counter() - started
    speed = job.written / seconds
    return Outcome(job.written, job.skipped, tuple(job.refused), written, speed, job.warnings.all())


def _header(localizer: Localizer, options: Options, listed: Sources) -> Header:
    engine = localizer.engine
    return Header(
        engine.digest,
        engine.threshold if options.threshold is None else options.threshold,
        options.fields(),
        localizer.classes(options),
        listed.roots,
        engine.selected_by,
        engine.threshold_from if options.threshold is None else GIVEN,
    )


def how_to_resume(out: Path) -> str:
    """The sentence for someone who stopped a job."""
    return f"What was done is kept in {out / FILE_NAME}: give the same command again, and it goes on from there."


@final
class _Job:
    """One pass over the sources, with what it counts."""

    def __init__(
        self,
        localizer: Localizer,
        journal: Journal,
        extras: _Extras,
        options: Options,
        batch_size: int,
        workers: int,
    ) -> None:
        self.written = 0
        self.skipped = 0
        self.refused: list[tuple[str, str]] = []
        self.warnings = Warnings()
        self._localizer = localizer
        self._journal = journal
        self._extras = extras
        self._options = options
        self._batch_size = batch_size
        self._workers = workers
        self._pending: list[Prediction | Refusal] = []

    def run(self, sources: Iterable[Source]) -> Iterator[int]:
        """Predict what is not done, and yield how many images are done with, once a batch."""
        predictions = self._localizer.predict(
            (each for each in sources if not self._is_done(each)),
            self._options,
            batch_size=self._batch_size,
            workers=self._workers,
            maps=self._extras.wants_map,
            on_error=lambda path, name, error: self._pending.append((path, name, str(error))),
        )
        with closing(self._with_extras(predictions)) as entries:
            try:
                for entry in entries:
                    self._pending.append(entry)
                    if len(self._pending) >= self._batch_size:
                        self._flush()
                        yield self.written + self.skipped + len(self.refused)
            finally:  # also when someone stops the job: what is predicted is kept
                self._flush()
        yield self.written + self.skipped + len(self.refused)

    def _with_extras(self, predictions: Iterator[Prediction]) -> Generator[Prediction | Refusal, None, None]:
        if not self._extras.wanted:
            yield from predictions
            return
        yield from ordered_map(self._extras.write, predictions, workers=self._workers, ahead=self._batch_size)

    def _is_done(self, source: Source) -> bool:
        done = self._journal.is_done(source.name) and self._extras.are_there(source.name)
        self.skipped += done
        if done:
            self.warnings.add(source.name, self._journal.warning(source.name))
        return done

    def _flush(self) -> None:
        entries, self._pending = self._pending, []
        if not entries:
            return
        self._journal.write(entries)
        for entry in entries:
            if isinstance(entry, Prediction):
                self.written += 1
                self.warnings.add(entry.name, entry.warning)
            else:
                self.refused.append((entry[1], entry[2]))


@final
class _Extras:
    """The files that are written for each image, before its line in the journal says that it is done."""

    def __init__(self, out: Path, classes: int, maps: bool, overlays: bool, masks: bool) -> None:
        self._classes = classes
        self._maps = out / "maps" if maps else None
        self._overlays = out / "overlays" if overlays else None
        self._masks = out / "masks" if masks else None

    @property
    def wanted(self) -> bool:
        return self.wants_map or self._masks is not None

    @property
    def wants_map(self) -> bool:
        return self._maps is not None or self._overlays is not None

    def are_there(self, name: str) -> bool:
        return all(path.exists() for path in self._paths(name))

    def write(self, prediction: Prediction) -> Prediction | Refusal:
        """Write them and return the prediction without its maps, or why the image cannot be drawn on."""
        if self._maps is not None and prediction.map is not None:
            for label, values in prediction.label_maps.items():
                _save(_inside(self._maps, prediction.name, f".{file_name(label)}.npy"), values)
            _save(_inside(self._maps, prediction.name, ".npy"), prediction.map)
        if self._masks is not None:
            write_mask(prediction, _inside(self._masks, prediction.name, ".png"), self._classes)
        if self._overlays is not None:
            try:
                image, _ = read_reduced(prediction.path, OVERLAY_SIDE)
            except DataError as error:
                return prediction.path, prediction.name, str(error)
            with atomic_write(_inside(self._overlays, prediction.name, ".jpg"), "wb") as file:
                draw(image, prediction).save(file, "JPEG", quality=90)
        return replace(prediction, map=None, label_maps={})

    def _paths(self, name: str) -> Iterator[Path]:
        if self._maps is not None:
            yield _inside(self._maps, name, ".npy")
        if self._masks is not None:
            yield _inside(self._masks, name, ".png")
        if self._overlays is not None:
            yield _inside(self._overlays, name, ".jpg")


def _save(path: Path, values: FloatMap) -> None:
    with atomic_write(path, "wb") as file:
        np.save(file, values)


def file_name(label: str) -> str:
    """A class's name as a part of a file's."""
    return re.sub(r"[^\w.-]+", "_", label).strip(".") or "_"


def _inside(folder: Path, name: str, suffix: str) -> Path:
    """The suffix is added and replaces none: ``a.jpg`` and ``a.png`` are two images."""
    return folder / f"{name}{suffix}"


def _localizer(run: Run | Localizer | str | Path) -> Localizer:
    if isinstance(run, Localizer):
        return run
    if isinstance(run, (str, Path)):
        return Localizer.load(run)
    return Localizer(run)


def _refuse_unwritable(out: Path) -> None:
    """Find out now, and not after the first hour."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise RunError(unwritable(out, error)) from error


def _write_formats(formats: Sequence[str], journal: Journal, listed: Sources, out: Path) -> tuple[Path, ...]:
    classes = journal.header.classes
    return tuple(files.write(name, journal.predictions(each.name for each in listed), classes, out) for name in formats)
