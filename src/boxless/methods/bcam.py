"""B-CAM: a second classifier learns what background is, from a feature that is pooled where no object seems to be.

Zhu, She, Chen, Meng, Geng, Jin, Zhang, Ren and Lu, "Background-Aware Classification Activation Map for Weakly
Supervised Object Localization", IEEE TPAMI 45(12), 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.neck import Neck
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization

Weight = Annotated[float, Ge(0)]


@final
class BCAM(Method):
    """Two attentions pool an object feature and a background feature, and two classifiers are shown both.

    The object classifier gives the class scores. The background classifier says for each class how surely a feature
    shows none of it. Taught on both features, this is the paper's stagger classification loss of four terms, see
    :meth:`losses`. What the paper's abstract leaves open (what each term asks for, where gradients stop, the map, all
    defaults) is taken from the authors' code for single objects; for several labels in an image the first term becomes
    a binary cross-entropy, as in their code for PASCAL VOC.

    A map has no background to be compared with here: thresholds cut it. The paper's mask is where the map of the object
    exceeds that of the background, each made by the same rule.

    Args:
        exclusion: Weight of the background classifier's term for the object feature.
        background: Weight of the background classifier's term for the background feature.
        suppression: Weight of the object classifier's term for the background feature. The authors' runs on CUB weigh
            all four terms alike with ResNet50; with VGG16 and InceptionV3 these three have 0.4, 0.4 and 0.2.
        rule: What a map is, see :meth:`localize`. The authors take ``gradient`` on CUB (and nearly so on ILSVRC), and
            ``score`` on OpenImages and VOC.
        pace: How fast attentions learn and how sharp they become: their scores are multiplied by it. The authors have
            the mean of 100 attentions that start at zero: equal gradients keep them equal, and by gradient descent they
            learn as one with a pace of 1 / sqrt(100), at a hundredth of the speed. AdamW, whose steps are as large for
            small gradients, comes to that speed with 0.01. Sharper attentions tell classes apart better, but settle on
            few places of the object.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the 3x3 convolution with ReLU below attentions and classifiers; 0 puts none. As in the
            authors' InceptionV3 and, for the classifiers, VGG16, which have 1,024; 256 are this package's default for
            every such convolution, which on frozen features was as good in less time for the plain classifier
            (benchmarks/results/accuracy.json).
    """

    paper = Paper(
        "Zhu et al.",
        "Background-Aware Classification Activation Map for Weakly Supervised Object Localization",
        "IEEE TPAMI 45(12)",
        2023,
        "https://arxiv.org/abs/2112.14379",
    )
    # Not in the thesis' table 4.4; the weights that the authors' runs have lie inside.
    search_space: ClassVar[Mapping[str, Space]] = {
        **{name: Space(0.1, 2.0, log=True) for name in ("exclusion", "background", "suppression")},
        "pace": Space(0.003, 0.3, log=True),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        exclusion: Weight = 1.0,
        background: Weight = 1.0,
        suppression: Weight = 1.0,
        rule: Literal["gradient", "score"] = "gradient",
        pace: Annotated[float, Gt(0)] = 0.01,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(0)] = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.weights, self.rule = (exclusion, background, suppression), rule
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
        self.object_attention, self.background_attention = (Attention(self.neck.channels, pace) for _ in range(2))
        self.object_classifier, self.background_classifier = (
            nn.Linear(self.neck.channels, num_classes) for _ in range(2)
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The four terms, the last three times their weights.

        - ``classification``: the object feature shows the image's classes, says the object classifier.
        - ``exclusion``: it is background of all other classes, says the background classifier.
        - ``background``: the background feature is background of every class, says the background classifier.
        - ``suppression``: it shows no class, says the object classifier.

        What the background classifier is taught changes the attentions, and features only through these: those that it
        pools are held constant.
        """
        grid = self._grid(batch.images)
        shown, surroundings = self.object_attention(grid), self.background_attention(grid)
        still = grid.detach()
        exclusion, background, suppression = self.weights
        everything = torch.ones_like(batch.targets)
        return {
            "classification": classification(self.object_classifier(pool(shown, grid)), batch),
            "exclusion": exclusion * self._background(pool(shown, still), 1 - batch.targets),
            "background": background * self._background(pool(surroundings, still), everything),
            "suppression": suppression
            * F.binary_cross_entropy_with_logits(
                self.object_classifier(pool(surroundings, grid)), torch.zeros_like(everything)
            ),
        }

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        """Class scores of the object classifier, and a map for each class by one of two rules.

        - ``score``: the object classifier's score of each place.
        - ``gradient``: how the difference of both classifiers' scores of the object feature changes with the features
          of a place, along the mean change over all places (which is the class's weights).
        """
        grid = self._grid(images)
        attention = self.object_attention(grid)
        logits = self.object_classifier(pool(attention, grid))
        classes = asked_classes(logits, classes)
        by_gradient = self.rule == "gradient"
        maps = self._gradients(grid, attention, classes) if by_gradient else self._scores(grid, classes)
        return Localization(logits, normalize(maps), classes)

    def _scores(self, grid: Tensor, classes: Tensor) -> Tensor:  # the bias shifts a whole map: it is left out
        return pick(F.conv2d(grid, self.object_classifier.weight[:, :, None, None]), classes)

    def _gradients(self, grid: Tensor, attention: Tensor, classes: Tensor) -> Tensor:
        """The maps (b, n, h, w) of the rule ``gradient``, worked out.

        With a the attention, t its weights, w and u the class's weights in both classifiers and d(x) = (w - u) f(x),
        the gradient at place x is a(x) (w + (d(x) - mean) t), where the mean of d is weighted with a. (As in training,
        what the background classifier pools is constant.) The second term vanishes in the sum over places: the mean
        gradient is w over the number of places, which drops out of a normalised map.
        """
        weight = self.object_classifier.weight[classes]  # (b, n, c)
        difference = torch.einsum("bnc,bchw->bnhw", weight - self.background_classifier.weight[classes], grid)
        above = difference - (attention * difference).sum((2, 3), keepdim=True)
        slope = weight @ self.object_attention.weight
        return attention * (weight.square().sum(2)[:, :, None, None] + slope[:, :, None, None] * above)

    def _grid(self, images: Tensor) -> Tensor:  # (b, 3, h, w) -> (b, c, h', w')
        grid: Tensor = self.neck(self.backbone(images).grids)
        return grid

    def _background(self, feature: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.background_classifier(feature), targets)


class Attention(nn.Module):
    """How much each place counts, a softmax over places of a 1x1 convolution; a new one counts all alike.

    Args:
        channels: Channels of the grid.
        pace: The convolution's results are multiplied by it.
    """

    def __init__(self, channels: int, pace: float) -> None:
        super().__init__()
        self.pace = pace
        self.score = nn.Conv2d(channels, 1, 1, bias=False)  # a bias would not change the softmax
        nn.init.zeros_(self.score.weight)

    @property
    def weight(self) -> Tensor:
        """What each channel adds to the score of a place, (c,)."""
        return self.pace * self.score.weight.flatten()

    def forward(self, grid: Tensor) -> Tensor:
        """Weights (b, 1, h, w) that sum to 1 over places, of the grid (b, c, h, w)."""
        scores: Tensor = self.pace * self.score(grid)
        return scores.flatten(2).softmax(2).view_as(scores)


def pool(attention: Tensor, grid: Tensor) -> Tensor:
    """The mean (b, c) of a grid (b, c, h, w), weighted with an attention (b, 1, h, w)."""
    return (attention * grid).sum((2, 3))
