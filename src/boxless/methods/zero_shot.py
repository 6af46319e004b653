"""What localizers that CLIP makes without training have in common: class scores, and maps of patches and names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from boxless.backbones.base import Backbone
from boxless.backbones.clip_tower import ClipTower, Grid, need_tower
from boxless.backbones.open_clip_backbone import OpenClipBackbone
from boxless.backbones.table import BACKBONES
from boxless.errors import ConfigError
from boxless.methods.base import Method, Needs, asked_classes
from boxless.ops.maps import normalize, resize
from boxless.ops.pamr import pamr
from boxless.types import Batch, Localization

if TYPE_CHECKING:
    from boxless.text.classes import ClassTexts

_SEED = 0  # of what stands for embeddings of names until these are told


class ZeroShot(Method):
    """A method that knows classes by the embeddings of their names (k, d), and is never trained.

    Class scores are CLIP's own: the cosine of the image's embedding with each class's, times CLIP's factor.
    """

    needs = Needs(trains=False, text="required", own_forward=True)
    backbone: OpenClipBackbone
    texts: Tensor

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        if not isinstance(backbone, OpenClipBackbone):
            fitting = ", ".join(row.name for row in BACKBONES if row.kind == "clip")
            raise ConfigError(
                f"{type(self).__name__} compares images with names of classes, and {backbone.title} is no image tower "
                f"of CLIP; fitting: {fitting}, or any other of open_clip."
            )
        super().__init__(backbone, num_classes)
        self.register_buffer("texts", stand_in(num_classes, backbone.text_dimensions))

    @property
    def factor(self) -> Tensor:
        """What CLIP multiplies cosines with before a softmax over texts."""
        return self.backbone.model.log_scale.exp()

    @property
    def tower(self) -> ClipTower:
        """CLIP's image transformer step by step.

        Raises:
            ConfigError: The backbone is convolutional.
        """
        return need_tower(self.backbone, type(self).__name__)

    def name_classes(self, texts: ClassTexts) -> None:
        take(self.texts, texts.embeddings)

    def classify(self, image: Tensor) -> Tensor:
        """Class scores (b, k) of embeddings (b, d) of images."""
        return self.factor * cosines(image, self.texts)

    def losses(self, batch: Batch, progress: float) -> NoReturn:
        """Refused.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{type(self).__name__} localizes as it is built: it learns nothing, and has no losses.")


class PatchText(ZeroShot):
    """A class's map is the cosine of each patch's embedding with the embedding of the class's name.

    It is brought to [0, 1] for each image and class, as the thesis has it (section 3.6.2.1); there is no softmax over
    classes, by which papers on segmentation weigh the classes of a pixel against each other.

    Args:
        window: Side in pixels of windows that slide over larger images by half a side; None reads an image at once.
        refine: Steps of `boxless.ops.pamr` at the full size of the image.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, window: int | None, refine: int) -> None:
        super().__init__(backbone, num_classes)
        self.window, self.refine = window, refine

    @abstractmethod
    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The image (b, d) and its patches (b, d, h, w) in the space shared with names, of any length."""

    def scores(self, images: Tensor) -> Tensor:
        return self.classify(self.embeddings(images)[0])

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        image, patches = self.embeddings(images)
        logits = self.classify(image)
        classes = asked_classes(logits, classes)
        names, size = self.texts[classes], (images.shape[2], images.shape[3])
        if self.window is None or max(size) <= self.window:
            maps = similarity(patches, names)
        else:
            maps = slide(images, self.window, lambda part: similarity(self.embeddings(part)[1], names))
        if self.refine:
            maps = pamr(images.float(), resize(maps, size), steps=self.refine)
        return Localization(logits, normalize(maps), classes)


class LastBlock(PatchText):
    """CLIP with another last block of its transformer.

    Args:
        window: As of `PatchText`.
        refine: As of `PatchText`.
        scored: What classes are scored by: the image's embedding of ``clip``, or that of the ``changed`` network.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        window: int | None,
        refine: int,
        scored: Literal["clip", "changed"],
    ) -> None:
        super().__init__(backbone, num_classes, window=window, refine=refine)
        self.last = self.tower.depth - 1
        self.scored = scored

    @abstractmethod
    def last_block(self, x: Tensor, grid: Grid) -> Tensor:
        """What comes of the tokens (b, t, c) before the last block, on a grid of patches."""

    def embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tower = self.tower
        x, grid = tower.tokens(images)
        for index in range(self.last):
            x = tower.block(index, x, grid)
        changed = self.last_block(x, grid)
        image = tower.pooled(changed if self.scored == "changed" else tower.block(self.last, x, grid))
        patches = tower.embed(changed)[:, tower.prefix :].mT
        return image, patches.reshape(*patches.shape[:2], *grid)


def stand_in(count: int, dimensions: int) -> Tensor:
    """Unit rows (n, d) in the place of embeddings of names until these are told: the same ones each time."""
    drawn = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(_SEED), device="cpu")
    return F.normalize(drawn, dim=1)


def take(buffer: Tensor, embeddings: Tensor) -> None:
    """Keep embeddings of names in a buffer.

    Raises:
        ConfigError: They are of another width than the images' embeddings, or not as many as the buffer is for.
    """
    if buffer.shape != embeddings.shape:
        raise ConfigError(
            f"texts: got {len(embeddings)} embeddings of {embeddings.shape[1]} dimensions; expected {len(buffer)} of "
            f"{buffer.shape[1]}, as the backbone has. Take the text tower that belongs to it."
        )
    buffer.copy_(embeddings)


def cosines(embeddings: Tensor, names: Tensor) -> Tensor:
    """Cosines (b, n) of embeddings (b, d) of any length with unit embeddings (n, d) or (b, n, d) of names."""
    return (F.normalize(embeddings.float(), dim=-1)[..., None, :] @ names.mT)[..., 0, :]


def similarity(patches: Tensor, names: Tensor) -> Tensor:
    """Cosines (b, n, h, w) of patches (b, d, h, w) of any length with unit embeddings (b, n, d) of names."""
    return torch.einsum("bnd,bdhw->bnhw", names, F.normalize(patches.float(), dim=1))


def slide(images: Tensor, window: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Maps (b, n, h, w) of images (b, 3, h, w), put together from those of overlapping windows.

    Args:
        images: Sides may be smaller than the window, which then is.
        window: Side of a window; the next one begins half a side on, the last one ends where the image does.
        compute: Gives maps of a window, of any size; they are brought to the window's before they are averaged.
    """
    height, width = images.shape[2:]
    places = [
        (..., slice(top, top + window), slice(left, left + window))
        for top in starts(height, window)
        for left in starts(width, window)
    ]
    parts = [resize(compute(images[place]), (images[place].shape[2], images[place].shape[3])) for place in places]
    total = parts[0].new_zeros(*parts[0].shape[:2], height, width)
    counts = parts[0].new_zeros(height, width)
    for place, part in zip(places, parts, strict=True):
        total[place] += part
        counts[place] += 1
    return total / counts


def starts(length: int, window: int) -> Iterator[int]:
    """Where windows begin along a side."""
    last = max(length - window, 0)
    step = max(window // 2, 1)
    yield from range(0, last, step)
    yield last
