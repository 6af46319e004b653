"""An exported model as what looks at images: by onnxruntime, without torch.

A model file is data, and may come from anywhere: no library of operators is loaded for it, and it may not read other
files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from boxless.errors import ConfigError, MissingExtraError, RunError
from boxless.export.facts import INPUT, OUTPUTS, SIZE, Facts, read_facts
from boxless.predict.engine import Engine, Said

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2**31 - 1  # bytes that a file of this format can have
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3
_DIMENSIONS = {"logits": 2, "scores": 2, "label": 1, "maps": 4, "threshold": 2, "mask": 4}
_READ = ("logits", "label", "maps")


@final
class OnnxEngine(Engine):
    """A model that ``boxless export`` wrote.

    Args:
        file: The ``.onnx`` file.
        device: ``auto`` takes an accelerator if onnxruntime has one, ``cpu`` or ``cuda`` take that.

    Raises:
        RunError: The file is missing, is no model, or none that boxless wrote.
        ConfigError: There is no such device here.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, file: str | Path, device: str = "auto") -> None:
        path = Path(file)
        runtime = _onnxruntime()
        provider = _provider(device, runtime.get_available_providers())
        content = _read(path)
        self._session = _session(runtime, content, path, provider)
        facts = read_facts(self._session.get_modelmeta().custom_metadata_map, str(path))
        _check_graph(self._session, facts, path)
        self.file, self.facts = path, facts
        self.classes, self.threshold, self.multi_label = facts.classes, facts.threshold, facts.multi_label
        self.size, self.any_size, self.presence = facts.size, facts.any_size, facts.presence
        self.selected_by, self.threshold_from = facts.selected_by, facts.threshold_from
        self.digest = hashlib.sha256(content).hexdigest()[:32]
        self.beside = provider != _PROVIDERS["cpu"]
        self.batch_size = 64 if self.beside else 16

    def forward(self, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None) -> Said:
        """Class scores and maps; see :class:`Engine`.

        Raises:
            ConfigError: The network takes no images of this size, or the file has no maps of these classes.
        """
        found = self.outputs(images, _READ)
        logits, label, maps = (found[name] for name in _READ)
        asked = label[:, None] if classes is None else classes
        chosen = self._of(maps, label, asked)
        finite = np.isfinite(maps).all((1, 2, 3)) & np.isfinite(logits).all(1)
        chosen = np.where(finite[:, None, None, None], chosen, np.float32(0)).clip(0, 1)
        return Said(np.where(finite[:, None], logits, 0).astype(np.float64), asked, chosen, finite)

    def outputs(self, images: NDArray[np.uint8], names: tuple[str, ...] = OUTPUTS) -> dict[str, NDArray[Any]]:
        """What the graph gives for images (b, h, w, 3) of the network's size, by name.

        Raises:
            ConfigError: The network takes no images of this size.
            RunError: onnxruntime cannot run it, or it gives something else than its metadata say.
        """
        count, *sides = images.shape[:3]
        feed: dict[str, Any] = {INPUT: np.ascontiguousarray(images)}
        if sides != [self.size, self.size]:
            if not self.any_size:
                raise ConfigError(
                    f"{self.file}: its network takes images of {self.size} x {self.size} pixels, got "
                    f"{sides[1]} x {sides[0]}; leave out other scales and sizes, or export with: --any-size"
                )
            feed[SIZE] = np.array(sides, np.int64)
        found = self.raw(feed, names)
        classes = len(self.classes)
        depth = classes if self.facts.maps == "all" else 1
        shapes = {"label": (count,), "threshold": (count, depth)}
        shapes |= dict.fromkeys(("logits", "scores"), (count, classes))
        shapes |= dict.fromkeys(("maps", "mask"), (count, depth, *sides))
        wrong = [name for name, value in found.items() if value.shape != shapes[name]]
        if wrong or not ((found["label"] >= 0) & (found["label"] < classes)).all():
            raise RunError(
                f"{self.file}: it is damaged: {', '.join(wrong) or 'label'} is not what its metadata say; export the "
                "run again."
            )
        return found

    def raw(self, feed: dict[str, Any], names: tuple[str, ...] = OUTPUTS) -> dict[str, NDArray[Any]]:
        """What the graph gives for inputs by name: images of any one size are resized inside.

        Raises:
            RunError: onnxruntime cannot run it.
        """
        try:
            return dict(zip(names, self._session.run(list(names), feed), strict=True))
        except Exception as error:  # onnxruntime's own classes have no common base but this
            raise RunError(
                f"{self.file}: onnxruntime cannot run it ({_short(error)}); export the run again."
            ) from error

    def _of(self, maps: NDArray[np.float32], label: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.float32]:
        """The maps (b, n, h, w) of the classes (b, n)."""
        if self.facts.maps == "all":
            return np.take_along_axis(maps, asked[:, :, None, None], 1)
        if self.facts.maps == "predicted" and (asked != label[:, None]).any():
            raise ConfigError(
                f"{self.file}: it has the map of the predicted class alone, and others are asked for; export the run "
                "with: --maps all"
            )
        return np.broadcast_to(maps, (*asked.shape, *maps.shape[2:]))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("an exported model", "onnxruntime", "onnx") from error
    return onnxruntime


def _provider(device: str, available: list[str]) -> str:
    known = {name: provider for name, provider in _PROVIDERS.items() if provider in available}
    if device == "auto":
        return known.get("cuda", _PROVIDERS["cpu"])
    if device not in known:
        raise ConfigError(f"device {device!r}: onnxruntime has none of that name here; it has {', '.join(known)}.")
    return known[device]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise RunError(f"{path}: it is larger than any model of this format; give the file that was exported.")
        return path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); make it with: boxless export RUN --onnx FILE"
        ) from error


def _session(runtime: Any, content: bytes, path: Path, provider: str) -> Any:
    """Of the content and not of the path, so that onnxruntime knows no folder to look for further files in."""
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        return runtime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # as above
        raise RunError(
            f"{path}: onnxruntime cannot load it ({_short(error)}); it is damaged, no ONNX model, or needs a newer "
            "onnxruntime."
        ) from error


def _check_graph(session: Any, facts: Facts, path: Path) -> None:
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = {each.name: len(each.shape) for each in session.get_outputs()}
    right = (
        list(inputs) == [INPUT]
        and inputs[INPUT].type == "tensor(uint8)"
        and len(inputs[INPUT].shape) == 4
        and all(outputs.get(name) == count for name, count in _DIMENSIONS.items())
    )
    if not right:
        raise RunError(
            f"{path}: its inputs ({', '.join(inputs) or 'none'}) and outputs ({', '.join(outputs) or 'none'}) are not "
            f"those that boxless writes ({INPUT}; {', '.join(OUTPUTS)}); export the run again."
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
