"""Maps from the gradient of the class score for a layer's output: Grad-CAM and those that came of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from boxless.maps.base import MapExtractor, asked, onto_finest, score, weighted_sum
from boxless.maps.layers import to_grid
from boxless.maps.session import Session
from boxless.methods.base import Paper
from boxless.ops.maps import normalize


class GradientMap(MapExtractor):
    """A map that each layer's activations and gradients give; maps of several layers are fused."""

    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One forward pass, and a backward pass through what follows the first layer."""
        with Session(model, layers, gradients=True) as session:
            logits = session.forward(images)
            classes = asked(logits, targets)
            gradients = session.gradients(score(logits, classes))
            outputs = session.kept()
        size, count = (images.shape[2], images.shape[3]), len(images)
        maps = [
            self.weigh(to_grid(output, model, layer, size, count), to_grid(gradient, model, layer, size, count)).relu()
            for layer, output, gradient in zip(layers, outputs, gradients, strict=True)
        ]
        return self.fuse(maps) if len(maps) > 1 else maps[0], logits.detach(), classes

    @abstractmethod
    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The map (b, h, w) of one layer, before ReLU, from its activations and gradients (b, c, h, w)."""

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """One map from the maps of several layers: their mean on the finest grid, each brought into [0, 1] before."""
        return onto_finest([normalize(each) for each in maps]).mean(0)


@final
class GradCAM(GradientMap):
    """Grad-CAM: each channel weighs as much as its mean gradient."""

    paper = Paper(
        "Selvaraju et al.",
        "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        "ICCV",
        2017,
        "https://arxiv.org/abs/1610.02391",
    )

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Equations 1 and 2."""
        return weighted_sum(gradients.mean((2, 3)), activations)


def coefficients(second: Tensor, third: Tensor, activations: Tensor, epsilon: float) -> Tensor:
    """Equation 19 of Grad-CAM++: how much each place's positive gradient counts, (b, c, h, w).

    Args:
        second: The gradient's square.
        third: Its third power.
        activations: (b, c, h, w).
        epsilon: Added to the denominator.
    """
    below = 2 * second + activations.sum((2, 3), keepdim=True) * third + epsilon
    return torch.where((second == 0) | (below == 0), 0.0, second / torch.where(below == 0, 1.0, below))


@final
class GradCAMPlusPlus(GradientMap):
    """Grad-CAM++: positive gradients, each place weighed so that small objects count as large ones do.

    Args:
        epsilon: Added to the denominator of equation 19. The paper has none. With 1e-6, as in pytorch-grad-cam, or
            1e-8, as in torchcam, it outweighs the squares of the small gradients of trained networks.
    """

    paper = Paper(
        "Chattopadhay et al.",
        "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
        "WACV",
        2018,
        "https://arxiv.org/abs/1710.11063",
    )

    def __init__(self, *, epsilon: Annotated[float, Ge(0)] = 0.0) -> None:
        self.epsilon = epsilon

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Equations 5 and 19, the class score being the exponential of the logit."""
        second = gradients.square()
        alpha = coefficients(second, second * gradients, activations, self.epsilon)
        return weighted_sum((alpha * gradients.relu()).sum((2, 3)), activations)


@final
class SmoothGradCAMPlusPlus(GradientMap):
    """Smooth Grad-CAM++: Grad-CAM++ with gradients averaged over noisy copies of the image.

    The noise is the same for each image, so that a map does not depend on its batch mates.

    Args:
        samples: Noisy copies.
        std: Standard deviation of the noise, in units of the normalised image.
        epsilon: Added to the denominator, as in Grad-CAM++.
        seed: Of the noise.
    """

    paper = Paper(
        "Omeiza et al.",
        "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep Convolutional Neural Network "
        "Models",
        "arXiv",
        2019,
        "https://arxiv.org/abs/1908.01224",
    )

    # The paper leaves both numbers to its user; 4 copies with 0.3 are what torchcam takes.
    def __init__(
        self,
        *,
        samples: Annotated[int, Ge(1)] = 4,
        std: Annotated[float, Gt(0)] = 0.3,
        epsilon: Annotated[float, Ge(0)] = 0.0,
        seed: int = 0,
    ) -> None:
        self.samples, self.std, self.epsilon, self.seed = samples, std, epsilon, seed

    def compute(
        self, model: nn.Module, images: Tensor, targets: Tensor | None, layers: tuple[str, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A clean forward pass for the activations, then a forward and a backward pass for each copy."""
        size, count = (images.shape[2], images.shape[3]), len(images)
        generator = torch.Generator().manual_seed(self.seed)
        with Session(model, layers, gradients=True) as session:
            logits = session.forward(images).detach()
            classes = asked(logits, targets)
            clean = [to_grid(out, model, name, size, count) for name, out in zip(layers, session.kept(), strict=True)]
            sums = [[torch.zeros_like(each) for each in clean] for _ in range(3)]
            for _ in range(self.samples):
                noise = self.std * torch.randn(images.shape[1:], generator=generator)
                scores = session.forward(images + noise.to(images))
                for i, gradient in enumerate(session.gradients(score(scores, classes))):
                    grid = to_grid(gradient, model, layers[i], size, count)
                    for power, total in enumerate(sums, 1):
                        total[i].add_(grid**power)
        first, second, third = [[each / self.samples for each in total] for total in sums]
        maps = []
        for i, activations in enumerate(clean):
            # The paper has the mean gradient, and not its mean square, above the line; with one copy and no noise that
            # would not be Grad-CAM++, so it is taken for a slip, as torchcam does.
            alpha = coefficients(second[i], third[i], activations, self.epsilon)
            maps.append(weighted_sum((alpha * first[i].relu()).sum((2, 3)), activations).relu())
        return self.fuse(maps) if len(maps) > 1 else maps[0], logits, classes

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """With a single gradient it is Grad-CAM++."""
        return GradCAMPlusPlus(epsilon=self.epsilon).weigh(activations, gradients)


@final
class XGradCAM(GradientMap):
    """XGrad-CAM: each channel weighs as its gradients do where it is active.

    Args:
        epsilon: Added to the sum of a channel's activations, by which its weight is divided. The paper has none;
            pytorch-grad-cam has 1e-7, which shows where a transformer's activations, of both signs, cancel.
    """

    paper = Paper(
        "Fu et al.",
        "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
        "BMVC",
        2020,
        "https://arxiv.org/abs/2008.02312",
    )

    def __init__(self, *, epsilon: Annotated[float, Ge(0)] = 0.0) -> None:
        self.epsilon = epsilon

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Equation 8; a channel whose activations sum to zero weighs nothing."""
        total = activations.sum((2, 3)) + self.epsilon
        weights = (gradients * activations).sum((2, 3)) / torch.where(total == 0, 1.0, total)
        return weighted_sum(torch.where(total == 0, 0.0, weights), activations)


@final
class LayerCAM(GradientMap):
    """LayerCAM: each place weighs as its own positive gradient, which makes maps of early layers usable too.

    Args:
        gamma: How strongly the maps of several layers are raised before their maximum is taken (equation 9).
    """

    paper = Paper(
        "Jiang et al.",
        "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        "IEEE TIP",
        2021,
        "https://doi.org/10.1109/TIP.2021.3089943",
    )

    def __init__(self, *, gamma: Annotated[float, Gt(0)] = 2.0) -> None:
        self.gamma = gamma

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Equations 5 to 7."""
        return (gradients.relu() * activations).sum(1)

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Equation 9 for each layer, and the largest of them in each place."""
        peaks = [each.amax((1, 2), keepdim=True) for each in maps]
        raised = [
            (self.gamma * each / torch.where(peak == 0, 1.0, peak)).tanh()
            for each, peak in zip(maps, peaks, strict=True)
        ]
        return onto_finest(raised).amax(0)
