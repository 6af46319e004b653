"""Which class builds a backbone: the family before the colon of its name decides, and without one it is of timm."""

from __future__ import annotations

from pathlib import Path

import timm

from boxless.backbones import weights as weight_sources
from boxless.backbones.base import Backbone
from boxless.errors import ConfigError, UnknownNameError

FAMILIES = ("open_clip", "clipseg")


def build_backbone(
    name: str,
    *,
    weights: str = "auto",
    image_size: int = 224,
    output_stride: int | None = None,
    dilate: bool = True,
) -> Backbone:
    """A backbone by its name.

    Args:
        name: A name of timm, ``open_clip:...`` or ``clipseg:...``; see `OpenClipBackbone` and `ClipSegBackbone`.
        weights: Where its weights come from; ``random`` takes none.
        image_size: Side of the square input, in pixels.
        output_stride: Stride of the last stage; see `TimmBackbone`.
        dilate: Whether dilation takes the place of strides; see `TimmBackbone`.

    Raises:
        UnknownNameError: There is no such family or network.
        ConfigError: The network does not take these settings.
        WeightsError: The weights cannot be had.
        MissingExtraError: The family's package is not installed.
    """
    family = family_of(name)
    if not family:
        from boxless.backbones.timm_backbone import TimmBackbone

        return TimmBackbone(name, weights=weights, image_size=image_size, output_stride=output_stride, dilate=dilate)
    if output_stride is not None or not dilate:
        raise ConfigError(
            f"backbone {name}: strides of {family} networks cannot be changed; leave output_stride and dilate out."
        )
    if family == "open_clip":
        from boxless.backbones.open_clip_backbone import OpenClipBackbone

        return OpenClipBackbone(name, weights=weights, image_size=image_size)
    from boxless.backbones.clipseg_backbone import ClipSegBackbone

    return ClipSegBackbone(name, weights=weights, image_size=image_size)


def preprocessing_of(name: str) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in pixels, channel means and standard deviations of the images that a network was trained with.

    Nothing is built for it. The errors are those of `check_name`.
    """
    check_name(name)
    family = family_of(name)
    if family == "open_clip":
        from boxless.backbones import open_clip_models

        return open_clip_models.preprocess(name)
    if family == "clipseg":
        from boxless.backbones import clipseg_models

        return clipseg_models.preprocess(name)
    config = timm.get_pretrained_cfg(name)
    return int(config.input_size[1]), tuple(config.mean), tuple(config.std)


def check_name(name: str) -> None:
    """Refuse a name of no network.

    Raises:
        UnknownNameError: There is no such family or network; the message has the nearest names.
        ConfigError: The family has no such weights of the network, or the folder that is named does not hold one.
        MissingExtraError: The family's package is not installed.
    """
    family = family_of(name)
    if family == "open_clip":
        from boxless.backbones import open_clip_models

        open_clip_models.parse(name)
    elif family == "clipseg":
        from boxless.backbones import clipseg_models

        clipseg_models.parse(name)
    elif not timm.is_model(name):
        raise UnknownNameError("backbone", name, timm.list_models())


def whereabouts(name: str) -> str:
    """Where the weights of a backbone are, in words; the errors are those of `check_name`."""
    check_name(name)
    family, place = family_of(name), name.partition(":")[2]
    if family == "open_clip":
        from boxless.backbones import open_clip_models

        if place.startswith(open_clip_models.FOLDER):
            return "in the folder"
        if "/" not in place:
            return "none, since no tag of weights is named"
        cached = open_clip_models.in_hub_cache(name)
    elif family == "clipseg":
        if Path(place).is_dir():
            return "in the folder"
        cached = weight_sources.is_cached(place)
    else:
        if weight_sources.has_package(name):
            return "in an installed package"
        cached = weight_sources.in_hub_cache(name)
    return "in the local hub cache" if cached else "to be fetched from the hub at the first use"


def family_of(name: str) -> str:
    """The part before the colon, empty for a network of timm.

    Raises:
        UnknownNameError: There is no such family.
    """
    family, colon, _ = name.partition(":")
    if not colon:
        return ""
    if family not in FAMILIES:
        raise UnknownNameError("family of backbones", family, FAMILIES)
    return family
