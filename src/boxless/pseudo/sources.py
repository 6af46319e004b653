"""Where the maps come from in which DiPS looks for regions: several for each image, and of no class.

They are coarse: regions are looked for after they were resized. What makes a region one of the image's class is the
classifier that scores it (`boxless.pseudo.proposals`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar, Literal, final

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.maps.base import as_batch
from boxless.maps.layers import exact
from boxless.maps.session import Session
from boxless.methods.base import Paper
from boxless.ops.spectral import spectral_maps
from boxless.types import Features

FIRST = 4  # heads that are kept beside the mean


class MapSource(ABC):
    """A way to get maps from a backbone, trained or not on classes.

    A subclass declares its settings in its constructor, keyword-only, typed and with defaults.

    Attributes:
        paper: The publication.
    """

    paper: ClassVar[Paper]

    @abstractmethod
    def count(self, backbone: Backbone) -> int:
        """How many maps it gives for each image.

        Raises:
            ConfigError: It gives none of this backbone; the message says which it does.
        """

    @abstractmethod
    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Maps (b, m, h', w'), float32 in [0, 1], in an order that is the same for all images; flat ones are all zeros.

        The backbone runs in evaluation mode, frozen or not, without a gradient; its modes, taps and hooks and the
        random state are left as found.

        Args:
            backbone: On any device, to which the images are brought.
            images: (b, 3, h, w), normalised as the backbone wants, of any height and width that it takes.

        Raises:
            ConfigError: The backbone cannot give them, or does not take this size.
            DataError: The images are no batch, or it gives features that are not finite.
        """


@final
class Attention(MapSource):
    """What the class token attends to in the last block of a vision transformer, one map for each head.

    Each map is divided by its maximum, with no minimum subtracted, as the published code of DiPS does: where attention
    is spread evenly the map is so too. Self-supervised transformers part an image into objects in this way.

    Args:
        heads: ``all``, as in chapter 2 of the thesis; or ``first_four_and_mean``, as in its appendix I: the mean over
            all heads, then the first four.
    """

    paper = Paper(
        "Caron et al.",
        "Emerging Properties in Self-Supervised Vision Transformers",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2104.14294",
    )

    def __init__(self, *, heads: Literal["all", "first_four_and_mean"] = "all") -> None:
        self.heads = heads

    def count(self, backbone: Backbone) -> int:
        """As many as the backbone has heads, or five; see :class:`MapSource`."""
        with _tapping_attention(backbone):
            heads = backbone.heads
        if self.heads == "all":
            return heads
        if heads < FIRST:
            raise ConfigError(
                f"attention: {backbone.title} has {heads} heads, and heads='first_four_and_mean' needs {FIRST}; "
                "take heads='all'."
            )
        return FIRST + 1

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """See :class:`MapSource`."""
        self.count(backbone)
        maps = class_attention(backbone, images)
        if self.heads == "first_four_and_mean":
            maps = torch.cat([maps.mean(1, keepdim=True), maps[:, :FIRST]], 1)
        highest = maps.amax((2, 3), keepdim=True)
        return (maps / torch.where(highest > 0, highest, 1.0)).float()


@final
class Spectral(MapSource):
    """Normalized cuts of the features of any backbone, convolutional ones included; see `boxless.ops.spectral`.

    For each eigenvector there are two maps, one and its opposite.

    Args:
        vectors: How many eigenvectors, from the second on.
        threshold: Cosine similarity above which two patches are alike.
        stride: Read is the last stage with at most this stride; if the backbone has only coarser ones, the last of the
            finest.
    """

    paper = Paper(
        "Wang et al.",
        "Self-Supervised Transformers for Unsupervised Object Discovery using Normalized Cut",
        "CVPR",
        2022,
        "https://arxiv.org/abs/2202.11539",
    )

    def __init__(
        self,
        *,
        vectors: Annotated[int, Ge(1)] = 5,
        threshold: Annotated[float, Gt(-1), Lt(1)] = 0.2,
        stride: Annotated[int, Ge(1)] = 16,
    ) -> None:
        self.vectors, self.threshold, self.stride = vectors, threshold, stride

    def count(self, backbone: Backbone) -> int:
        """Two for each eigenvector; see :class:`MapSource`."""
        return 2 * self.vectors

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """See :class:`MapSource`."""
        with backbone.other_taps():
            backbone.tap(self.stage(backbone))
            return self.of_grid(_run(backbone, images).grid)

    def of_grid(self, grid: Tensor) -> Tensor:
        """The maps of features (b, c, h', w') that were computed before, of the stage that `stage` names."""
        return spectral_maps(grid, vectors=self.vectors, threshold=self.threshold).float()

    def stage(self, backbone: Backbone) -> int:
        """Index of the stage that is read."""
        strides = [each.stride for each in backbone.stages]
        limit = max(self.stride, min(strides))
        return max(index for index, stride in enumerate(strides) if stride <= limit)


def class_attention(backbone: Backbone, images: Tensor) -> Tensor:
    """Attention of the class token to the patches in the last block: (b, heads, h', w'), float32 or float64.

    It is as it comes from the softmax over all tokens. What goes to the class token itself and to registers is left
    out, so that the values of a head sum to less than one. Values that are not numbers, as half precision may give,
    become 0.

    Args:
        backbone: A vision transformer of timm or of CLIP with a class token.
        images: See :class:`MapSource`.

    Raises:
        ConfigError: The backbone has no such attention, or does not take this size.
        DataError: The images are no batch.
    """
    with _tapping_attention(backbone):
        features = _run(backbone, images)
    (attention,), (rows, columns) = features.attention, features.grid.shape[2:]
    found = exact(attention[:, :, backbone.prefix_tokens :]).nan_to_num(0.0)
    return found.reshape(*found.shape[:2], rows, columns)


class _Whole(nn.Module):
    """A backbone with its last grid averaged, since a `Session` looks into networks that give scores (b, k)."""

    features: Features

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        self.features = self.backbone.extract(images)
        return self.features.grid.mean((2, 3))


def _run(backbone: Backbone, images: Tensor) -> Features:
    """What is tapped, in evaluation mode and without a gradient."""
    whole = _Whole(backbone)
    with Session(whole, ()) as session:
        session.forward(as_batch(images))
        return whole.features


@contextmanager
def _tapping_attention(backbone: Backbone) -> Iterator[None]:
    """Within it, the backbone gives its last grid and the attention of the class token in the last block.

    Raises:
        ConfigError: There is no such attention.
    """
    with backbone.other_taps():
        backbone.tap(-1)
        try:
            backbone.tap_attention(-1)
        except ConfigError as error:
            raise ConfigError(f"attention: {error} The source 'spectral' takes any backbone.") from error
        yield
