"""The image tower of any open_clip model as a :class:`Backbone`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from boxless.backbones import open_clip_models as models
from boxless.backbones.base import Backbone, Stage
from boxless.backbones.clip_convnet import ClipConvnet
from boxless.backbones.clip_tower import ClipTower
from boxless.backbones.clip_transformers import OpenClipTower, TimmTower
from boxless.errors import ConfigError
from boxless.types import Features

if TYPE_CHECKING:
    from boxless.text.towers import TextTower

JOINT = "embedding"  # the last stage


@final
class OpenClipBackbone(Backbone):
    """The image side of a CLIP model; its text side is built apart, by :meth:`text_tower`.

    Stages are the blocks of a transformer, after the network's last norm, or the feature maps of a convolutional
    network. The last stage is their place in the space shared with texts. Images of any height and width are taken:
    position embeddings are interpolated to them at each pass, and where patches do not divide them, the last ones reach
    beyond the image.

    Args:
        name: ``open_clip:ARCHITECTURE/TAG``, ``open_clip:ARCHITECTURE`` for random weights, or
            ``open_clip:local-dir:FOLDER``.
        weights: ``auto`` and ``hub`` take them from the hub or its local cache, or from the folder; ``random`` takes
            none.
        image_size: Side of the square input, in pixels.

    Raises:
        UnknownNameError: open_clip has no such architecture.
        ConfigError: It has no such weights of it, or the network or the size does not fit.
        WeightsError: The weights cannot be had.
        MissingExtraError: open_clip is not installed.
    """

    def __init__(self, name: str, *, weights: str = "auto", image_size: int = 224) -> None:
        super().__init__()
        self.name, self.image_size, self._weights = name, image_size, weights
        whole = models.create(name, weights)
        self.model = _opened(whole.visual, whole.logit_scale)
        self.prefix_tokens = self.model.prefix
        self.class_token = self.prefix_tokens > 0
        if self.tower:
            self.blocks, self.heads = self.tower.depth, self.tower.heads
        self.text_dimensions = models.dimensions(name)
        _, self.mean, self.std = models.preprocess(name)
        self.licence = licence_of(name)
        blocks = [Stage(*each) for each in self.model.stage_names()]
        self.stages = (*blocks, Stage(JOINT, self.text_dimensions, blocks[-1].stride))
        self._check(image_size, image_size)
        self.tap(-1)

    @property
    def tower(self) -> ClipTower | None:
        """The transformer step by step; None where the image tower is convolutional."""
        return self.model if isinstance(self.model, ClipTower) else None

    def text_tower(self) -> TextTower:
        """See :class:`Backbone`; with random weights it is the one that belongs to them."""
        from boxless.text.towers import OpenClipText

        return OpenClipText(self.name, weights=self._weights)

    def extract(self, images: Tensor) -> Features:
        """Compute the tapped stages; see :class:`Backbone`."""
        wanted = {*self.taps, *self.token_taps}
        if not wanted and not self.attention_taps:
            return Features(())
        self._check(*images.shape[2:])
        found: dict[int, Any]
        if isinstance(self.model, ClipTower):
            found, weights = self.model.read(images, wanted, self.attention_taps, self.attention_rows)
        else:
            found, weights = self.model.read(images, wanted), {}
        prefix = torch.stack([found[tap][1] for tap in self.token_taps], 1) if self.token_taps else None
        attention = tuple(weights[block] for block in self.attention_taps)
        return Features(tuple(found[tap][0] for tap in self.taps), prefix, attention)

    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, d) and their patches or cells (b, d, h, w) in the space shared with texts, not normalised.

        The first is what the network itself gives for an image. A frozen backbone gives no gradients here either.
        """
        self._check(*images.shape[2:])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.model.embeddings(images)

    def _check(self, height: int, width: int) -> None:
        patch = self.model.patch
        if min(height, width) < patch:
            raise ConfigError(
                f"{self.name} does not take images of {height} x {width} pixels: they are smaller than one of its "
                f"patches, {patch} x {patch}; take an image_size of {models.preprocess(self.name)[0]}, that of its "
                "training, or at least of one patch."
            )


def licence_of(name: str) -> str:
    """Licence of a model's weights as their publishers state it, which open_clip does not."""
    architecture, tag = models.parse(name)
    if tag is None:
        return "not stated"
    publisher = str(models.library().get_pretrained_cfg(architecture, tag).get("hf_hub", "")).partition("/")[0]
    if publisher in _OF_PUBLISHERS:
        return _OF_PUBLISHERS[publisher]
    return next((licence for start, licence in _OF_TAGS.items() if tag.startswith(start)), "not stated")


_OF_PUBLISHERS = {"laion": "mit", "apple": "apple's own", "UCSC-VLAA": "apache-2.0", "visheratin": "cc-by-nc-4.0"}
_OF_TAGS = {  # by the start of the tag, of those that timm's account on the hub holds copies of
    "openai": "mit",
    "laion": "mit",
    "merged2b": "mit",
    "webli": "apache-2.0",
    "metaclip": "cc-by-nc-4.0",
    "dfndr": "apple's own",
    "meta": "apache-2.0",  # Perception Encoder; after metaclip, which starts alike
}


def _opened(visual: Any, log_scale: Tensor) -> ClipTower | ClipConvnet:
    if hasattr(visual, "transformer"):
        return OpenClipTower(visual, log_scale)
    if hasattr(getattr(visual, "trunk", None), "blocks"):
        return TimmTower(visual, log_scale)
    return ClipConvnet(visual, log_scale).to(memory_format=torch.channels_last)
