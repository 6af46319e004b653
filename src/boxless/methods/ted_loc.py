"""TeD-Loc: patches learn the anchor of their class and whether they show the object, and the image's class from both.

Murtaza, Belharbi, Pedersoli and Granger, "TeD-Loc: Text Distillation for Weakly Supervised Object Localization",
arXiv:2501.12632, 2025; chapter 3 of the first author's thesis, whose sections and equations are meant here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.errors import ConfigError
from boxless.losses.classification import classification
from boxless.losses.distillation import (
    anchor_scores,
    foreground_weights,
    image_classification,
    patch_classification,
    patch_distillation,
)
from boxless.losses.partial import IGNORED
from boxless.methods.base import Method, Needs, Paper, Space, Stage, asked_classes
from boxless.methods.head import GridClassifier
from boxless.methods.neck import Neck
from boxless.methods.patches import PatchDecoder, Patches
from boxless.methods.sampling import PixelSampler
from boxless.ops.anchors import orthogonal_anchors, polar_anchors, random_anchors
from boxless.ops.maps import normalize
from boxless.types import Batch, Localization

if TYPE_CHECKING:
    from boxless.text.classes import ClassTexts

TEACHER = Stage("teacher", localizes=False, teaches=True)
LOCALIZATION = Stage("localization", pseudo="any", sources=("cam",))
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1)]
SEED = 0  # of random anchors, which need not differ from run to run


@final
class TeDLoc(Method):
    """A frozen encoder, a decoder to the space of class names, a classifier of patches, and an anchor for each class.

    First a classifier learns on the encoder (unless a recipe names another as ``pseudo.classifier``), whose maps are
    the pseudo-labels. Then the decoder and the patch classifier learn, from patches that are drawn anew in each step:
    those of the object are pulled to the anchor of the image's class (equation 3.1), all are told object or background
    (3.2), and the mean of all patches, weighted by the patch classifier (3.3), is pulled to the anchor too (3.4). So
    the class comes from what is localized, in one pass, and no text tower is needed after training.

    Anchors are the text embeddings of class names, made orthogonal, or random directions where there is no text; they
    are part of the weights and never learn. The weights of the losses are of means, where the thesis' equations are
    sums, and in (0, 1] there.

    Args:
        distillation_weight: Weight of the distillation to patches (lambda_1).
        patch_weight: Weight of the patch classifier's loss (lambda_2).
        image_weight: Weight of the classification of images (lambda_3). With 0 the patch classifier still weights
            patches for class scores.
        anchors: How text embeddings become anchors: ``qr`` as in the thesis, where the order of classes matters;
            ``polar``, where it does not, and which alone can hold more classes than dimensions; ``text`` takes them as
            they are; ``random`` needs no text. ``auto`` is qr, or polar for more classes than dimensions, or random if
            there is no text.
        dimensions: Of the anchors' space; those of the text embeddings if a recipe does not say.
        localization: Where maps come from: the patch ``classifier``, of no class; or the products of patches with the
            ``anchors``, of the class asked for (section 3.6.2.1).
        foreground_share: n+, the part of the region above Otsu's threshold, or of a box, that object patches are drawn
            from, the highest.
        background_share: n-, the part of what lies outside it that background patches are drawn from, the lowest.
        count: Patches drawn of each kind.
        stride: Input pixels per cell of the encoder's grid: the last stage with this stride or a finer one.
        fuse: Lay coarser stages over that grid.
        width: Channels of the decoder's first block, halved from block to block.
        resolution: Input pixels per patch that the decoder gives.
        hidden: Channels of a 3x3 convolution before the teaching classifier's pooling.
    """

    paper = Paper(
        "Murtaza et al.",
        "TeD-Loc: Text Distillation for Weakly Supervised Object Localization",
        "arXiv:2501.12632",
        2025,
        "https://arxiv.org/abs/2501.12632",
    )
    needs = Needs(text="optional")
    stages = (TEACHER, LOCALIZATION)
    search_space: ClassVar[Mapping[str, Space]] = {  # the thesis searches the weights in (0, 1]
        "distillation_weight": Space(0.01, 1.0),
        "patch_weight": Space(0.01, 1.0),
        "image_weight": Space(0.01, 1.0),
    }

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        distillation_weight: Weight = 1.0,
        patch_weight: Weight = 1.0,
        image_weight: Weight = 1.0,
        anchors: Literal["auto", "qr", "polar", "text", "random"] = "auto",
        dimensions: Annotated[int, Ge(2)] = 512,
        localization: Literal["classifier", "anchors"] = "classifier",
        foreground_share: Share = 0.3,
        background_share: Share = 0.9,
        count: Count = 10,
        stride: int = 16,
        fuse: bool = True,
        width: Count = 64,
        resolution: Count = 4,
        hidden: Annotated[int, Ge(0)] = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        if anchors == "qr":
            _refuse_too_many(num_classes, dimensions)
        if not (distillation_weight or patch_weight or image_weight):
            raise ConfigError("method: all three losses have the weight 0; give one of them more, to learn from.")
        self.distillation_weight, self.patch_weight, self.image_weight = distillation_weight, patch_weight, image_weight
        self.kind, self.localization = anchors, localization
        self.class_specific = localization == "anchors"
        self.sampler = PixelSampler(
            foreground_share=foreground_share,
            background_share=background_share,
            count=count,
            background_count=None,
            background="outside",
            dilation=1,
            otsu=True,
        )
        self.stage = LOCALIZATION  # a run that is opened is past the teacher
        self.pooled = Neck(backbone, stride=stride, fuse=fuse, hidden=hidden)
        self.teacher = nn.Linear(self.pooled.channels, num_classes)
        self.neck = Neck(backbone, stride=stride, fuse=fuse, hidden=0, also=True)
        self.decoder = PatchDecoder(
            channels=self.neck.channels,
            stride=self.neck.stride,
            dimensions=dimensions,
            width=width,
            resolution=resolution,
        )
        self.patch_classifier = nn.Linear(dimensions, 1)
        self.anchors: Tensor
        # Until classes are named: to make anchors of many takes seconds, which a run that is opened need not wait for.
        drawn = torch.randn(num_classes, dimensions, generator=torch.Generator().manual_seed(SEED), device="cpu")
        self.register_buffer("anchors", F.normalize(drawn, dim=1))

    def name_classes(self, texts: ClassTexts) -> None:
        if self.kind == "random":
            self.leave_unnamed()
            return
        found = texts.embeddings
        classes, dimensions = self.anchors.shape
        if found.shape[1] != dimensions:
            raise ConfigError(
                f"method.dimensions: {dimensions}, and the text embeddings have {found.shape[1]}; leave it out."
            )
        if self.kind == "text":
            chosen = F.normalize(found, dim=1)
        elif self.kind == "qr" or (self.kind == "auto" and classes <= dimensions):
            chosen = orthogonal_anchors(found)
        else:
            chosen = polar_anchors(found)
        self.anchors.copy_(chosen)

    def leave_unnamed(self) -> None:
        """Make random anchors.

        Raises:
            ConfigError: Anchors of text are asked for.
        """
        if self.kind not in ("auto", "random"):
            raise ConfigError(
                f"method.anchors: {self.kind} makes anchors of class names, and there is no text; name a model as "
                "text.model, such as open_clip:ViT-B-16/openai, or take random."
            )
        classes, dimensions = self.anchors.shape
        self.anchors.copy_(random_anchors(classes, dimensions, torch.Generator().manual_seed(SEED)))

    def holds(self, stage: Stage) -> tuple[nn.Module, ...]:
        """What is for maps while the teacher learns; then the encoder (section 3.3) and the teacher."""
        learners = (self.decoder, self.patch_classifier)
        return learners if stage == TEACHER else (self.backbone, self.pooled, self.teacher)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The classification of the teacher in the first stage; in the second equation 3.5, term by term."""
        grids = self.backbone(batch.images).grids
        if self.stage == TEACHER or batch.pseudo is None:
            return {"classification": classification(self._taught(grids), batch)}
        patches = self.decoder(self.neck(grids))
        rows, columns, labels = drawn(self.sampler(batch.pseudo.on(patches.size)))
        losses: dict[str, Tensor] = {}
        if self.distillation_weight or self.patch_weight:
            embeddings = self.decoder.at(patches, rows, columns)[..., None]
            if self.distillation_weight:
                pulled = patch_distillation(embeddings, self.anchors, batch.labels, labels)
                losses["distillation"] = self.distillation_weight * pulled
            if self.patch_weight:
                told = patch_classification(self.patch_classifier(embeddings[..., 0].mT), labels)
                losses["patches"] = self.patch_weight * told
        if self.image_weight:
            pooled = self.decoder.mean(patches, foreground_weights(self._objectness(patches)))
            targets = batch.targets if batch.multi_label else batch.labels
            losses["image"] = self.image_weight * image_classification(pooled, self.anchors, targets)
        return losses

    def scores(self, images: Tensor) -> Tensor:
        grids = self.backbone(images).grids
        if self.stage == TEACHER:
            return self._taught(grids)
        patches = self.decoder(self.neck(grids))
        return self._named(patches, self._objectness(patches))

    def as_teacher(self) -> nn.Module:
        return GridClassifier(
            lambda images: self.pooled(self.backbone(images).grids), (self.backbone, self.pooled), self.teacher
        )

    def localize(self, images: Tensor, classes: Tensor | None = None) -> Localization:
        patches = self.decoder(self.neck(self.backbone(images).grids))
        objectness = self._objectness(patches)
        logits = self._named(patches, objectness)
        classes = asked_classes(logits, classes)
        if self.localization == "anchors":
            products = self.decoder.products(patches, self.anchors[classes].to(objectness))
            return Localization(logits, normalize(products.float()), classes)
        maps = objectness.float().sigmoid()[:, None]
        return Localization(logits, maps.expand(-1, classes.shape[1], -1, -1), classes)

    def _taught(self, grids: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor = self.teacher(self.pooled(grids).mean((2, 3)))
        return logits

    def _objectness(self, patches: Patches) -> Tensor:
        """What the patch classifier says before the sigmoid, (b, h, w)."""
        vector = self.patch_classifier.weight.expand(patches.coarse.shape[0], -1, -1)
        return self.decoder.products(patches, vector)[:, 0] + self.patch_classifier.bias

    def _named(self, patches: Patches, objectness: Tensor) -> Tensor:
        """Class scores (b, k): the pooled embedding's products with the anchors."""
        return anchor_scores(self.decoder.mean(patches, foreground_weights(objectness)), self.anchors)


def drawn(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The places that have a label, out of labels (b, h, w): rows and columns (b, n), and their labels (b, n, 1).

    n is the largest number in an image; the others are filled up with places that have none.
    """
    width = labels.shape[2]
    flat = labels.flatten(1)
    known = flat != IGNORED
    places = known.int().topk(int(known.sum(1).max().clamp(min=1)), dim=1).indices
    return places // width, places % width, flat.gather(1, places)[..., None]


def _refuse_too_many(classes: int, dimensions: int) -> None:
    if classes > dimensions:
        raise ConfigError(
            f"method.anchors: {classes} classes, {dimensions} dimensions: qr holds no more classes than dimensions; "
            "take polar, or more dimensions."
        )
