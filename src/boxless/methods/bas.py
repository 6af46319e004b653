"""BAS: a generator of object maps learns to leave nothing in the background that speaks for the class.

Wu, Zhai and Cao, "Background Activation Suppression for Weakly Supervised Object Localization", CVPR 2022; with more
data sets in Zhai, Wu, Zhu, Cao, Wu and Zha, "Background Activation Suppression for Weakly Supervised Object
Localization and Semantic Segmentation", IJCV 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.func import functional_call

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Method, Paper, Space, asked_classes, pick
from boxless.methods.head import class_maps
from boxless.methods.neck import Neck
from boxless.methods.nl_ccam import ranks
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization

EPSILON = 1e-8  # the authors'
Weight = Annotated[float, Ge(0)]


@final
class BAS(Method):
    """A classifier and a generator on one grid; the generator's map of the image's class covers or bares the object.

    The classifier is two 3x3 convolutions with ReLU and a 1x1 convolution to a map for each class, whose mean is the
    class's score; the generator is a 3x3 convolution with sigmoid to a map for each class. With M the generator's map
    of the image's class there are four losses: the classification of the image; the classification by the classifier's
    maps times M; the background's part in the class's score, see :meth:`losses`; and the mean of M.

    The authors' generator reads an earlier stage than the classifier, at twice its resolution, and the background runs
    through the stage between. Here both read the same grid, and the background runs through the classifier alone: a
    frozen backbone, computed beforehand, cannot be asked again. The authors' first code has a ReLU on the classifier's
    maps; here, as in their later one, it is on the scores that are compared.

    For images of several classes we follow their code for PASCAL VOC: in each step one of the classes shown, drawn at
    random, is the image's class, and from the second loss, a cross-entropy over classes, the generator alone learns.

    Args:
        foreground_weight: Weight of the classification by what M leaves. The authors': on CUB 0.5, with VGG16 0; on
            ILSVRC 1 with ResNet50 and InceptionV3, 0.5 with MobileNetV1, 0.05 with VGG16; on OpenImages 0.5; on VOC
            0.2.
        area_weight: Weight of the mean of M. The authors': on CUB 1.2 with ResNet50, 1 with InceptionV3, 1.5 with
            MobileNetV1, 0.7 with VGG16, in their later code 1.5, 1, 1.9 and 0.9; on ILSVRC 2, 2.5, 1.5 and 1; on
            OpenImages 1.5; on VOC 1.2.
        top: A map is the mean of the generator's maps of so many classes: the one asked for and the likeliest others.
            The authors' are 1 on ILSVRC and OpenImages and 200 (with VGG16 80) on the 200 kinds of birds of CUB. Where
            classes are alike and have few images, a mean is surer; of all classes it is the same map for each.
        stride: Input pixels per cell of the grid that is read: the last stage with this stride or a finer one.
        fuse: Lay the coarser stages over that grid.
        hidden: Channels of the classifier's 3x3 convolutions. The paper has 1,024; 256 are this package's default for
            every such convolution, which on frozen features was as good in less time
            (benchmarks/results/accuracy.json).
    """

    paper = Paper(
        "Wu et al.",
        "Background Activation Suppression for Weakly Supervised Object Localization",
        "CVPR",
        2022,
        "https://arxiv.org/abs/2112.00580",
    )
    # Not in the thesis' table 4.4; about the range of the values that the authors chose.
    search_space: ClassVar[Mapping[str, Space]] = {
        "foreground_weight": Space(0.0, 1.0),
        "area_weight": Space(0.5, 3.0),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        foreground_weight: Weight = 0.5,
        area_weight: Weight = 1.2,
        top: Annotated[int, Ge(1)] = 1,
        stride: int = 16,
        fuse: bool = True,
        hidden: Annotated[int, Ge(1)] = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.foreground_weight, self.area_weight, self.top = foreground_weight, area_weight, top
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0)
        self.classifier = class_maps(self.neck.channels, hidden, num_classes)
        self.generator = nn.Conv2d(self.neck.channels, num_classes, 3, padding=1)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The four losses, weighted; an image that shows no class counts in the first only.

        The first two teach the classifier and what is below it, the last three the generator and what is below it:
        what the background is measured by, the features, the classifier and the whole image's score, does not learn
        from that, or it would suppress the class itself.
        """
        grid = self.neck(self.backbone(batch.images).grids)
        maps = self.classifier(grid)
        scores = maps.mean((2, 3))
        label, shown = one_class(batch)
        mask = pick(self.generator(grid), label).sigmoid()
        kept = ((maps.detach() if batch.multi_label else maps) * mask).mean((2, 3))
        bared = self._judge(grid.detach() * (1 - mask))
        each = {
            "foreground": self.foreground_weight * F.cross_entropy(kept, label[:, 0], reduction="none"),
            "background": background_part(bared.gather(1, label), scores.gather(1, label))[:, 0],
            "area": self.area_weight * mask.mean((1, 2, 3)),
        }
        losses = {name: (value * shown).mean() for name, value in each.items()}
        return {"classification": classification(scores, batch), **losses}

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        grid = self.neck(self.backbone(images).grids)
        logits = self.classifier(grid).mean((2, 3))
        classes = asked_classes(logits, classes)
        masks = self.generator(grid).sigmoid()
        if self.top == 1:
            return Localization(logits, normalize(pick(masks, classes)), classes)
        first = ranks(logits, classes) < self.top
        maps = torch.einsum("bnk,bkhw->bnhw", first.to(masks) / first.sum(2, keepdim=True), masks)
        return Localization(logits, normalize(maps), classes)

    def _judge(self, grid: Tensor) -> Tensor:
        """Class scores (b, k) of a grid (b, c, h, w), by a classifier that does not learn from them."""
        fixed = {name: parameter.detach() for name, parameter in self.classifier.named_parameters()}
        maps: Tensor = functional_call(self.classifier, fixed, (grid,))
        return maps.mean((2, 3))


def one_class(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class (b, 1) that stands for each image, and (b,) whether it shows any; of several one is drawn at random."""
    if not batch.multi_label:
        return batch.labels[:, None], torch.ones_like(batch.labels, dtype=torch.bool)
    shown = batch.targets.sum(1) > 0
    weights = torch.where(shown[:, None], batch.targets, torch.ones_like(batch.targets))
    return torch.multinomial(weights, 1), shown


def background_part(background: Tensor, whole: Tensor) -> Tensor:
    """What part of a class's score is reached without the object; 0, which teaches nothing, where it is all or more.

    Args:
        background: The score of the grid without the object; negative ones count as 0.
        whole: The score of the whole grid, of the same shape; it does not learn.
    """
    left, whole = (F.relu(score if score.dtype == torch.float64 else score.float()) for score in (background, whole))
    whole = whole.detach()
    return torch.where(left < whole, left / (whole + EPSILON), torch.zeros_like(left))
