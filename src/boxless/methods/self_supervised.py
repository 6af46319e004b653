"""What self-supervised networks localize by themselves: of their maps the one that a classifier sees the class in.

The baselines of the thesis, table 2.4, by its caption: each map is made binary, all outside it is blurred, and the map
for which a classifier's score is highest is the image's. DINO's attention is the strongest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.head import ClassHead
from boxless.ops.maps import normalize, resize
from boxless.ops.otsu_of_tensors import otsu_of_tensors
from boxless.pseudo.scoring import RegionScorer
from boxless.pseudo.sources import Attention, MapSource, Spectral
from boxless.types import Batch, Localization

CHUNK = 32  # blurred images in one pass of the classifier
NEVER = -1.0  # below every posterior


@final
class SelfSupervised(Method):
    """A classifier learns on the backbone; it chooses among maps of the backbone, which nothing taught of classes.

    A map is made binary at its image's full size, by Otsu's threshold, and the score is the posterior of the class
    asked for, so that two classes may have two maps. What is given is the map itself, brought to [0, 1]. One that is
    flat shows no place and is never chosen; if all of an image are, its map is all zeros. A prediction takes as many
    passes as the source has maps, and two more; class scores alone take one.

    The thesis scores with a classifier of its own; here it is the head that is trained on the same backbone, so that a
    run stands by itself.

    Args:
        source: Where maps come from: ``attention`` of the class token to the patches in the last block of a vision
            transformer, a map for each head; ``spectral``, normalized cuts of the features of any backbone; or
            ``auto``, attention where the backbone has it.
        heads: Of attention, ``all``; or ``first_four_and_mean``: the mean over all heads, then the first four.
        vectors: Of spectral, the eigenvectors taken; for each there are two maps, one and its opposite.
        similarity: Of spectral, the cosine similarity above which two patches are alike.
        stride: Input pixels per cell of the grid that is read, by spectral and by a classifier without class tokens:
            the last stage with this stride or a finer one.
        blocks: The classifier reads the class tokens of so many last blocks, if the backbone has one.
        fuse: Without class tokens the classifier lays coarser stages over its grid.
        hidden: Without class tokens, channels of its 3x3 convolution with ReLU; 0 puts none.
        dropout: Probability of dropping a feature before its linear layer in training.
    """

    paper = Paper(
        "Caron et al.",
        "Emerging Properties in Self-Supervised Vision Transformers",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2104.14294",
    )
    search_space: ClassVar[Mapping[str, Space]] = {
        "blocks": Space(choices=(1, 4)),  # what DINO's authors take for larger and for smaller transformers
        "dropout": Space(0.0, 0.7),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        source: Literal["auto", "attention", "spectral"] = "auto",
        heads: Literal["all", "first_four_and_mean"] = "all",
        vectors: Annotated[int, Ge(1)] = 5,
        similarity: Annotated[float, Gt(-1), Lt(1)] = 0.2,
        stride: Annotated[int, Ge(1)] = 16,
        blocks: Annotated[int, Ge(1)] = 4,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__(backbone, num_classes)
        attends = source == "attention" or (source == "auto" and has_attention(backbone))
        self.source: MapSource = (
            Attention(heads=heads) if attends else Spectral(vectors=vectors, threshold=similarity, stride=stride)
        )
        self.source.count(backbone)  # refuses a backbone that cannot give them
        self.head = ClassHead(
            backbone, num_classes, blocks=blocks, stride=stride, fuse=fuse, hidden=hidden, dropout=dropout
        )

    @property
    def not_exported(self) -> str:
        spectral = isinstance(self.source, Spectral)
        return "its maps are eigenvectors, which ONNX has no operation for; train it on attention" if spectral else ""

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification(self.scores(batch.images), batch)}

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (b, k) of images (b, 3, h, w)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        logits = self.scores(images)
        classes = asked_classes(logits, classes)
        maps = self.source(self.backbone, images)
        return Localization(logits, normalize(pick(maps, self._best(maps, images, classes))), classes)

    def _best(self, maps: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """The map (b, n) of each class asked for (b, n), out of maps (b, m, h', w'): the first of equal ones."""
        scorer = RegionScorer(self.as_classifier(), images, classes[:, 0], self.num_classes)
        count, every = maps.shape[1], maps.flatten(0, 1)
        owners = torch.arange(maps.shape[0], device=maps.device).repeat_interleave(count)
        size = (images.shape[2], images.shape[3])
        parts = []
        for some, of in zip(_chunks(every), _chunks(owners), strict=True):
            shown = foregrounds(some, size)
            flat = ~shown.flatten(1).any(1, keepdim=True).cpu()
            parts.append(scorer.posteriors(of, shown).masked_fill(flat, NEVER))
        scores = torch.cat(parts).reshape(maps.shape[0], count, -1)  # float64, on the processor
        asked = scores.gather(2, classes[:, None].cpu().expand(-1, count, -1))
        return asked.argmax(1).to(classes.device)


def _chunks(values: Tensor) -> tuple[Tensor, ...]:
    """The passes that values are cut into; a graph has one pass, for batches of any length."""
    return (values,) if torch.compiler.is_exporting() else torch.split(values, CHUNK)


def has_attention(backbone: Backbone) -> bool:
    """Whether the backbone gives attention of a class token."""
    try:
        Attention().count(backbone)
    except ConfigError:
        return False
    return True


def foregrounds(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels of images of this size are above Otsu's threshold of each map (n, h', w'): (n, h, w) bool.

    Nothing is in a map that is flat.
    """
    large = resize(maps[:, None], size)[:, 0]
    thresholds = otsu_of_tensors(large.cpu()).to(large)
    highest = large.amax((1, 2))
    above = large > (thresholds * highest)[:, None, None]
    return above & (highest > large.amin((1, 2)))[:, None, None]
