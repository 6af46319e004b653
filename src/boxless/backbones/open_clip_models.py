"""Models of open_clip by their names: what their configurations say, and the models themselves.

A name is ``open_clip:ARCHITECTURE/TAG``, the tag being that of pretrained weights, ``open_clip:ARCHITECTURE`` for
random weights, or ``open_clip:local-dir:FOLDER`` with open_clip's own files, ``open_clip_config.json`` and the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from boxless.backbones import weights as weight_sources
from boxless.errors import ConfigError, MissingExtraError, UnknownNameError, WeightsError, nearest
from boxless.parsing import parse_json

FAMILY = "open_clip:"
FOLDER = "local-dir:"


class _Vision(BaseModel):
    image_size: int | list[int] | None = None


class _Model(BaseModel):
    embed_dim: int
    vision_cfg: _Vision
    text_cfg: dict[str, Any]


class _Preprocess(BaseModel):
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class _FolderConfig(BaseModel):
    model_cfg: _Model
    preprocess_cfg: _Preprocess | None = None


_SEED = 0  # of random weights: an image tower and a text tower that are built apart are still of one model


def library() -> Any:
    """The package open_clip.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtraError("a CLIP model", "open_clip_torch", "clip") from error
    return open_clip


def parse(name: str) -> tuple[str, str | None]:
    """Architecture and tag of a name, with or without ``open_clip:``; of a folder ``local-dir:FOLDER`` and None.

    Raises:
        UnknownNameError: open_clip has no such architecture.
        ConfigError: It has no weights of this tag for it, or the folder has no configuration.
    """
    short = name.removeprefix(FAMILY)
    if short.startswith(FOLDER):
        _folder_config(short)
        return short, None
    architecture, _, tag = short.partition("/")
    known = library().list_models()
    if architecture not in known:
        raise UnknownNameError("architecture of open_clip", architecture, known)
    if not tag:
        return architecture, None
    if not library().get_pretrained_cfg(architecture, tag):
        tags = library().list_pretrained_tags_by_model(architecture)
        raise ConfigError(f"{FAMILY}{short}: open_clip has no weights {tag!r} of {architecture}; {nearest(tag, tags)}")
    return architecture, tag


def dimensions(name: str) -> int:
    """Width of the space that images and texts share, from the configuration alone; errors as those of `parse`."""
    return int(_config(parse(name)[0])["embed_dim"])


def preprocess(name: str) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in pixels, channel means and standard deviations of the images that a model was trained with.

    From the configuration alone; without a tag the means are those of the first CLIP.

    Raises:
        UnknownNameError: open_clip has no such architecture.
        ConfigError: It has no weights of this tag for it, the folder has no configuration, or images are not square.
    """
    architecture, tag = parse(name)
    size = _config(architecture)["vision_cfg"].get("image_size", 224)
    sides = set(size) if isinstance(size, (list, tuple)) else {size}
    if len(sides) != 1 or not isinstance(next(iter(sides)), int):
        raise ConfigError(f"backbone {name}: its images are of {size} pixels; only models of square images are read.")
    stated: Mapping[str, Any] = {}
    if architecture.startswith(FOLDER):
        stated = _folder_config(architecture).get("preprocess_cfg") or {}
    elif tag is not None:
        stated = library().get_pretrained_cfg(architecture, tag)
    mean = stated.get("mean") or library().OPENAI_DATASET_MEAN
    std = stated.get("std") or library().OPENAI_DATASET_STD
    return int(sides.pop()), (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def create(name: str, weights: str = "auto") -> Any:
    """A model of open_clip on torch's default device in float32, with both towers, in training mode.

    Args:
        name: As the module's docstring says.
        weights: ``auto`` and ``hub`` take the weights of the tag from the local cache or the hub, and those of a folder
            from there; ``random`` takes none: weights are then the same each time, and the random state is left as it
            was. No installed package has any, so ``package`` is refused.

    Raises:
        UnknownNameError: open_clip has no such architecture.
        ConfigError: It has no weights of this tag for it, no tag is named but weights are asked for, or the folder has
            no configuration.
        WeightsError: The weights cannot be had; the message says what else would do.
        MissingExtraError: open_clip is not installed.
    """
    check_at_hand(name, weights)
    architecture, tag = parse(name)
    in_folder = architecture.startswith(FOLDER)
    stated = library().get_pretrained_cfg(architecture, tag) if tag else {}
    with _seeded(), quiet():
        try:
            return library().create_model(
                architecture,
                pretrained=tag if weights != "random" else None,
                load_weights=weights != "random",
                require_pretrained=weights != "random",
                # open_clip only warns where an architecture's activation is not that of the weights.
                force_quick_gelu=bool(stated.get("quick_gelu")),
                pretrained_text=False,
                device=torch.get_default_device(),
            )
        except (OSError, RuntimeError, ValueError) as error:
            hint = "; its folder needs open_clip_model.safetensors that fits its configuration" if in_folder else ""
            raise WeightsError(f"backbone {name}: it could not be built and loaded ({error}){hint}.") from error


def check_at_hand(name: str, weights: str = "auto") -> None:
    """Refuse a model whose weights are neither here nor within reach, before anything is built; errors as `create`."""
    architecture, tag = parse(name)
    in_folder = architecture.startswith(FOLDER)
    _check_source(name, weights, architecture, wanting=tag is None and not in_folder)
    if tag and weights != "random":
        _check_reach(name, library().get_pretrained_cfg(architecture, tag)["hf_hub"])


def _check_source(name: str, weights: str, architecture: str, *, wanting: bool) -> None:
    if weights not in weight_sources.SOURCES:
        known = ", ".join(weight_sources.SOURCES)
        raise ConfigError(f"backbone.weights: unknown source {weights!r}; known: {known}.")
    if weights == "package":
        raise WeightsError(f"backbone {name}: no installed package has its weights; take the source auto.")
    if wanting and weights != "random":
        tags = library().list_pretrained_tags_by_model(architecture)
        offer = f"{FAMILY}{architecture}/TAG with one of the tags {', '.join(tags)}, or " if tags else ""
        raise ConfigError(
            f"backbone {name}: no tag says which weights it should have; name {offer}random weights with "
            "--set backbone.weights=random"
        )


def in_hub_cache(name: str) -> bool:
    """Whether the hub's local cache holds the weights of the tag; errors as those of `parse`."""
    architecture, tag = parse(name)
    repository = library().get_pretrained_cfg(architecture, tag)["hf_hub"] if tag else ""
    identifier, _, file = repository.rpartition("/")
    stem = file.rpartition(".")[0]
    files = (file, f"{stem}.safetensors") if file else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return bool(identifier) and weight_sources.is_cached(identifier, files)


def _check_reach(name: str, repository: str) -> None:
    """Refuse weights that are neither in the local cache nor within reach, before open_clip tries for long."""
    if not in_hub_cache(name) and not weight_sources.hub_answers():
        raise WeightsError(
            f"backbone {name}: its weights are on the hub ({repository.rpartition('/')[0]}), which is out of reach, "
            f"and not in the local cache; connect once, or name a folder that has them as {FAMILY}{FOLDER}FOLDER, or "
            "take random weights with --set backbone.weights=random"
        )


def _config(architecture: str) -> dict[str, Any]:
    if architecture.startswith(FOLDER):
        found: dict[str, Any] = _folder_config(architecture)["model_cfg"]
    else:
        found = library().get_model_config(architecture)
    return found


def _folder_config(architecture: str) -> dict[str, Any]:
    path = Path(architecture.removeprefix(FOLDER)) / "open_clip_config.json"
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{FAMILY}{architecture}: {path} cannot be read ({error}); expected a folder as open_clip saves models, "
            "with open_clip_config.json and the weights."
        ) from error
    try:
        _FolderConfig.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{path}: {'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}; expected the key model_cfg "
            "with embed_dim, vision_cfg and text_cfg."
        ) from error
    return dict(config)


@contextmanager
def _seeded() -> Iterator[None]:
    """Within it, random numbers of the processor are the same each time; other devices' are untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, open_clip's log does not set up a root handler, which would then print every library's messages."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
