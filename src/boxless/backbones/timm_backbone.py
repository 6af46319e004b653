"""Any timm network as a :class:`Backbone`."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, final

import timm
import torch
from torch import Tensor, nn

from boxless.backbones import weights as weight_sources
from boxless.backbones.attention_taps import attention_modules, reading_attention
from boxless.backbones.base import Backbone, Stage, evaluating
from boxless.backbones.insertion import Place, hooked, layout_of
from boxless.backbones.steering import steering_hooks
from boxless.backbones.strides import undo_strides
from boxless.errors import ConfigError, UnknownNameError
from boxless.types import Features

FINAL_STAGE = "head"  # the convolution between the last stage and the pooling, where a network has one


@final
class TimmBackbone(Backbone):
    """A network from timm, by its name, convolutional or transformer.

    Args:
        name: A timm model name, such as ``resnet50`` or ``vit_small_patch14_dinov2.lvd142m``.
        weights: ``auto`` takes the weights from an installed package or else from the hub, ``package`` and ``hub``
            take them from there only, ``random`` takes none; or a .safetensors file, see `boxless.backbones.weights`.
        image_size: Side of the square input, in pixels; transformers fit their position embedding to it. Plain vision
            transformers then take images of any height and width too, to which it is interpolated at each pass; where
            patches do not divide these, the last ones reach beyond the image. Those with windows take this size only.
        output_stride: Stride of the last stage; less than the network's own replaces strides by dilation, where the
            network can do so.
        dilate: False puts nothing in the place of those strides: the last convolutions see a smaller part of the image
            than they were trained on, as in the networks of Choe et al. (CVPR 2020).

    Raises:
        UnknownNameError: timm has no such model.
        ConfigError: The network cannot give features on a grid, or does not take this size or stride.
        WeightsError: The weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str = "auto",
        image_size: int = 224,
        output_stride: int | None = None,
        dilate: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.image_size = name, image_size
        self._layouts: dict[int, Place] = {}  # how the grid lies in the outputs of the stages that were inserted at
        self.model = _create(name, image_size, output_stride, dilate=dilate)
        config = self.model.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.licence = config.get("license") or "not stated"
        self.prefix_tokens = getattr(self.model, "num_prefix_tokens", 0)
        self.class_token = self.gives_tokens and getattr(self.model, "cls_token", None) is not None
        fixed = bool(config["fixed_input_size"]) and not getattr(self.model, "dynamic_img_size", False)
        self.any_size = not fixed
        self._options = _forward_options(self.model)
        info = self.model.feature_info
        coarsest = output_stride or max(int(s["reduction"]) for s in info)
        self.stages = tuple(
            Stage(str(s["module"]), int(s["num_chs"]), min(int(s["reduction"]), coarsest)) for s in info
        )
        self._has_head = self._options.get("norm") is None and self._final_channels() != self.stages[-1].channels
        attentions = attention_modules(self.model)
        if len(attentions) == len(self.stages):  # each stage is a block
            self.blocks, self.heads = len(attentions), int(attentions[-1].num_heads)
        if self._has_head:
            self.stages = (*self.stages, Stage(FINAL_STAGE, self._final_channels(), self.stages[-1].stride))
        self.tap(-1)
        weight_sources.load(self.model, name, weights, image_size=image_size)
        self.model = self.model.to(memory_format=torch.channels_last)

    def extract(self, images: Tensor) -> Features:
        """Compute the tapped stages; see :class:`Backbone`."""
        changes = [(place, partial(self.pass_through, stage)) for stage, place in self._layouts.items()]
        try:
            with (
                hooked(self.model, changes, images.shape[2:]),
                steering_hooks(self, images),
                reading_attention(self.model, self.attention_taps, self.attention_rows) as attention,
            ):
                features = self._extract(images)
        except AssertionError as error:  # so timm refuses a size
            size = " x ".join(map(str, images.shape[2:]))
            raise ConfigError(
                f"{self.title} does not take images of {size} pixels ({error}); resize them, or build it for another "
                "image_size."
            ) from error
        if not attention:
            return features
        cells = prod(-(-side // self.stages[0].stride) for side in images.shape[2:])
        for block, weights in attention.items():
            if weights.shape[-1] != self.prefix_tokens + cells:
                raise ConfigError(
                    f"{self.title}: the attention of block {block}, {tuple(weights.shape)}, does not go to all tokens, "
                    f"{self.prefix_tokens} and {cells} patches; take a plain vision transformer."
                )
        return replace(features, attention=tuple(attention[block] for block in self.attention_taps))

    def admit(self, stage: int) -> None:
        """Find how the stage's grid lies in what its module gives; see :class:`Backbone`."""
        if stage in self._layouts:
            return
        named = self.stages[stage]
        module = "bn2" if self._has_head and stage == len(self.stages) - 1 else named.name
        weight = next(self.model.parameters())
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(1, 3, self.image_size, self.image_size, generator=draws).to(weight)
        options = {name: False if name == "norm" else value for name, value in self._options.items()}
        with evaluating(self.model), torch.no_grad():
            layout = layout_of(self.model, module, self.prefix_tokens, partial(self._one, stage, images, options))
        if layout is None:
            raise ConfigError(
                f"stage {stage} of {self.name}: nothing can be inserted there, since what its module {module} gives is "
                "not the stage's grid in any known layout; choose another stage or backbone."
            )
        self._layouts[stage] = Place(module, layout, named.stride, self.prefix_tokens)

    def _one(self, stage: int, images: Tensor, options: dict[str, Any]) -> Tensor:
        """The grid of one stage as the network gives it, with these options."""
        if self._has_head and stage == len(self.stages) - 1:
            final: Tensor = self.model.forward_intermediates(images, indices=[stage - 1], **options)[0]
            return final
        grids: list[Tensor] = self.model.forward_intermediates(
            images, indices=[stage], intermediates_only=True, **options
        )
        return grids[0]

    @property
    def gives_tokens(self) -> bool:
        """Whether the network has such tokens and hands them out; see :class:`Backbone`."""
        return self.prefix_tokens > 0 and "return_prefix_tokens" in _parameters(self.model)

    def _extract(self, images: Tensor) -> Features:
        deepest = sorted(self.attention_taps)[-1:]
        if not self.taps and not self.token_taps and not deepest:
            return Features(())
        head = len(self.stages) - 1 if self._has_head else None
        wanted = sorted({*self.taps, *self.token_taps, *deepest} - {head})
        options = self._options | ({"return_prefix_tokens": True} if self.token_taps else {})
        if head in self.taps:
            final, grids = self.model.forward_intermediates(images, indices=wanted or [head - 1], **options)
        else:
            grids = self.model.forward_intermediates(
                images, indices=wanted, intermediates_only=True, stop_early=True, **options
            )
        by_stage: dict[int, Any] = dict(zip(wanted, grids, strict=False))
        if head in self.taps:
            by_stage[head] = final
        if not self.token_taps:
            return Features(tuple(by_stage[tap] for tap in self.taps))
        prefix = torch.stack([by_stage[tap][1] for tap in self.token_taps], 1)
        return Features(tuple(by_stage[tap][0] for tap in self.taps), prefix)

    def _final_channels(self) -> int:
        """Channels of ``forward_features``, where that is a grid of its own; else those of the last stage."""
        convolution = getattr(self.model, "conv_head", None)
        grid_before_pooling = isinstance(convolution, nn.Conv2d) and hasattr(self.model, "bn2")
        return int(self.model.num_features) if grid_before_pooling else self.stages[-1].channels


def _create(name: str, image_size: int, output_stride: int | None, *, dilate: bool) -> Any:
    if not timm.is_model(name):
        raise UnknownNameError("backbone", name, timm.list_models())
    if output_stride is None and not dilate:
        raise ConfigError(
            "backbone.dilate: without an output_stride there is nothing to dilate; name one, or leave both."
        )
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0}
    if output_stride is not None and dilate:
        options["output_stride"] = output_stride
    fixed = bool(timm.get_pretrained_cfg(name).fixed_input_size)
    try:
        model = _sized(name, options | {"img_size": image_size}) if fixed else timm.create_model(name, **options)
        if isinstance(getattr(model, "pre_logits", None), nn.Module):
            model.pre_logits = nn.Identity()  # VGG's fully connected layers come after the last grid
        gives_features = hasattr(model, "forward_intermediates") and hasattr(model, "feature_info")
        if output_stride is not None and not dilate and gives_features:
            undo_strides(model, output_stride, image_size)
    except (TypeError, AssertionError, NotImplementedError, ValueError, RuntimeError) as error:
        asked = f"image_size {image_size}" + (f" and output_stride {output_stride}" if output_stride else "")
        raise ConfigError(
            f"backbone {name}: it cannot be built with {asked} ({error}); leave output_stride out, or take an image "
            "size that its patches and windows divide."
        ) from error
    if not gives_features:
        raise ConfigError(
            f"backbone {name}: timm gives no intermediate features of it; 'boxless list backbones' shows some that fit."
        )
    return model


def _sized(name: str, options: dict[str, Any]) -> Any:
    """A network that is built for one size, but takes others as well if it can."""
    try:
        return timm.create_model(name, **options, dynamic_img_size=True, dynamic_img_pad=True)
    except TypeError as error:
        if "dynamic_img" not in str(error):
            raise
    return timm.create_model(name, **options)


def _forward_options(model: Any) -> dict[str, Any]:
    """Arguments of ``forward_intermediates``: grids, and of transformers the tokens as the classifier sees them."""
    options: dict[str, Any] = {"output_fmt": "NCHW"}
    if hasattr(model, "blocks") and hasattr(model, "patch_embed") and "norm" in _parameters(model):
        options["norm"] = True
    return options


def _parameters(model: Any) -> Collection[str]:
    return inspect.signature(model.forward_intermediates).parameters
