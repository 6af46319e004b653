"""Regions of an image shown to a classifier, with all around them blurred.

A blur takes away what tells classes apart and leaves no edge of its own that a network has never seen, which a region
cut out on black would have: Fong, Patrick and Vedaldi, "Understanding deep networks via extremal perturbations and
smooth masks", ICCV 2019. DiPS scores its proposals so (thesis, Algorithm 2.1: "Perturb the image").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from boxless.errors import ConfigError, DataError
from boxless.maps.layers import exact
from boxless.maps.session import Session
from boxless.methods.base import Method

# The thesis names no numbers. The authors' code carries a Gaussian of these, in pixels, for images of 224 x 224; here
# both grow with the image's shorter side, so that as much is hidden at any size.
KERNEL, SIGMA, SIDE = 115, 105.5, 224

Classifier = Callable[[Tensor], Tensor]  # images (n, 3, h, w) -> class scores (n, k)


def gaussian_blur(images: Tensor, radius: int, sigma: float) -> Tensor:
    """Blur the last two dimensions with a Gaussian that is cut off and then sums to one.

    Beyond its border an image goes on mirrored, the border pixels themselves not repeated (``reflect`` in torch,
    ``mirror`` in scipy), as often as the kernel is larger than the image. Computed in float32, or float64 for such
    images, whatever the autocast around it.

    Args:
        images: (..., h, w).
        radius: Pixels on each side of the centre: the kernel is ``2 * radius + 1`` wide.
        sigma: Standard deviation in pixels, positive.
    """
    height, width = images.shape[-2:]
    with torch.autocast(images.device.type, enabled=False):
        values = exact(images)
        # As a product of two matrices: the kernel is half as wide as the image, where a convolution has no gain.
        weights = (_matrix(length, radius, sigma).to(values.dtype) for length in (height, width))
        rows, columns = (each.to(values.device) for each in weights)
        return (rows @ values @ columns.T).to(images.dtype)


def blurred(images: Tensor) -> Tensor:
    """Images (..., h, w) blurred until no class can be told: by ``KERNEL`` and ``SIGMA`` where a side is ``SIDE``."""
    scale = min(images.shape[-2:]) / SIDE
    return gaussian_blur(images, round((KERNEL // 2) * scale), SIGMA * scale)


def box_masks(boxes: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Which pixels of an image the boxes touch, (n, h, w) bool.

    Args:
        boxes: (n, 4) half-open xyxy, whole numbers, in cells of the grid.
        grid: Its (height, width).
        size: The image's (height, width). A pixel that a box touches in part is inside.
    """
    cells = torch.tensor([grid[1], grid[0]], device=boxes.device)
    pixels = torch.tensor([size[1], size[0]], device=boxes.device)
    corners = boxes.long()  # whole numbers, so that edges which fall between two pixels fall exactly there
    start = corners[:, :2] * pixels // cells
    end = -(-corners[:, 2:] * pixels // cells)
    column, row = (torch.arange(length, device=boxes.device) for length in (size[1], size[0]))
    across = (column >= start[:, :1]) & (column < end[:, :1])
    down = (row >= start[:, 1:]) & (row < end[:, 1:])
    return down[:, :, None] & across[:, None, :]


@final
class RegionScorer:
    """The posterior of each image's class where only a region of the image is shown and the rest is blurred.

    The images are blurred once, here. The classifier is left as found: modes, gradients and random state.

    Args:
        classifier: A network or a function that gives class scores (n, k), or a trained method.
        images: (b, 3, h, w), normalised as the classifier wants.
        labels: (b,) whole numbers, the class of each image.
        num_classes: Classes that the labels are of.

    Raises:
        DataError: The images are not a batch, or the labels are not one for each image, from 0 to ``num_classes`` - 1.
    """

    def __init__(self, classifier: Classifier, images: Tensor, labels: Tensor, num_classes: int) -> None:
        _check(images, labels, num_classes)
        self.images, self.labels, self.num_classes = images.detach(), labels, num_classes
        self._network = _as_network(classifier)
        self._blurred = blurred(self.images)

    def __call__(self, owners: Tensor, inside: Tensor) -> Tensor:
        """Posteriors (n,) of the images' own classes; see :meth:`posteriors`."""
        labels = self.labels[owners.to(self.labels.device)].cpu().long()
        return self.posteriors(owners, inside).gather(1, labels[:, None])[:, 0]

    def posteriors(self, owners: Tensor, inside: Tensor) -> Tensor:
        """Posteriors of all classes (n, k), by a softmax over scores, in float64 on the processor; one pass.

        Args:
            owners: (n,) which image each region is of.
            inside: (n, h, w) bool, the pixels that are shown as they are.

        Raises:
            ConfigError: The classifier has another number of classes, gives no class scores, or none that are finite.
        """
        owners = owners.to(self.images.device)
        shown = torch.where(inside[:, None].to(self.images.device), self.images[owners], self._blurred[owners])
        with Session(self._network, ()) as session:
            logits = session.forward(shown)
        if logits.shape[1] != self.num_classes:
            raise ConfigError(
                f"the classifier that scores proposals gives {logits.shape[1]} classes, and the data has "
                f"{self.num_classes}; take one that was trained on these classes, in this order."
            )
        posteriors = logits.cpu().double().softmax(1)  # float32 would call all that a sure classifier sees equal
        if not torch.compiler.is_exporting() and not posteriors.isfinite().all():
            raise ConfigError(
                "the classifier that scores proposals gives scores that are not finite; run it in single precision, "
                "and check its weights and the normalisation of the images."
            )
        return posteriors


@final
class _Function(nn.Module):
    """A function as a network, with the network that it runs, if there is one."""

    def __init__(self, function: Classifier, network: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.network = function, network

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def _matrix(length: int, radius: int, sigma: float) -> Tensor:
    """What each pixel of a blurred row takes from each pixel of the row, (length, length) float64."""
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    period = max(2 * (length - 1), 1)  # of a row that goes on mirrored
    places = (torch.arange(length)[:, None] + offsets) % period
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, torch.minimum(places, period - places), (taps / taps.sum()).expand(length, -1))


def _as_network(classifier: Classifier) -> nn.Module:
    if isinstance(classifier, Method):
        return _Function(classifier.scores, classifier)
    return classifier if isinstance(classifier, nn.Module) else _Function(classifier)


def _check(images: Any, labels: Tensor, num_classes: int) -> None:
    if images.ndim != 4 or not images.numel() or not images.is_floating_point():
        raise DataError(
            f"images of shape {tuple(images.shape)} and type {images.dtype} are no batch; give floats (b, 3, h, w)."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: expected a whole number for each of the "
            f"{len(images)} images."
        )
    if not torch.compiler.is_exporting() and (labels.min() < 0 or labels.max() >= num_classes):
        raise DataError(
            f"labels run from {int(labels.min())} to {int(labels.max())}; with {num_classes} classes they are "
            f"0 to {num_classes - 1}."
        )
