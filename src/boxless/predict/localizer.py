"""A run at work: any number of images in, a stream of predictions out, in bounded memory.

Images are decoded in threads, a batch ahead of the network; what follows the network (thresholds, boxes) is array code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from PIL import Image, ImageOps

from boxless.data.colour import to_rgb
from boxless.data.images import read_image
from boxless.errors import DataError
from boxless.formats.records import check_name
from boxless.maps.sanity import kinds_of
from boxless.ops.boxes import clip, scale
from boxless.ops.components import largest_boxes
from boxless.ops.maps import resize
from boxless.ops.otsu import otsu_thresholds
from boxless.predict.decoding import Decoded, Decoders, Refused
from boxless.predict.sources import Paths, Source, Sources, are_paths
from boxless.stream import batched, default_workers
from boxless.types import Box, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.runs import Run

OnError = Callable[[Path, str, DataError], None]


@dataclass(frozen=True, slots=True)
class _Raw:
    """What the network said of a batch."""

    batch: list[Decoded]
    probabilities: NDArray[np.float64]  # (b,) of the predicted class
    indices: NDArray[np.int64]  # (b,)
    maps: NDArray[np.float32]  # (b, size, size) in [0, 1]; zeros where the network's output is not finite
    finite: NDArray[np.bool_]  # (b,)


@final
class Localizer:
    """Finds the box of the class that it predicts, in any number of images.

    ``refused`` lists the images that the latest `predict` could not use, as ``(name, error)``, unless ``on_error`` took
    them.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.refused: list[tuple[str, DataError]] = []

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Localizer:
        """Open a run folder; ``device="auto"`` takes an accelerator if there is one."""
        from boxless.runs import open_run

        return cls(open_run(Path(folder), device=device))

    def predict(
        self,
        sources: Paths | Iterable[Source],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        maps: bool = False,
        min_score: float = 0.0,
        skip: Collection[str] = frozenset(),
        on_error: OnError | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each image, in the order of the sources.

        Args:
            sources: A file, a folder, a glob, or a list of them (see `Sources` for the names that images get); or an
                iterator of `Source`, of which only what the next two batches need is taken.
            batch_size: Images in one forward pass; by default what suits the device.
            workers: Decoding threads; 0 decodes in the caller's thread.
            maps: Whether predictions keep their map, at the size of the network's input.
            min_score: Boxes with a lower score are left out; the prediction stays, without a box.
            skip: Names that are passed over.
            on_error: Called for an image that cannot be read; by default it goes to ``refused``. The stream goes on.

        Raises:
            DataError: A source that does not exist, or no image in all of them.
        """
        refused: list[tuple[str, DataError]] = []
        self.refused = refused
        report = on_error or (lambda path, name, error: refused.append((name, error)))
        listed = Sources(sources) if are_paths(sources) else sources
        wanted = (each for each in listed if each.name not in skip) if skip else listed
        return self._stream(wanted, batch_size or self.default_batch_size(), workers, maps, min_score, report)

    def predict_image(self, image: str | Path | Image.Image | NDArray[Any], *, min_score: float = 0.0) -> Prediction:
        """Predict one image, with its map: a path, a Pillow image, or an array (h, w), (h, w, 3 or 4) of uint8.

        Raises:
            DataError: It cannot be read, or the array is not an image.
        """
        if isinstance(image, (str, Path)):
            source = Source(Path(image), Path(image).name)
            decoded = self._decode(source)
            if isinstance(decoded, Refused):
                raise decoded.error
        else:
            source = Source(Path("image"), "image")
            upright = _upright(image)
            decoded = Decoded(source, upright.size, self.run.preprocess(upright))
        raw = self._forward([decoded])
        (outcome,) = self._finish(raw, True, min_score)
        if isinstance(outcome, Refused):
            raise outcome.error
        return outcome

    def default_batch_size(self) -> int:
        """Images in one forward pass: larger where the device hides the cost of a launch."""
        return 32 if self.run.device.type == "cpu" else 64

    def _stream(
        self,
        sources: Iterable[Source],
        batch_size: int,
        workers: int | None,
        keep_maps: bool,
        min_score: float,
        report: OnError,
    ) -> Iterator[Prediction]:
        """Decode, forward, finish, batch by batch.

        On a processor the network uses every core, and threads beside it make its own wait for each other at the end
        of each layer, which costs more than all the decoding. So there the next batch is decoded after the forward
        pass, together with what follows it; with an accelerator it is decoded during the pass.
        """
        beside = self.run.device.type != "cpu"
        batches = batched(sources, batch_size)
        with Decoders(self._decode, default_workers() if workers is None else workers) as decoders:
            decoders.start(next(batches, []))
            while batch := decoders.wait():
                if beside:
                    decoders.start(next(batches, []))
                readable = [each for each in batch if isinstance(each, Decoded)]
                raw = self._forward(readable) if readable else None
                if not beside:
                    decoders.start(next(batches, []))
                finished = self._finish(raw, keep_maps, min_score) if raw is not None else []
                yield from _reported(_merged(batch, finished), report)

    def _decode(self, source: Source) -> Decoded | Refused:
        """Errors are returned and not raised: one image that cannot be read must not end the stream."""
        try:
            check_name(source.name)  # now, and not when the first output file cannot hold it
            image, size = read_image(source.path, shrink_to=self.run.preprocess.size)
            return Decoded(source, size, self.run.preprocess(image))
        except DataError as error:
            return Refused(source, error)

    @torch.no_grad()  # not inference_mode: methods may take gradients inside
    def _forward(self, batch: list[Decoded]) -> _Raw:
        run = self.run
        images = torch.stack([each.tensor for each in batch])
        if run.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)  # a third faster in convolutions
        said = run.method.localize(images.to(run.device, non_blocking=True))
        logits = said.logits.double()
        probabilities = logits.sigmoid() if run.multi_label else logits.softmax(1)
        shown = probabilities.gather(1, said.classes[:, :1])[:, 0]
        grids = said.maps[:, :1].float()
        finite = grids.isfinite().flatten(1).all(1) & shown.isfinite()  # before clamping, which hides an infinity
        grids = torch.where(finite[:, None, None, None], grids, 0)
        maps = resize(grids, (run.preprocess.size, run.preprocess.size))
        return _Raw(
            batch,
            shown.cpu().numpy(),
            said.classes[:, 0].cpu().numpy(),
            maps[:, 0].clamp(0, 1).contiguous().cpu().numpy(),
            finite.cpu().numpy(),
        )

    def _finish(self, raw: _Raw, keep_maps: bool, min_score: float) -> list[Prediction | Refused]:
        """From maps to boxes in original pixels."""
        maps = raw.maps
        if self.run.threshold == "otsu":
            thresholds = otsu_thresholds(maps)
        else:
            thresholds = np.full(len(maps), float(self.run.threshold))
        boxes, areas = largest_boxes(maps, thresholds)
        wrong = kinds_of(maps, thresholds)
        outcomes: list[Prediction | Refused] = []
        for i, each in enumerate(raw.batch):
            if not raw.finite[i]:
                outcomes.append(_not_finite(each.source))
                continue
            index, score = int(raw.indices[i]), float(raw.probabilities[i])
            label = self.run.classes[index]
            found: tuple[Box, ...] = ()
            if areas[i] > 0 and score >= min_score:
                found = (Box(_original(boxes[i], maps.shape[1:], each.size), label, index, score),)
            outcomes.append(
                Prediction(
                    path=each.source.path,
                    name=each.source.name,
                    size=each.size,
                    label=label,
                    label_index=index,
                    score=score,
                    boxes=found,
                    threshold=float(thresholds[i]),
                    map=maps[i].copy() if keep_maps else None,  # a view would keep the whole batch alive
                    warning=wrong[i],
                )
            )
        return outcomes


def _merged(batch: list[Decoded | Refused], finished: list[Prediction | Refused]) -> Iterator[Prediction | Refused]:
    """What became of each image of a batch, in order: what was decoded has its place in ``finished``."""
    results = iter(finished)
    for each in batch:
        yield each if isinstance(each, Refused) else next(results)


def _reported(outcomes: Iterable[Prediction | Refused], report: OnError) -> Iterator[Prediction]:
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            report(outcome.source.path, outcome.source.name, outcome.error)
        else:
            yield outcome


def _original(
    box: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """From a box in map pixels, of a map of ``shape`` (height, width), to one in pixels of the image."""
    height, width = shape
    x0, y0, x1, y1 = clip(scale(box[None], (width, height), size), size)[0].tolist()
    return x0, y0, x1, y1


def _not_finite(source: Source) -> Refused:
    reason = (
        f"{source.path}: the network's output for it is not finite; if this happens to many images the run's weights "
        "are broken (train again), else leave the image out."
    )
    return Refused(source, DataError(reason))


def _upright(image: Image.Image | NDArray[Any]) -> Image.Image:
    if isinstance(image, Image.Image):
        return to_rgb(ImageOps.exif_transpose(image))
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise DataError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image; "
            "give uint8 of shape (height, width) or (height, width, 3), RGB."
        )
    return to_rgb(Image.fromarray(image))
