"""A checkpoint: one safetensors file with everything that a run needs to go on, and no pickle.

The progress and the plain numbers of the optimiser's state are JSON in the file's header; tensors are named
``model/<name>`` and ``optimizer/<parameter>/<name>``. Data order and random numbers follow from the seed and the step,
so they need no saving.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn, optim

from boxless.errors import RunError
from boxless.files import atomic_write


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    stage: int = 0
    epoch: int = 0  # of this stage
    batch: int = 0  # batches of this epoch that are done
    sums: Mapping[str, float] = field(default_factory=dict)  # of each loss over those batches
    best: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of this stage, as `Tracker.better` has it
    past: Sequence[Mapping[str, Any]] = ()  # of each stage that is over: its name, and what chose which epoch
    seconds: float = 0.0  # spent in all sessions

    def after(self, **changes: Any) -> Progress:
        """A copy with some fields changed."""
        return replace(self, **changes)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata=dict(metadata or {}))
    with atomic_write(path, "wb") as file:
        file.write(content)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read as safetensors ({error}); the run is incomplete or damaged.") from error


def learnt_state(method: nn.Module) -> dict[str, Tensor]:
    """The method's state less a frozen backbone, which is the same in every checkpoint."""
    frozen = bool(getattr(method.backbone, "frozen", False))
    return {k: v for k, v in method.state_dict().items() if not (frozen and k.startswith("backbone."))}


def save_checkpoint(path: Path, method: nn.Module, optimizer: optim.Optimizer, progress: Progress) -> None:
    """Write a checkpoint, whole or not at all."""
    state = optimizer.state_dict()
    tensors = {f"model/{name}": value for name, value in learnt_state(method).items()}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{parameter}/{name}"] = value
            else:
                numbers.setdefault(str(parameter), {})[name] = value
    save_tensors(path, tensors, {"progress": json.dumps(asdict(progress)), "optimizer": json.dumps(numbers)})


def read_progress(path: Path) -> Progress:
    """How far a run had come.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return Progress(**json.loads((file.metadata() or {})["progress"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: cannot be read as a checkpoint ({error}); the run is incomplete or damaged."
        ) from error


def load_checkpoint(path: Path, method: nn.Module, optimizer: optim.Optimizer) -> Progress:
    """Restore the method and the optimiser, and tell how far the run had come.

    Raises:
        RunError: The file is damaged, or belongs to another method or backbone.
    """
    tensors = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
    model = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    if {k: v.shape for k, v in model.items()} != {k: v.shape for k, v in learnt_state(method).items()}:
        raise RunError(f"{path}: it holds another network than the recipe beside it; start anew in another folder.")
    method.load_state_dict(model, strict=False)
    state: dict[int, dict[str, Any]] = {int(k): v for k, v in json.loads(header["optimizer"]).items()}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, parameter, name = key.split("/", 2)
            state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**json.loads(header["progress"]))
