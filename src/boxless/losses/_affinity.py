"""Products of the Gaussian affinity between all pixels of an image with maps of it: exact, or by the lattice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxless.losses._lattice import FEATURES, lattice_filter
from boxless.ops._numba import compiled
from boxless.stream import ordered_map

Floats = NDArray[np.float32]

# Entries of the matrix that stand in memory at once: 4 MiB stay in a processor's cache, and 64 MiB are enough work for
# a graphics card.
ENTRIES, ENTRIES_ON_DEVICE = 2**20, 2**24
SPREAD = 512  # half the square of the largest centred feature for which a product tells distances well in float32
SAMPLES = 16  # pixels that tell the lattice's scale: it is then right to about 3 % and takes a quarter longer
# The least exponent on a processor, which is many times slower where numbers are too small for all digits of float32,
# from exp(-87) on.
LEAST = -80.0


def features_of(images: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """Column, row and three colours of each pixel, each by its sigma: (b, 5, h * w), of the type of ``images``."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device, dtype=images.dtype).div_(sigma_xy)
    columns = torch.arange(width, device=images.device, dtype=images.dtype).div_(sigma_xy)
    where = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).expand(batch, 2, height, width)
    return torch.cat([where, images / sigma_rgb], dim=1).flatten(2)


def exact_product(features: Tensor, values: Tensor) -> Tensor:
    """The sum over pixels j of ``exp(-|f_i - f_j|^2 / 2)`` times the values of j, for each pixel i.

    The matrix is made in blocks of rows, of which only the part right of the diagonal is computed, since it is
    symmetric. Squared distances come from one matrix product, of features less their mean so that little cancels; for
    sigmas so small that too much would, from differences, which takes longer.

    Args:
        features: (b, 5, n).
        values: (b, k, n), of the same type: that in which all is computed.

    Returns:
        (b, k, n).
    """
    with torch.no_grad(), torch.autocast(values.device.type, enabled=False), _full_precision(values.device):
        centred = features - features.mean(dim=2, keepdim=True)
        halves = centred.square().sum(dim=1, keepdim=True) / 2
        by_product = bool(halves.max() <= SPREAD)
        return torch.stack([_exact(*each, by_product) for each in zip(centred, halves, values, strict=True)])


def _exact(centred: Tensor, halves: Tensor, values: Tensor, by_product: bool) -> Tensor:
    ones = torch.ones_like(halves)
    points, columns = centred.T.contiguous(), values.T.contiguous()
    left, right = torch.cat([centred, -halves, ones]).T.contiguous(), torch.cat([centred, ones, -halves])
    product = torch.zeros_like(columns)
    pixels = len(columns)
    on_processor = values.device.type == "cpu"
    entries = ENTRIES if on_processor else ENTRIES_ON_DEVICE
    start = 0
    while start < pixels:
        stop = min(start + max(entries // (pixels - start), 1), pixels)
        if by_product:
            weights = torch.mm(left[start:stop], right[:, start:])
        else:
            far = torch.cdist(points[start:stop], points[start:], compute_mode="donot_use_mm_for_euclid_dist")
            weights = far.square_().div_(-2)
        weights = (weights.clamp_(min=LEAST) if on_processor else weights).exp_()
        product[start:stop] += weights @ columns[start:]
        product[stop:] += weights[:, stop - start :].T @ columns[start:stop]
        start = stop
    return product.T


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Products of float32 in float32: with the 10 bits of TF32 an exponent would be off by a tenth and more."""
    backends: Any = torch.backends
    backend = (backends.cuda if device.type == "cuda" else backends.mkldnn).matmul
    before = backend.fp32_precision
    backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before


def lattice_product(features: Tensor, values: Tensor, counted: Tensor, *, calibrated: bool) -> Tensor:
    """The same by the lattice, nearly; computed in float32 on the processor, an image in each of torch's threads.

    Args:
        features: (b, 5, n).
        values: (b, k, n).
        counted: (b, n) pixels that take part, bool; the others get 0.
        calibrated: Make the affinity symmetric, and bring each image's results to the scale of the exact ones.

    Returns:
        (b, k, n), where and of what type ``values`` are.

    Raises:
        DataError: The features spread too far for the lattice.
    """
    points, given = (each.detach().to("cpu", torch.float32).numpy() for each in (features, values))
    taken = counted.cpu().numpy()

    filtering = _calibrated if calibrated else _plain

    def filtered(image: int) -> Floats:
        inside = taken[image]
        if inside.all():
            return filtering(np.ascontiguousarray(points[image]), given[image])
        result = np.zeros(given[image].shape, dtype=np.float32)
        if inside.any():
            result[:, inside] = filtering(np.ascontiguousarray(points[image][:, inside]), given[image][:, inside])
        return result

    workers = min(len(given), torch.get_num_threads())
    results = list(ordered_map(filtered, range(len(given)), workers=workers if workers > 1 else 0, ahead=len(given)))
    return torch.from_numpy(np.stack(results)).to(values)


def _plain(features: Floats, values: Floats, *, symmetric: bool = False) -> Floats:
    return lattice_filter(features, values, symmetric=symmetric)


def _calibrated(features: Floats, values: Floats) -> Floats:
    """The lattice's symmetric product times what brings the row sums of some pixels to the exact ones."""
    pixels = features.shape[1]
    filtered = _plain(features, np.concatenate([values, np.ones((1, pixels), dtype=np.float32)]), symmetric=True)
    step = np.arange(SAMPLES)
    # One in each sixteenth of the pixels, not one below the other: where in it goes by the golden ratio.
    sample = np.unique(((step + step * 0.618034 % 1) * pixels / SAMPLES).astype(np.int64))
    exponents = exponents_to(features, sample)
    scale = np.exp(exponents, out=exponents).sum(dtype=np.float64) / filtered[-1, sample].sum(dtype=np.float64)
    return filtered[:-1] * np.float32(scale)


@compiled
def exponents_to(features: Floats, sample: NDArray[np.int64]) -> Floats:
    """Minus half the squared distance of each pixel to those of a sample, (sample, n), of which only exp is of use."""
    exponents = np.empty((len(sample), features.shape[1]), dtype=np.float32)
    for row, other in enumerate(sample):
        for pixel in range(features.shape[1]):
            far = np.float32(0)
            for i in range(FEATURES):
                far += (features[i, pixel] - features[i, other]) ** 2
            exponents[row, pixel] = max(far * np.float32(-0.5), np.float32(LEAST))
    return exponents
