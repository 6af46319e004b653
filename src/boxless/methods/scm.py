"""SCM: TS-CAM, whose attention and class maps spread over alike neighbours while it learns.

Bai, Zhang, Wang and Wan, "Weakly Supervised Object Localization via Transformer with Implicit Spatial Calibration",
ECCV 2022. What the paper leaves open is taken from the authors' code.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from boxless.backbones.base import Backbone
from boxless.losses.classification import classification
from boxless.methods.base import Paper
from boxless.methods.ts_cam import TSCAM
from boxless.ops.maps import normalize
from boxless.types import Batch, Features

RATE = 0.002  # what the inverse is first guessed with: it converges where the matrix' norm is below sqrt(2 / RATE)
FIRST_ITERATIONS, ITERATIONS = 16, 4  # of the inverse, in the first block and in those after it
UNFORMED = 4  # the last of these, which need no matrix


@final
class SCM(TSCAM):
    """TS-CAM's network with a spatial calibration module in training: activation diffusion blocks, one after another.

    Each block spreads attention over neighbours that look alike and raises the class maps there; the class scores of
    the last one's class maps are taught. So the transformer itself learns attention that keeps to an object's boundary,
    and the module is left out when it localizes. Class maps are then multiplied with attention whose lowest value is 0,
    where TS-CAM has it as it is.

    Args:
        blocks: Diffusion blocks.
        threshold: Where each block starts to learn below which part of the highest attention a spread value is shrunk
            towards zero.
        similarity: Where each block starts to learn how much likeness holds neighbours together; far above 4 its
            inverse would not converge.
    """

    paper = Paper(
        "Bai et al.",
        "Weakly Supervised Object Localization via Transformer with Implicit Spatial Calibration",
        "ECCV",
        2022,
        "https://arxiv.org/abs/2207.10447",
    )

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        blocks: Annotated[int, Ge(1)] = 4,
        threshold: Annotated[float, Gt(0)] = 0.5,
        similarity: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.calibration = nn.ModuleList(
            Diffusion(ITERATIONS if block else FIRST_ITERATIONS, threshold=threshold, similarity=similarity)
            for block in range(blocks)
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        features = self.backbone(batch.images)
        class_maps, attention = self.head(features.grid), self.attended(features)
        for block in self.calibration:
            class_maps, attention = block(class_maps, attention)
        return {"classification": classification(class_maps.mean((2, 3)), batch)}

    def attended(self, features: Features) -> Tensor:
        return normalize(super().attended(features))


@final
class Diffusion(nn.Module):
    """An activation diffusion block.

    Neighbours i and j on the grid are coupled by 1 - similarity * cos(s_i, s_j) of their class scores s, and the
    attention that is wanted gives, through these couplings, the attention that is there: it is their inverse times it.

    Args:
        iterations: Of the inverse.
        threshold: First value of the parameter, see `SCM`.
        similarity: First value of the parameter, see `SCM`.
    """

    def __init__(self, iterations: int, *, threshold: float, similarity: float) -> None:
        super().__init__()
        self.iterations = iterations
        self.threshold = nn.Parameter(torch.tensor(threshold))
        self.similarity = nn.Parameter(torch.tensor(similarity))

    def forward(self, class_maps: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Both with what was spread added: class maps (b, k, h, w) in its proportion, attention (b, 1, h, w)."""
        with torch.autocast(class_maps.device.type, enabled=False):  # half precision is too coarse for the inverse
            class_maps, attention = class_maps.float(), attention.float()
            scores = F.normalize(class_maps.flatten(2), dim=1)
            coupling = laplacian(*class_maps.shape[2:]).to(scores) * (self.similarity * scores.mT @ scores - 1)
            spread = inverse_times(coupling, attention.flatten(2).mT, self.iterations).mT.reshape(attention.shape)
            highest = attention.amax((2, 3), keepdim=True)
            highest = torch.where(highest > 0, highest, 1.0)
            spread = normalize(F.tanhshrink(spread / (self.threshold * highest)))
            return class_maps + class_maps * spread, attention + spread


def laplacian(rows: int, columns: int) -> Tensor:
    """The Laplacian matrix (n, n) of a grid's cells, row by row, each joined to the four next to it."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    near = (places[:, None] - places).abs().sum(2) == 1
    return torch.diag(near.sum(1)) - near.long()


def inverse_times(matrices: Tensor, vectors: Tensor, iterations: int) -> Tensor:
    """The inverses of matrices (b, n, n) times vectors (b, n, m), by Newton-Schulz: X <- X (2 - A X), from RATE * A^T.

    Few iterations leave out those parts of a vector that a matrix makes small. As in the authors' code no gradient goes
    through the first guess, so that of few iterations too is like that of an inverse: it falls where the matrix grows.
    """
    inverses = RATE * matrices.detach().mT
    for _ in range(iterations - UNFORMED):
        inverses = torch.baddbmm(inverses, inverses, matrices @ inverses, beta=2, alpha=-1)
    return _iterated(matrices, inverses, vectors, min(iterations, UNFORMED))


def _iterated(matrices: Tensor, inverses: Tensor, vectors: Tensor, iterations: int) -> Tensor:
    """What further iterations would multiply the vectors by: each takes the one before twice, and forms no matrix."""
    if not iterations:
        return inverses @ vectors
    once = _iterated(matrices, inverses, vectors, iterations - 1)
    return _iterated(matrices, inverses, 2 * vectors - matrices @ once, iterations - 1)
