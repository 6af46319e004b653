"""CLIPSeg: a decoder on CLIP's image tower, taught once to segment what a text names, asked for the class's name.

Lüddecke and Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022. Nothing is trained here: the decoder
was, by the authors, on masks of PhraseCut. So what it finds is not weakly supervised, unlike all other methods here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.backbones.clipseg_backbone import ClipSegBackbone
from boxless.backbones.clipseg_models import FAMILY, HUB
from boxless.errors import ConfigError
from boxless.methods.base import Method, Needs, Paper, asked_classes
from boxless.ops.anchors import random_anchors
from boxless.types import Batch, Localization

if TYPE_CHECKING:
    from boxless.text.classes import ClassTexts


@final
class CLIPSeg(Method):
    """The map of a class is the decoder's probability at each pixel that it shows what the class's name says.

    Class scores are CLIP's own: the cosine of the image's embedding with the text's, times CLIP's scale. An image
    passes the image tower once, and the decoder once for each class asked for.

    The decoder takes text embeddings of their own length, and not of unit length, as it was trained with. Where a class
    has several prompts, it takes their mean direction, as CLIP does, and their mean length.
    """

    paper = Paper(
        "Lüddecke and Ecker",
        "Image Segmentation Using Text and Image Prompts",
        "CVPR",
        2022,
        "https://arxiv.org/abs/2112.10003",
    )
    needs = Needs(trains=False, own_forward=True, text="required", templates="photo")
    backbone: ClipSegBackbone
    texts: Tensor

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        if not isinstance(backbone, ClipSegBackbone):
            fitting = ", ".join([*(f"{FAMILY}{name}" for name in HUB), f"{FAMILY}FOLDER"])
            raise ConfigError(
                f"backbone {backbone.title}: it has no decoder that segments what a text names; fitting: {fitting}."
            )
        super().__init__(backbone, num_classes)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("texts", random_anchors(num_classes, backbone.text_dimensions, generator))

    def name_classes(self, texts: ClassTexts) -> None:
        """Keep the embeddings of class names at the lengths that the text tower gave them; see :class:`Method`.

        Raises:
            ConfigError: They are from a file, which keeps no lengths, or of another width than the decoder takes.
        """
        given, wanted = texts.embeddings.shape[1], self.texts.shape[1]
        if texts.lengths is None or given != wanted:
            found = f"{given} dimensions" if given != wanted else "no length of their own"
            raise ConfigError(
                f"text.model: the embeddings of class names have {found}; the decoder of {self.backbone.title} takes "
                f"{wanted} dimensions, at the length that its own text tower gives them; leave text.model out."
            )
        self.texts.copy_(texts.embeddings.to(self.texts) * texts.lengths.to(self.texts)[:, None])

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise ConfigError("this method localizes as it is and learns nothing: it has no losses.")

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of images (b, 3, h, w)."""
        return self._compared(self.backbone.encode(images).embedding)

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        seen = self.backbone.encode(images)
        logits = self._compared(seen.embedding)
        classes = asked_classes(logits, classes)
        return Localization(logits, self.backbone.decode(seen, self.texts[classes]).float().sigmoid(), classes)

    def _compared(self, embedding: Tensor) -> Tensor:
        logits: Tensor = (
            self.backbone.logit_scale.exp() * F.normalize(embedding, dim=1) @ F.normalize(self.texts, dim=1).T
        )
        return logits
