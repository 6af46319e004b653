"""Maps of the groups that the patches of an image fall into by their features: eigenvectors of normalized cuts.

Patches are the nodes of a graph. The cut of least cost between two groups, each measured by what it holds together
(Shi and Malik, "Normalized Cuts and Image Segmentation", TPAMI 2000, equation 2), is relaxed to the generalised
eigenvectors of (D - W) y = lambda D y (equation 11), W the affinities and D their row sums: the second parts the image
best, the following ones part it further. W is that of TokenCut (Wang et al., "Self-Supervised Transformers for
Unsupervised Object Discovery using Normalized Cut", CVPR 2022): 1 where two patches are more alike than a threshold,
else a small epsilon, so that the graph stays connected. That more eigenvectors than the second hold objects is shown by
Melas-Kyriazi et al., "Deep Spectral Methods" (CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError
from boxless.ops.maps import normalize

EPSILON = 1e-5  # TokenCut's weight of an edge between patches that are not alike
_DIGITS = 9  # cosines are rounded, so that sums in another order do not decide which patches are alike
_SAME = 1e-6  # values this near in proportion count as equal
_ELEMENTS = 2**22  # of the affinities computed at a time: 32 MiB


@torch.no_grad()
def spectral_maps(features: Tensor, *, vectors: int = 5, threshold: float = 0.2) -> Tensor:
    """Maps of normalized cuts of any feature grid, without training and without a class.

    Map 2 i is eigenvector 2 + i of the generalised problem, shifted and scaled to [0, 1], and map 2 i + 1 is one minus
    it, since no eigenvector says which side is the object. Of the two the one comes first in which the patch of the
    greatest magnitude is high (TokenCut's rule), the first such patch in raster order if several are as great.

    All is computed in float64 for each image by itself. The time grows with the cube of the number of patches. Maps of
    equal eigenvalues are some basis of what they span. No gradient flows back.

    Args:
        features: (b, c, h, w), finite. A patch of zeros only is like other such patches and like no others.
        vectors: How many eigenvectors, from the second on.
        threshold: Cosine similarity above which two patches are alike, in (-1, 1); TokenCut takes 0.2 of the keys of a
            self-supervised transformer.

    Returns:
        Maps (b, 2 * vectors, h, w) in [0, 1]: float64 of float64 features, else float32, on their device. A map is all
        zeros where there is no such cut: beyond h * w - 1 eigenvectors, and where the eigenvalue is 1 or more, which
        means that the two sides hold together no better than chance would have it, as if all patches are alike. All
        maps of an image are zeros if no patch is like another.

    Raises:
        ConfigError: A setting outside its range.
        DataError: Features that are not (b, c, h, w), or not finite.
    """
    if vectors < 1:
        raise ConfigError(f"vectors {vectors}: expected at least 1.")
    if not -1 < threshold < 1:
        raise ConfigError(f"threshold {threshold}: cosine similarities lie in (-1, 1).")
    _refuse_other_features(features)
    images, _, rows, columns = features.shape
    # Apple's devices know neither float64 nor eigenvectors.
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    at_once = max(1, _ELEMENTS // (rows * columns) ** 2)
    parts = [_cuts(part.to(device, torch.float64), vectors, threshold) for part in torch.split(features, at_once)]
    cuts = torch.cat(parts).reshape(images, vectors, rows, columns)
    maps = torch.stack([normalize(cuts), normalize(-cuts)], 2).flatten(1, 2)
    return maps.to(features.device, torch.float64 if features.dtype == torch.float64 else torch.float32)


def _cuts(features: Tensor, vectors: int, threshold: float) -> Tensor:
    """Generalised eigenvectors 2 to 1 + ``vectors`` of features (b, c, h, w) in float64: (b, vectors, h * w)."""
    alike = _similarities(features.flatten(2)) > threshold
    alike = alike | torch.eye(alike.shape[1], dtype=torch.bool, device=alike.device)
    patches, neighbours = alike.shape[1], alike.sum(2)
    # Counted, and not summed over the row, so that they are the same whatever the order of the sum.
    roots = (neighbours + EPSILON * (patches - neighbours)).sqrt()
    affinities = torch.where(alike, 1.0, EPSILON).to(features.dtype)
    # Symmetric, with the eigenvectors D^(1/2) y and the eigenvalues one minus those of the generalised problem.
    together, scaled = torch.linalg.eigh(affinities / (roots[:, :, None] * roots[:, None, :]))
    together, scaled = together.flip(1)[:, 1 : 1 + vectors], scaled.flip(2)[:, :, 1 : 1 + vectors]
    cuts = (scaled / roots[:, :, None]).transpose(1, 2)
    real = (together > _SAME) & (neighbours > 1).any(1, keepdim=True)
    cuts = torch.where(real[:, :, None], _signed(cuts), 0.0)
    return torch.cat([cuts, cuts.new_zeros(len(cuts), vectors - cuts.shape[1], patches)], 1)


def _similarities(patches: Tensor) -> Tensor:
    """Cosine similarities (b, n, n) of patches (b, c, n)."""
    largest = patches.abs().amax(1, keepdim=True)
    empty = largest == 0
    units = patches / torch.where(empty, 1.0, largest)  # first of all, so that no square overflows or vanishes
    units = units / torch.where(empty, 1.0, units.norm(dim=1, keepdim=True))
    units = torch.cat([units, empty.to(units)], 1)  # a direction of its own for patches that have none
    return (units.transpose(1, 2) @ units).round(decimals=_DIGITS)


def _signed(cuts: Tensor) -> Tensor:
    """Each cut (b, m, n) with the sign that makes its value of the greatest magnitude positive."""
    magnitudes = cuts.abs()
    greatest = magnitudes >= (1 - _SAME) * magnitudes.amax(2, keepdim=True)
    first = greatest.to(torch.uint8).argmax(2, keepdim=True)
    return cuts * cuts.gather(2, first).sign()


def _refuse_other_features(features: Tensor) -> None:
    if features.ndim != 4 or 0 in features.shape[1:] or not features.is_floating_point():
        raise DataError(
            f"features of shape {tuple(features.shape)} and type {features.dtype}: expected floats (b, c, h, w)."
        )
    finite = features.isfinite().flatten(1).all(1)
    if not finite.all():
        raise DataError(f"features[{int(finite.int().argmin())}]: a value is nan or infinite; no cut can be found.")
