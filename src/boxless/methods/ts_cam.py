"""TS-CAM: what a transformer's class token attends to says where an object is, and patch tokens say of which class.

Gao, Wan, Pan, Peng, Tian, Han, Zhou and Ye, "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object
Localization", ICCV 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Method, Needs, Paper, asked_classes, pick
from boxless.ops.maps import normalize
from boxless.types import Batch, Features, Localization


class TSCAM(Method):
    """A convolution makes class maps of the patch tokens; the class token's attention couples them to the object.

    Class scores are the averages of the class maps, and so the class token is taught no class: it goes on attending to
    what is salient, in all of the object rather than in the part that tells its class. A class's map is its class map
    times that attention, a mean over heads and a sum over blocks. It has no hyper-parameters.

    Any vision transformer with a class token is taken. Register tokens are left out, as the class token itself is.
    """

    paper = Paper(
        "Gao et al.",
        "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2103.14862",
    )
    needs = Needs(prefix_tokens=True)

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone, num_classes)
        backbone.tap_tokens()
        backbone.tap_attention(*range(max(backbone.blocks, 1)))  # of all blocks; a backbone without any refuses
        (last,) = backbone.tap(backbone.blocks - 1)
        self.head = nn.Conv2d(last.channels, num_classes, 3, padding=1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification(self.scores(batch.images), batch)}

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images).grid)
        return scores.mean((2, 3))

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        features = self.backbone(images)
        class_maps = self.head(features.grid)
        logits = class_maps.mean((2, 3))
        classes = asked_classes(logits, classes)
        # As in the authors' code, class maps have their bias here.
        return Localization(logits, normalize(self.attended(features) * pick(class_maps, classes)), classes)

    def attended(self, features: Features) -> Tensor:
        """How much the class token attends to each patch, (b, 1, h, w)."""
        attention = torch.stack([each.mean(1) for each in features.attention]).sum(0)  # (b, tokens)
        patches = attention[:, self.backbone.prefix_tokens :]
        return patches.reshape(-1, 1, *features.grid.shape[2:])
