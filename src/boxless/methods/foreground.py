"""What methods share whose network ends in a background and a foreground map, of no class."""

from __future__ import annotations

from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.data.transforms import colours
from boxless.losses.dense_crf import REFERENCE_SIDE, dense_crf_loss
from boxless.methods.base import asked_classes
from boxless.types import Localization


def localization(logits: Tensor, scores: Tensor, classes: Tensor | None) -> Localization:
    """The foreground's probability as the map of each class asked for.

    Args:
        logits: Class scores (b, k).
        scores: (b, 2, h, w) before the softmax, background first.
        classes: (b, n) asked for; None asks for the predicted one.
    """
    classes = asked_classes(logits, classes)
    maps = scores.float().softmax(1)[:, 1:]
    return Localization(logits, maps.expand(-1, classes.shape[1], -1, -1), classes)


def crf_term(scores: Tensor, images: Tensor, backbone: Backbone, *, weight: float, scale: float) -> Tensor:
    """The dense CRF loss of two maps on normalised images as large, weighted as the papers count it.

    Args:
        scores: (b, 2, h, w) before the softmax.
        images: (b, 3, h, w), normalised.
        backbone: What they were normalised for.
        weight: For images of 224 x 224 pixels, whatever the size here: 2e-9 in the papers.
        scale: By which both are resized first.
    """
    shown = 255 * colours(images.float(), backbone.mean, backbone.std).clamp(0, 1)
    loss = dense_crf_loss(scores.float().softmax(1), shown, form="pairs", scale_factor=scale)
    return weight * REFERENCE_SIDE**4 * loss
