"""The dense CRF loss: maps should change where the image does, not between alike and near pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from boxless.errors import ConfigError, DataError
from boxless.losses._affinity import exact_product, features_of, lattice_product

Form = Literal["papers", "pairs"]
Method = Literal["auto", "exact", "lattice", "original"]
Product = Callable[[Tensor], Tensor]

REFERENCE_SIDE = 224  # of the square image for which a sigma_xy of the form "pairs" is meant
PAPERS_WEIGHT = 2e-9  # of the form "papers" at 224 x 224 pixels: Tang et al.; the thesis, equation 2.4
PAIRS_WEIGHT = PAPERS_WEIGHT * REFERENCE_SIDE**4  # of the form "pairs", at any size; about 5.04
EXACT_PIXELS = 32 * 32  # up to which a processor computes an image exactly unless told otherwise


def dense_crf_loss(
    probabilities: Tensor,
    images: Tensor,
    *,
    form: Form = "papers",
    method: Method = "auto",
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
    scale_factor: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """How much of the affinity between an image's pixels is cut by its maps, the mean over images.

    Tang et al., "On regularized losses for weakly-supervised CNN segmentation", ECCV 2018; the thesis, equation 2.3:
    ``sum_k s_k^T W (1 - s_k)`` over the maps s_k, where ``W_ij = exp(-|p_i - p_j|^2 / 2 sigma_xy^2 -
    |c_i - c_j|^2 / 2 sigma_rgb^2)`` for the places p and colours c of two pixels, 1 for a pixel with itself; W is not
    normalised. Weight the loss as its form asks.

    ``papers``: ``-sum_k s_k^T W s_k``, as published code has it. It differs from the equation by a constant where the
    maps of a pixel sum to one, and is negative. Its size goes with the square of the number of pixels, so its weight
    of 2e-9 (``PAPERS_WEIGHT``) is for 224 x 224 pixels.

    ``pairs``: equation 2.3 divided by the number of pairs of pixels, in [0, 1] for maps that sum to one; 0 if one map
    has all pixels. ``sigma_xy`` is then in pixels of an image of 224 x 224 and goes with the square root of an image's
    area, so that one weight means the same at any size; ``PAIRS_WEIGHT`` is the papers' weight, and at 224 x 224 the
    gradients of both forms through a softmax are the same. A single map is also right here.

    ``exact`` computes W in blocks, in the type of the probabilities, half precision in float32. ``lattice`` is the
    permutohedral filter, in float32 on the processor, made symmetric and with each image's W scaled so that row sums of
    16 of its pixels are exact. On photographs its values lie within 5 % of the exact ones, and its gradients within
    12 % of theirs (at a cosine above 0.99); on noise within 12 % and 20 %. ``original`` is that filter as published
    runs used it, neither symmetric nor scaled: its W is 0.4 to 0.65 of the exact one, depending on the image, so to
    repeat a published run take this, or about half of the weight. ``auto`` is ``exact`` beside a graphics card and for
    up to 32 x 32 pixels, ``lattice`` else. The gradient is ``-2 W s`` (and ``W 1 - 2 W s``), the derivative of the
    value; only of ``original`` it is so up to about a thousandth of its norm, as in published code.
    There is no second derivative.

    Args:
        probabilities: (b, k, h, w) maps in [0, 1], such as a softmax over k. The loss is differentiable in these only.
        images: (b, 3, h, w) colours in [0, 255], integer or real.
        form: What is summed and by what it is divided.
        method: How W is computed.
        sigma_rgb: How far apart colours are alike, in values of [0, 255].
        sigma_xy: How far apart pixels are near.
        scale_factor: Resize first, images and mask by their nearest pixel and maps bilinearly; ``sigma_xy`` goes with
            it. By 0.5 the time falls to a quarter.
        mask: (b, h, w) bool, the pixels that count; all by default. The others take no part, whatever they hold.

    Returns:
        The loss, a scalar, float64 for float64 probabilities and float32 else. An image of no counted pixel adds 0.

    Raises:
        DataError: Shapes that do not match, values that are out of range or not finite, sigmas too small for the
            lattice.
        ConfigError: A sigma or a scale that is not positive, an unknown form or method.
    """
    _check_settings(form, method, sigma_rgb, sigma_xy, scale_factor)
    _check_maps(probabilities, images, mask)
    maps = probabilities.to(torch.float64 if probabilities.dtype == torch.float64 else torch.float32)
    colours = images.detach().to(maps)
    counted = torch.ones_like(maps[:, :1]) if mask is None else mask[:, None].to(maps)
    if scale_factor != 1:
        maps, colours, counted = _resized(maps, colours, counted, scale_factor)
    unit = scale_factor if form == "papers" else math.sqrt(maps[0, 0].numel()) / REFERENCE_SIDE
    product = _product(features_of(colours, sigma_rgb, sigma_xy * unit), counted, method)
    energy: Tensor = _Energy.apply(maps, counted, product, form)
    return energy


class _Energy(torch.autograd.Function):
    """The loss, given what multiplies maps by W."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, counted: Tensor, product: Product, form: Form) -> Tensor:
        """The loss; its slope comes with it at no further cost."""
        shown = maps * counted
        if form == "papers":
            own = product(shown)
            each, slope = -(shown * own).flatten(1).sum(dim=1), -2 * own
        else:
            both = product(torch.cat([shown, counted], dim=1))
            own, degree = both[:, :-1], both[:, -1:]
            pairs = counted.flatten(1).sum(dim=1).square().clamp(min=1)
            each = (shown * (degree - own)).flatten(1).sum(dim=1) / pairs
            slope = (degree - 2 * own) / pairs[:, None, None, None]
        ctx.save_for_backward(slope * counted / len(maps))
        return each.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """The slope, scaled."""
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None


def _product(features: Tensor, counted: Tensor, method: Method) -> Product:
    """What multiplies maps (b, k, h, w) by W."""
    if method == "auto":
        method = "exact" if features.device.type != "cpu" or features.shape[2] <= EXACT_PIXELS else "lattice"

    def product(maps: Tensor) -> Tensor:
        flat = maps.flatten(2)
        if method == "exact":
            return exact_product(features, flat).view_as(maps)
        which = counted.flatten(1) > 0
        return lattice_product(features, flat, which, calibrated=method == "lattice").view_as(maps)

    return product


def _resized(maps: Tensor, colours: Tensor, counted: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """All three, by the rules of the published code."""
    if int(min(maps.shape[2:]) * scale) < 1:
        raise DataError(f"dense CRF: nothing is left of {tuple(maps.shape[2:])} pixels scaled by {scale}.")
    smaller = F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
    return smaller, F.interpolate(colours, scale_factor=scale), F.interpolate(counted, scale_factor=scale)


def _check_settings(form: str, method: str, sigma_rgb: float, sigma_xy: float, scale: float) -> None:
    if form not in ("papers", "pairs"):
        raise ConfigError(f"form: got {form!r}; it is papers or pairs.")
    if method not in ("auto", "exact", "lattice", "original"):
        raise ConfigError(f"method: got {method!r}; it is auto, exact, lattice or original.")
    for name, value in (("sigma_rgb", sigma_rgb), ("sigma_xy", sigma_xy), ("scale_factor", scale)):
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name}: got {value}; it is positive and finite.")


def _check_maps(probabilities: Tensor, images: Tensor, mask: Tensor | None) -> None:
    shape = tuple(probabilities.shape)
    if probabilities.ndim != 4 or probabilities.numel() == 0 or not probabilities.is_floating_point():
        raise DataError(f"probabilities: got {shape} of {probabilities.dtype}; they are (b, k, h, w), real, not empty.")
    if tuple(images.shape) != (shape[0], 3, *shape[2:]):
        raise DataError(f"images: got {tuple(images.shape)} for maps of {shape}; they are (b, 3, h, w), as large.")
    if mask is not None and (tuple(mask.shape) != (shape[0], *shape[2:]) or mask.dtype != torch.bool):
        raise DataError(f"mask: got {tuple(mask.shape)} of {mask.dtype} for maps of {shape}; it is (b, h, w), bool.")
    lowest, highest = (each.item() for each in probabilities.detach().aminmax())
    if not (lowest >= 0 and highest <= 1.001):  # written so that a nan is refused; sums of a softmax may round
        raise DataError(f"probabilities: they run from {lowest} to {highest}; they lie in [0, 1], as of a softmax.")
    darkest, brightest = (each.item() for each in images.detach().aminmax())
    if not (darkest >= 0 and brightest <= 255) or 0 < brightest <= 1:
        raise DataError(
            f"images: they run from {darkest} to {brightest}; colours lie in [0, 255] and are not normalised. "
            "Multiply images in [0, 1] by 255."
        )
