"""Maps that follow the edges of their image: the guided filter, or a fully connected CRF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

RADIUS = 1 / 16  # of the guided filter's windows, in sides of the map
SMOOTHNESS = 1e-3  # its epsilon, for colours in [0, 1]: below this variance a window counts as flat
SIGMA_RGB, SIGMA_XY = 13.0, 1 / 4  # of the CRF's kernel: in values of [0, 255], and in sides of the map
PULL = 3.0  # how much the CRF's neighbours say, beside a map's own logit
ROUNDS = 5  # of the mean field
_CERTAIN = 0.999  # the map's highest value counts as this probability, so that neighbours can outvote it


def refine(maps: Floats, image: NDArray[np.uint8], kind: str, threshold: str | float = "otsu") -> Floats:
    """The maps of one image, drawn to its edges; values stay in [0, 1], and constant maps as they are.

    ``guided``: He, Sun and Tang, "Guided image filtering", TPAMI 2013, with the colour image as guide: in each window
    the map is the best linear function of the colours, which smooths it where the image is flat and cuts it at edges.

    ``crf``: the mean field of Krähenbühl and Koltun, NIPS 2011, over two labels, object and background, with their
    kernel of colours and places, normalised by its row sums. What a map says of a place is how far its value lies above
    or below the threshold, as logits; so the border at which neighbours are undecided is the threshold's, and the
    refined map is to be cut by the same one.

    Args:
        maps: (n, h, w) in [0, 1].
        image: (h, w, 3) RGB, at the size of the maps.
        kind: ``guided``, ``crf``, or ``none``.
        threshold: What the maps will be cut by: a fraction of their maximum, or ``otsu``. Only ``crf`` needs it.

    Raises:
        ConfigError: Another kind.
        DataError: An image of another size, or maps so large that the CRF cannot tell places apart.
    """
    if kind not in ("none", "guided", "crf"):
        raise ConfigError(f"refine {kind!r}: expected none, guided or crf.")
    if image.shape != (*maps.shape[1:], 3):
        raise DataError(f"refine: the image is {image.shape} and the maps {maps.shape}; give it at the maps' size.")
    varied = [i for i, each in enumerate(maps) if each.min() < each.max()]
    if kind == "none" or not varied:
        return maps
    refined = maps.copy()
    some = maps[varied]
    better = _guided(some, image) if kind == "guided" else _crf(some, image, _cuts(some, threshold))
    refined[varied] = better.clip(0, 1)
    return refined


def _guided(maps: Floats, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Equations 19 to 21 of the paper, for each map."""
    guide = image.transpose(2, 0, 1) / 255.0
    radius = max(1, round(RADIUS * max(maps.shape[1:])))
    mean = _window_means(guide, radius)
    products = _window_means(guide[:, None] * guide[None], radius) - mean[:, None] * mean[None]
    covariance = products.transpose(2, 3, 0, 1) + SMOOTHNESS * np.eye(3)
    refined = np.empty(maps.shape)
    for i, each in enumerate(maps.astype(np.float64)):
        level = _window_means(each, radius)
        shared = _window_means(guide * each, radius) - mean * level
        slope = np.linalg.solve(covariance, shared.transpose(1, 2, 0)[..., None])[..., 0].transpose(2, 0, 1)
        offset = level - (slope * mean).sum(0)
        refined[i] = (_window_means(slope, radius) * guide).sum(0) + _window_means(offset, radius)
    return refined


def _window_means(values: NDArray[Any], radius: int) -> NDArray[np.float64]:
    """The mean over the square window around each place of (..., h, w), of what of it lies inside."""
    for axis in (-2, -1):
        length = values.shape[axis]
        sums = np.cumsum(values, axis=axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        places = np.arange(length)
        first, last = np.maximum(places - radius, 0), np.minimum(places + radius + 1, length)
        count = (last - first).reshape((-1, 1) if axis == -2 else (-1,))
        values = (sums.take(last, axis) - sums.take(first, axis)) / count
    return values


def _cuts(maps: Floats, threshold: str | float) -> NDArray[np.float64]:
    """The threshold of each map (n,), away from 0 and 1, where logits end."""
    from boxless.ops.otsu import otsu_thresholds

    cuts = otsu_thresholds(maps) if threshold == "otsu" else np.full(len(maps), float(threshold))
    return cuts.clip(0.02, 0.98)


def _crf(maps: Floats, image: NDArray[np.uint8], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    from boxless.losses._lattice import lattice_filter

    height, width = maps.shape[1:]
    rows, columns = np.mgrid[:height, :width] / (SIGMA_XY * max(height, width))
    features = np.concatenate([[columns, rows], image.transpose(2, 0, 1) / SIGMA_RGB]).reshape(5, -1)
    points = np.ascontiguousarray(features, dtype=np.float32)
    degree = lattice_filter(points, np.ones((1, height * width), dtype=np.float32), symmetric=False)
    peaks = maps.max((1, 2)).astype(np.float64)[:, None]
    shares = (maps.reshape(len(maps), -1) / peaks).clip(1 - _CERTAIN, _CERTAIN)
    border = _logit(cuts)[:, None]
    own = _logit(shares) - border
    belief = own
    for _ in range(ROUNDS):
        # of two labels q and 1 - q only the difference counts: 2 q - 1 = tanh(logit / 2)
        said = np.tanh(belief / 2).astype(np.float32)
        belief = own + PULL * lattice_filter(points, said, symmetric=False) / degree
    refined: NDArray[np.float64] = peaks / (1 + np.exp(-(belief + border)))
    return refined.reshape(maps.shape)


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(values / (1 - values))
    return odds
