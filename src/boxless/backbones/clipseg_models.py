"""Models of CLIPSeg by their names: what their files say, and the models themselves, through transformers.

A name is ``clipseg:CIDAS/clipseg-rd64-refined`` or another of `HUB`, or ``clipseg:FOLDER`` with what transformers'
``save_pretrained`` wrote of a model and of its tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from boxless.backbones import weights as weight_sources
from boxless.errors import ConfigError, MissingExtraError, UnknownNameError, WeightsError

FAMILY = "clipseg:"
HUB: Mapping[str, Mapping[str, Any]] = {  # what differs from transformers' own configuration, so that none is fetched
    "CIDAS/clipseg-rd64-refined": {"reduce_dim": 64, "use_complex_transposed_convolution": True},
    "CIDAS/clipseg-rd64": {"reduce_dim": 64},
    "CIDAS/clipseg-rd16": {"reduce_dim": 16},
}
PATCH, SIDE = 16, 352  # of the published models, in pixels
# The authors trained with images prepared as for ImageNet, and not as CLIP's were.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SEED = 0  # of random weights: an image tower and a text tower that are built apart are still of one model


def library() -> Any:
    """The package transformers.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("a CLIPSeg model", "transformers", "clipseg") from error
    return transformers


def parse(name: str) -> str:
    """What transformers calls the model: its place on the hub, or its folder.

    Raises:
        UnknownNameError: It is neither published by the authors nor a folder.
        ConfigError: The folder holds no configuration of a CLIPSeg model.
    """
    short = name.removeprefix(FAMILY)
    if short in HUB:
        return short
    if not Path(short).is_dir():
        raise UnknownNameError("CLIPSeg model or folder", short, HUB)
    if _json(Path(short) / "config.json").get("model_type") != "clipseg":
        raise ConfigError(
            f"backbone {name}: the folder has no config.json of a CLIPSeg model; give one that the save_pretrained of "
            "transformers' CLIPSegForImageSegmentation wrote."
        )
    return short


def preprocess(name: str) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in pixels, channel means and standard deviations of images, from files alone and without transformers.

    A folder without a processor's file has those of the published models; errors are those of `parse`.
    """
    place = parse(name)
    if place in HUB:
        return SIDE, MEAN, STD
    whole = _json(Path(place) / "processor_config.json").get("image_processor")
    stated = whole or _json(Path(place) / "preprocessor_config.json")
    size = stated.get("size", SIDE)
    side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", SIDE))
    mean, std = stated.get("image_mean", MEAN), stated.get("image_std", STD)
    return int(side), (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def create(name: str, weights: str = "auto") -> Any:
    """The whole model with its text tower, on the processor in float32, in evaluation mode.

    Args:
        name: As the module's docstring says.
        weights: ``auto`` and ``hub`` take them from the local cache or the hub, and those of a folder from there;
            ``random`` takes none: weights are then the same each time, and the random state is left as it was. No
            installed package has any, so ``package`` is refused.

    Raises:
        UnknownNameError, ConfigError: As `parse` says, or there is no such source.
        WeightsError: The weights cannot be had, or do not fit the configuration.
        MissingExtraError: transformers is not installed.
    """
    if weights not in weight_sources.SOURCES:
        known = ", ".join(weight_sources.SOURCES)
        raise ConfigError(f"backbone.weights: unknown source {weights!r}; known: {known}.")
    if weights == "package":
        raise WeightsError(f"backbone {name}: no installed package has its weights; take the source auto.")
    place, kind = parse(name), library().CLIPSegForImageSegmentation
    if weights == "random":
        with torch.random.fork_rng(devices=()), _quiet():
            torch.manual_seed(_SEED)
            return kind(_config(place)).eval()
    with _quiet():
        found, told = _load(name, place, kind, dtype=torch.float32, output_loading_info=True)
    if told["missing_keys"]:
        missing = ", ".join(sorted(told["missing_keys"])[:3])
        raise WeightsError(f"backbone {name}: its weights lack {missing}; take a model that was saved whole.")
    return found.eval()


def tokenizer(name: str) -> Any:
    """What makes tokens of a model's prompts.

    Raises:
        UnknownNameError, ConfigError: As `parse` says.
        WeightsError: Its files cannot be had.
        MissingExtraError: transformers is not installed.
    """
    place = parse(name)
    with _quiet():
        found = _load(name, place, library().CLIPTokenizer)
    if len(found) <= len(set(found.all_special_ids)):  # so transformers builds it where there are no files
        raise WeightsError(
            f"backbone {name}: its tokenizer's files are not there; save the tokenizer beside the model, or connect "
            "once if it is on the hub."
        )
    return found


def _config(place: str) -> Any:
    if place not in HUB:
        return library().CLIPSegConfig.from_pretrained(place)
    return library().CLIPSegConfig(vision_config={"patch_size": PATCH}, **HUB[place])


def _load(name: str, place: str, kind: Any, **options: Any) -> Any:
    """What ``from_pretrained`` of a class of transformers gives; the hub is asked only if it answers."""
    local = place not in HUB or not weight_sources.hub_answers()
    try:
        return kind.from_pretrained(place, local_files_only=local, **options)
    except (OSError, RuntimeError, ValueError) as error:
        if place in HUB and local:
            raise WeightsError(
                f"backbone {name}: it is on the hub, which is out of reach, and not whole in the local cache; connect "
                "once, or name a folder with clipseg:FOLDER."
            ) from error
        raise WeightsError(f"backbone {name}: it could not be loaded ({error}).") from error


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing if it is not there or is no mapping."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, transformers shows no progress of its own and warns of nothing: what matters is an error here."""
    logging = library().utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
