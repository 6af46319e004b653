"""From a run to a model file that was seen to say the same, or no file at all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from boxless import __version__
from boxless.errors import ConfigError, RunError
from boxless.export.checking import Parity, compare, noise
from boxless.export.facts import Facts
from boxless.export.graph import Graph, Maps
from boxless.export.int8 import Cost, cost, quantize
from boxless.export.onnx_engine import OnnxEngine
from boxless.export.onnx_file import label, make_model, onnx_packages, write_model
from boxless.export.pictures import Picture, find_pictures, look, spread
from boxless.files import unwritable
from boxless.listener import Listener
from boxless.predict.torch_engine import TorchEngine
from boxless.runs import Run, open_run

MEASURED = 400  # images that the cost of 8 bits is measured on, at most: on fewer it drowns in chance
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it was checked."""

    file: Path
    facts: Facts
    parity: Parity
    checked_on: str
    int8_file: Path | None
    int8_cost: Cost | None
    refused: tuple[tuple[str, str], ...]  # images that could not be read, with the reason

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": str(self.file),
            "megabytes": self.file.stat().st_size / 1e6,
            "model": self.facts.to_dict(),
            "check": {"on": self.checked_on, **self.parity.to_dict()},
            "int8": None if self.int8_file is None else {"file": str(self.int8_file)},
            "int8_cost": None if self.int8_cost is None else self.int8_cost.to_dict(),
        }


def export_onnx(
    run: str | Path | Run,
    file: str | Path,
    *,
    check: str | Path | None = None,
    images: int = 32,
    maps: Literal["predicted", "all"] | None = None,
    any_size: bool = False,
    int8: bool = False,
    format: str = "auto",  # noqa: A002
    trust: bool = False,
    listener: Listener | None = None,
) -> Exported:
    """Write a run as one ONNX file: resizing, normalisation, network, map, threshold and mask.

    The file is written only if onnxruntime, on the very same pixels, gives the run's scores and maps to 1e-4, its
    class, and its box.

    Args:
        run: Its folder, or the open run, on the processor.
        file: What is written; with ``int8`` a second file beside it, ``NAME.int8.onnx``.
        check: Images to compare on: labelled data, or a folder; None compares on noise.
        images: How many of them, spread evenly.
        maps: Of the predicted class, or of all classes; None is all for images of several classes.
        any_size: Let the input ``network_size`` choose the size that the network runs at, where it takes any.
        int8: Also write the weights in 8 bits, and measure what that costs on ``check``.
        format: Of the data.
        trust: Load the code that the recipe names as ``module:Class``.
        listener: Hears of the progress.

    Raises:
        RunError: The model does not say what the run says; the message shows where.
        ConfigError: The method or its network cannot be exported, or settings do not fit.
        BoxlessError: The run or the data cannot be read, or onnx is not installed.
    """
    onnx_packages()
    target, listener = Path(file), listener or Listener()
    if target.suffix.lower() != ".onnx":
        raise ConfigError(f"{target}: the file's name must end in .onnx, by which predict knows it.")
    if images < 1:
        raise ConfigError(f"images: {images} is too few to check on; give 1 or more.")
    opened = run if isinstance(run, Run) else open_run(run, device="cpu", trust=trust)
    facts = _facts(opened, maps, any_size)
    known = find_pictures(check, format=format, listener=listener) if check is not None else ()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
            return _Export(opened, facts, target, Path(scratch), listener).run(known, str(check), images, int8=int8)
    except OSError as error:
        raise RunError(unwritable(target, error)) from error


class _Export:
    """One export, in a folder of its own until all is well."""

    def __init__(self, run: Run, facts: Facts, target: Path, scratch: Path, listener: Listener) -> None:
        self.opened, self.facts, self.target, self.listener = run, facts, target, listener
        self.draft = scratch / target.name
        self.small = target.with_suffix(".int8.onnx")
        self.small_draft = scratch / self.small.name
        self.refused: list[tuple[str, str]] = []

    def run(self, known: Sequence[Picture], data: str, images: int, *, int8: bool) -> Exported:
        self.listener.begin("tracing the network", 1)
        write_model(make_model(Graph(self.opened, self.facts.maps), self.facts), self.draft)
        self.listener.end()
        model = OnnxEngine(self.draft, "cpu")
        parity = self._compared(model, spread(known, images))
        if parity.wrong:
            raise RunError(self._differs(parity))
        price = self._quantized(model, spread(known, MEASURED)) if int8 else None
        self.draft.replace(self.target)
        if int8:
            self.small_draft.replace(self.small)
        on = f"{len(parity.differences)} images of {data}" if known else f"{len(parity.differences)} images of noise"
        small = self.small if int8 else None
        return Exported(self.target, self.facts, parity, on, small, price, tuple(dict(self.refused).items()))

    def _compared(self, model: OnnxEngine, pictures: Sequence[Picture]) -> Parity:
        engine = TorchEngine(self.opened)
        self.listener.begin("comparing", len(pictures))
        squares = [(each.picture.name, each.square) for each in look(pictures, engine, self.refused)]
        if pictures and not squares:
            raise RunError(f"{self.target}: not written, since no image to check on can be read: {self.refused[0][1]}")
        parity = compare(engine, model, squares or noise(model.size))
        self.listener.end()
        return parity

    def _quantized(self, model: OnnxEngine, pictures: Sequence[Picture]) -> Cost | None:
        import onnx

        quantize(self.draft, self.small_draft)
        small = onnx.load(self.small_draft)
        label(small, replace(self.facts, precision="int8"))
        write_model(small, self.small_draft)
        if not pictures:
            return None
        self.listener.begin("measuring 8 bits", len(pictures))
        seen = list(look(pictures, model, self.refused))
        price = cost(model, OnnxEngine(self.small_draft, "cpu"), seen)
        self.listener.end()
        return price

    def _differs(self, parity: Parity) -> str:
        rows = [parity.HEADER, *(each.row() for each in parity.wrong[:SHOWN])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if len(parity.wrong) > SHOWN:
            lines.append(f"and {len(parity.wrong) - SHOWN} more")
        return "\n  ".join(
            [
                f"{self.target}: not written. onnxruntime does not give what the run gives on {len(parity.wrong)} of "
                f"{len(parity.differences)} images:",
                *lines,
            ]
        )


def _facts(run: Run, asked: Literal["predicted", "all"] | None, any_size: bool) -> Facts:
    """What the file says of itself.

    Raises:
        ConfigError: The method cannot be exported, or the network not for any size.
    """
    method, recipe = run.method, run.recipe
    if method.not_exported:
        raise ConfigError(
            f"{run.folder}: the method {recipe.method.name} cannot be exported: {method.not_exported}. Predict with "
            "the run itself, or train another method: boxless list methods"
        )
    if any_size and not method.backbone.any_size:
        raise ConfigError(
            f"--any-size: {recipe.backbone.name} takes images of {run.preprocess.size} pixels only; leave it out."
        )
    several: Maps = asked or ("all" if run.multi_label else "predicted")
    engine = TorchEngine(run)
    packages = ("torch", "onnx", "onnxruntime", "onnxscript", "timm")
    return Facts(
        classes=run.classes,
        threshold=run.threshold if isinstance(run.threshold, float) else "otsu",
        multi_label=run.multi_label,
        size=run.preprocess.size,
        any_size=any_size,
        maps=several if method.class_specific else "shared",
        selected_by=engine.selected_by,
        threshold_from=engine.threshold_from,
        presence=None if engine.presence is None else dict(engine.presence),
        run=run.digest,
        method=recipe.method.name,
        backbone=recipe.backbone.name,
        licence=str(run.card.get("backbone", {}).get("licence", "")),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"boxless": __version__, **{name: version(name) for name in packages}},
    )
