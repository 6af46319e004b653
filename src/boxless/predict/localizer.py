"""A network at work: any number of images in, a stream of predictions out, in bounded memory.

Images are decoded in threads, a batch ahead of the network; what follows the network (thresholds, boxes) is array code.
Nothing here imports torch before a run is opened: an exported model predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from PIL import Image, ImageOps

from boxless.data.colour import to_rgb
from boxless.data.images import read_image
from boxless.errors import DataError, RunError
from boxless.formats.records import check_name
from boxless.predict.augment import sides
from boxless.predict.boxing import Boxing
from boxless.predict.decoding import Decoded, Decoders, Large, Refused
from boxless.predict.engine import Engine
from boxless.predict.looking import Look
from boxless.predict.naming import Names
from boxless.predict.options import Options
from boxless.predict.sources import Paths, Source, Sources, are_paths
from boxless.predict.tiles import predict_tiles, wants_tiles
from boxless.stream import batched, default_workers
from boxless.types import Prediction

if TYPE_CHECKING:
    from boxless.predict.steady import Steady
    from boxless.runs import Run

OnError = Callable[[Path, str, DataError], None]
Picture = Image.Image | np.ndarray[Any, Any]  # a Pillow image, or an array (h, w), (h, w, 3 or 4) of uint8
_CLOSER = 2  # how much larger than the network's input an image is kept for a second look at parts of it


@final
class Localizer:
    """Finds boxes in any number of images: one of the class that it predicts, or what its options ask for.

    ``refused`` lists the images that the latest `predict` could not use, as ``(name, error)``, unless ``on_error`` took
    them.

    Args:
        network: An open run, or any other `Engine`.
    """

    def __init__(self, network: Run | Engine) -> None:
        self.engine = network if isinstance(network, Engine) else _of_run(network)
        self.refused: list[tuple[str, DataError]] = []

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", *, trust: bool = False) -> Localizer:
        """Open a run folder, or a file that ``boxless export`` wrote.

        Args:
            path: The folder, or the ``.onnx`` file.
            device: ``auto`` takes an accelerator if there is one.
            trust: Load the code that a run's recipe names (``module:Class``), if it names any.
        """
        if Path(path).suffix.lower() == ".onnx":
            from boxless.export.onnx_engine import OnnxEngine

            return cls(OnnxEngine(Path(path), device))
        from boxless.runs import open_run

        return cls(open_run(Path(path), device=device, trust=trust))

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str = "auto",
        trust: bool = False,
    ) -> Localizer:
        """Open a run on the Hugging Face Hub, as ``boxless push`` uploads it.

        Args:
            repo_id: ``owner/name``.
            revision: A commit, tag or branch; a commit pins what is fetched for good.
            token: In place of the one that ``hf auth login`` keeps.
            device: As for `load`.
            trust: As for `load`.
        """
        from boxless.export.hub import fetch_run

        return cls.load(fetch_run(repo_id, revision=revision, token=token), device, trust=trust)

    @property
    def run(self) -> Run:
        """The run that looks at the images.

        Raises:
            RunError: It is no run but an exported model.
        """
        run: Run | None = getattr(self.engine, "run", None)
        if run is None:
            raise RunError("an exported model has no run folder with it; load the run that it was exported from.")
        return run

    def predict(
        self,
        sources: Paths | Iterable[Source],
        options: Options | None = None,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        maps: bool = False,
        min_score: float | None = None,
        skip: Collection[str] = frozenset(),
        on_error: OnError | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each image, in the order of the sources.

        Args:
            sources: A file, a folder, a glob, or a list of them (see `Sources` for the names that images get); or an
                iterator of `Source`, of which only what the next two batches need is taken.
            options: How boxes are found; by default one of the predicted class.
            batch_size: Images in one forward pass; by default what suits the device.
            workers: Decoding threads; 0 decodes in the caller's thread.
            maps: Whether predictions keep their map, at the size of the network's input.
            min_score: In place of that of the options.
            skip: Names that are passed over.
            on_error: Called for an image that cannot be read; by default it goes to ``refused``. The stream goes on.

        Raises:
            ConfigError: The options ask for what this network cannot do.
            DataError: A source that does not exist, or no image in all of them.
        """
        job = self._job(options, maps, min_score)
        refused: list[tuple[str, DataError]] = []
        self.refused = refused
        report = on_error or (lambda path, name, error: refused.append((name, error)))
        listed = Sources(sources) if are_paths(sources) else sources
        wanted = (each for each in listed if each.name not in skip) if skip else listed
        size = batch_size or self.engine.batch_size
        return _reported(job.stream(wanted, size, default_workers() if workers is None else workers), report)

    def predict_arrays(
        self,
        pictures: Iterable[tuple[str, Picture]],
        options: Options | None = None,
        *,
        batch_size: int | None = None,
        maps: bool = False,
        steady: Steady | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each named picture in memory, such as the frames of a video, in their order.

        Args:
            pictures: Names and pictures; no more than a batch of them is taken ahead.
            options: How boxes are found.
            batch_size: Pictures in one forward pass.
            maps: Whether predictions keep their map.
            steady: Averages over pictures that follow each other in time; it is told of each before it is taken.

        Raises:
            ConfigError: The options ask for what this network cannot do.
            DataError: A picture that is none, or whose output is not finite.
        """
        job = self._job(options, maps, None, steady)
        decoded = (job.prepare(Source(Path(name), name), _upright(picture)) for name, picture in pictures)
        for batch in batched(decoded, batch_size or self.engine.batch_size):
            for outcome in job.finish(batch):
                if isinstance(outcome, Refused):
                    raise outcome.error
                yield outcome

    def predict_image(
        self, image: str | Path | Picture, options: Options | None = None, *, min_score: float | None = None
    ) -> Prediction:
        """Predict one image, with its map: a path, a Pillow image, or an array (h, w), (h, w, 3 or 4) of uint8.

        Raises:
            ConfigError: The options ask for what this network cannot do.
            DataError: It cannot be read, or the array is not an image.
        """
        job = self._job(options, True, min_score)
        if isinstance(image, (str, Path)):
            decoded: Decoded | Refused | Large = job.decode(Source(Path(image), Path(image).name))
        else:
            decoded = job.prepare(Source(Path("image"), "image"), _upright(image))
        outcome = job.large(decoded) if isinstance(decoded, Large) else decoded
        if isinstance(outcome, Decoded):
            (outcome,) = job.finish([outcome])
        if isinstance(outcome, Refused):
            raise outcome.error
        return outcome

    def classes(self, options: Options | None = None) -> tuple[str, ...]:
        """What classes are called in predictions with these options."""
        return Names(self.engine.classes, options.label_map if options else ()).classes

    def _job(self, options: Options | None, maps: bool, min_score: float | None, steady: Steady | None = None) -> _Job:
        options = options or Options()
        options = options if min_score is None else replace(options, min_score=min_score)
        return _Job(self.engine, options, maps, steady)


@final
class _Job:
    """A network and the options of one call."""

    def __init__(self, engine: Engine, options: Options, keep_maps: bool, steady: Steady | None = None) -> None:
        names = Names(engine.classes, options.label_map)
        self.engine, self.options, self.keep_maps = engine, options, keep_maps
        self.look, self.boxing = Look(engine, options, names, steady), Boxing(engine, options, names)
        self._sides = sides(engine, options)
        self._keeps_image = options.multi and options.rescore

    def stream(self, sources: Iterable[Source], batch_size: int, workers: int) -> Iterator[Prediction | Refused]:
        """Decode, forward, finish, batch by batch.

        On a processor the network uses every core, and threads beside it make its own wait for each other at the end
        of each layer, which costs more than all the decoding. So there the next batch is decoded after the forward
        pass, together with what follows it; with an accelerator it is decoded during the pass.
        """
        batches = batched(sources, batch_size)
        with Decoders(self.decode, workers) as decoders:
            decoders.start(next(batches, []))
            while batch := decoders.wait():
                if self.engine.beside:
                    decoders.start(next(batches, []))
                readable = [each for each in batch if isinstance(each, Decoded)]
                looked = self.look(readable) if readable else []
                if not self.engine.beside:
                    decoders.start(next(batches, []))
                results = iter(zip(readable, looked, strict=True))
                for each in batch:
                    if isinstance(each, Decoded):
                        yield self.boxing.predict(*next(results), keep_maps=self.keep_maps)
                    else:
                        yield self.large(each) if isinstance(each, Large) else each

    def large(self, image: Large) -> Prediction | Refused:
        """The prediction of an image in tiles."""
        outcome = predict_tiles(self.engine, image.source, self.options)
        if isinstance(outcome, Refused) or self.keep_maps:
            return outcome
        return replace(outcome, map=None, label_maps={})

    def decode(self, source: Source) -> Decoded | Refused | Large:
        """Errors are returned and not raised: one image that cannot be read must not end the stream."""
        try:
            check_name(source.name)  # now, and not when the first output file cannot hold it
            if self.options.tile is not None and wants_tiles(source, self.options):
                return Large(source)
            image, size = read_image(source.path, shrink_to=self._least_side)
            return self.prepare(source, image, size)
        except DataError as error:
            return Refused(source, error)

    def prepare(self, source: Source, image: Image.Image, size: tuple[int, int] | None = None) -> Decoded:
        """The squares that the network sees of an image whose original has ``size``."""
        squares = tuple(self.engine.resize(image, side) for side in self._sides)
        return Decoded(source, size or image.size, squares, image if self._keeps_image else None)

    def finish(self, batch: list[Decoded]) -> list[Prediction | Refused]:
        """Forward and boxes of decoded images."""
        looked = self.look(batch)
        return [
            self.boxing.predict(each, seen, keep_maps=self.keep_maps) for each, seen in zip(batch, looked, strict=True)
        ]

    @property
    def _least_side(self) -> int:
        return max(self._sides) * (_CLOSER if self._keeps_image else 1)


def _of_run(run: Run) -> Engine:
    from boxless.predict.torch_engine import TorchEngine

    return TorchEngine(run)


def _reported(outcomes: Iterable[Prediction | Refused], report: OnError) -> Iterator[Prediction]:
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            report(outcome.source.path, outcome.source.name, outcome.error)
        else:
            yield outcome


def _upright(image: Picture) -> Image.Image:
    if isinstance(image, Image.Image):
        return to_rgb(ImageOps.exif_transpose(image))
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise DataError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image; "
            "give uint8 of shape (height, width) or (height, width, 3), RGB."
        )
    return to_rgb(Image.fromarray(image))
