"""CLIP-ES: Grad-CAM of CLIP against words for the background, spread by CLIP's own attention; nothing is trained.

Lin, Chen, Wang, Wu, Li, Lin, Liu and He, "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly
Supervised Semantic Segmentation", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from annotated_types import Ge, Lt, MinLen
from torch import Tensor

from boxless.backbones.base import Backbone
from boxless.backbones.clip_tower import Grid, need_tower
from boxless.errors import ConfigError
from boxless.methods.base import Needs, Paper, Space, asked_classes
from boxless.methods.zero_shot import ZeroShot, cosines, stand_in, take
from boxless.ops.components import components
from boxless.ops.maps import normalize
from boxless.text.classes import ClassTexts
from boxless.types import Localization

BACKGROUND = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway"),
    *("railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley"),
    *("bridge", "sign"),
)  # the authors' for PASCAL VOC
_SINKHORN = 3  # rounds


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass through CLIP leaves."""

    image: Tensor  # (b, d) its embedding of the image
    patches: Tensor  # (b, d) the mean of the patches' embeddings, with a graph back to `tokens`
    tokens: Tensor  # (b, t, c) what the last block attends to, after its first norm
    attention: Tensor | None  # (b, p, p) of patches to patches, the mean over heads and last blocks
    grid: Grid  # of the patches


@final
class CLIPES(ZeroShot):
    """Where patches speak for a class, and against the other classes asked for and what is background.

    Section 3.2: Grad-CAM of the score after a softmax over the classes that are asked for together, as the labels of an
    image are, and the background words. The score is that of the mean of the patches, and the layer the first norm of
    the last block. Section 3.4: the map is spread to patches that attention relates to the boxes it fills. Given the
    class it is the ``GT-known`` variant of the thesis (table 3.1), else ``Pred``, with the class that CLIP says.

    The gradient is of the score's logarithm, a multiple of the score's own that does not vanish where the class is
    unlikely: once in [0, 1] the map is the same.

    Args:
        background: What else may be in images; a word that is a class's name, or a synonym, is left out. Many of
            the authors' words, which are for PASCAL VOC, are close to classes of ImageNet.
        refine: Spread the map by attention.
        layers: The last blocks, the mean of whose attention says which patches belong together.
        box_threshold: The part of its maximum above which the map makes boxes, outside which nothing is spread: 0.4 on
            PASCAL VOC and in the thesis, 0.7 on COCO.
    """

    paper = Paper(
        "Lin et al.",
        "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic Segmentation",
        "CVPR",
        2023,
        "https://arxiv.org/abs/2212.09506",
    )
    needs = Needs(trains=False, text="required", templates="origami", own_forward=True)
    search_space: ClassVar[Mapping[str, Space]] = {"box_threshold": Space(0.2, 0.8), "layers": Space(1, 12)}
    words: Tensor
    left_out: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        background: Annotated[tuple[str, ...], MinLen(1)] = BACKGROUND,
        refine: bool = True,
        layers: Annotated[int, Ge(1)] = 8,
        box_threshold: Annotated[float, Ge(0), Lt(1)] = 0.4,
    ) -> None:
        super().__init__(backbone, num_classes)
        need_tower(backbone, type(self).__name__)  # refuses a convolutional network
        self.background, self.refine, self.layers, self.box_threshold = background, refine, layers, box_threshold
        self.register_buffer("words", stand_in(num_classes + len(background), backbone.text_dimensions)[num_classes:])
        self.register_buffer("left_out", torch.zeros(len(background), dtype=torch.bool))

    def name_classes(self, texts: ClassTexts) -> None:
        """Embed the background too.

        Raises:
            ConfigError: Each word of it is a class's name.
        """
        super().name_classes(texts)
        named = {name.strip().casefold() for names in texts.names for name in names}
        left_out = [word.strip().casefold() in named for word in self.background]
        if all(left_out):
            raise ConfigError(
                f"background: each of {', '.join(self.background)} is the name of a class; name what is none."
            )
        take(self.words, texts.embed(self.background))
        self.left_out.copy_(torch.tensor(left_out))

    @property
    def not_exported(self) -> str:
        return "its maps are gradients, and it cuts boxes out of them outside the network"

    def scores(self, images: Tensor) -> Tensor:
        return self.classify(self.backbone.embeddings(images)[0])

    @torch.inference_mode(mode=False)
    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        passed = self._pass(images.clone())  # what was made in inference mode takes no gradient, but its copy does
        logits = self.classify(passed.image)
        classes = asked_classes(logits, classes).clone()
        maps = normalize(self._cams(passed, classes))
        if passed.attention is not None:
            boxes = torch.stack([filled(each, self.box_threshold) for each in maps.flatten(0, 1)]).view_as(maps)
            spread = relation(passed.attention) @ (maps * boxes).flatten(2).mT
            maps = normalize(spread.mT.reshape(maps.shape))
        return Localization(logits, maps, classes)

    def _pass(self, images: Tensor) -> Pass:
        """A pass through CLIP, with gradients from the first norm of the last block on alone."""
        tower, last, attention = self.tower, self.tower.depth - 1, []
        with torch.no_grad():
            x, grid = tower.tokens(images)
            for index in range(last):
                if self.refine and index > last - self.layers:
                    attention.append(tower.attention(index, tower.normed(index, x), grid).mean(1))
                x = tower.block(index, x, grid)
            tokens = tower.normed(last, x)
        with torch.enable_grad():
            q, k, v = tower.qkv(last, tokens.requires_grad_(), grid)
            attention.append((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))
            x = tower.mlp(last, tower.residual(last, x, tower.mixed(last, attention[-1], v)))
            patches = tower.embed(x)[:, tower.prefix :].mean(1)
        attention[-1] = attention[-1].detach().mean(1)
        mean = torch.stack(attention).mean(0).float()[:, tower.prefix :, tower.prefix :] if self.refine else None
        return Pass(tower.pooled(x.detach()).detach(), patches, tokens, mean, grid)

    def _cams(self, passed: Pass, classes: Tensor) -> Tensor:
        """Grad-CAM (b, n, h, w) of the classes (b, n), after ReLU."""
        first = (classes[:, :, None] == classes[:, None]).int().argmax(2)  # a class that is asked for twice counts once
        again = first != torch.arange(classes.shape[1], device=classes.device)
        names = torch.cat([self.texts[classes], self.words.expand(len(classes), -1, -1)], 1)
        unwanted = torch.cat([again, self.left_out.expand(len(classes), -1)], 1)
        prefix, cams = self.tower.prefix, []
        with torch.enable_grad():
            logits = self.factor * cosines(passed.patches, names)
            scores = logits.masked_fill(unwanted, -torch.inf).log_softmax(1).gather(1, first)
            for score in scores.unbind(1):
                (gradient,) = torch.autograd.grad(score.sum(), passed.tokens, retain_graph=True)
                weights = gradient[:, prefix:].mean(1, keepdim=True)
                cams.append((weights * passed.tokens[:, prefix:]).sum(2).relu().detach())
        return torch.stack(cams, 1).reshape(*classes.shape, *passed.grid)


def relation(attention: Tensor) -> Tensor:
    """How patches relate, (b, p, p): attention made doubly stochastic (equation 6), symmetric, and squared."""
    for _ in range(_SINKHORN):
        attention = attention / attention.sum(1, keepdim=True)
        attention = attention / attention.sum(2, keepdim=True)
    symmetric = (attention + attention.mT) / 2
    return symmetric @ symmetric


def filled(cam: Tensor, threshold: float) -> Tensor:
    """1 in the boxes that a map (h, w) makes above the threshold, else 0.

    As in the authors' code boxes end before the last row and the last column of the grid; but not if that leaves
    nothing of any.
    """
    rows, columns = cam.shape
    boxes = components(cam.cpu().numpy(), threshold).boxes.astype(int).tolist()
    mask = torch.zeros_like(cam)
    for x0, y0, x1, y1 in boxes:
        mask[y0 : min(y1, rows - 1), x0 : min(x1, columns - 1)] = 1
    if not mask.any():
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = 1
    return mask
