"""Class anchors: for each class one direction that shares as little as can be with those of the other classes.

TeD-Loc (Murtaza, Belharbi, Pedersoli and Granger, arXiv:2501.12632, 2025; thesis, section 3.3.1) makes the embeddings
of class names orthogonal, for those of similar classes overlap: by QR, after Gander, "Algorithms for the QR
Decomposition", 1980. That asks for as many dimensions as classes. The symmetric orthogonalization of Löwdin (1950), the
polar factor of the embeddings, does not depend on the order of classes, and has an equivalent for more classes than
dimensions: a tight frame of unit vectors, of all so many the ones with the least sum of squared cosines (Benedetto and
Fickus, "Finite Normalized Tight Frames", 2003).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError

_SAME = 1e-5  # of an embedding's length: what a text tower in single precision tells apart, with room to spare
_LEVEL = 1e-9  # how far the squared length of an anchor may be from 1
_STEPS = 50  # in which lengths are made equal; four to twelve will do
_HALVINGS = 10
_LONGEST = 4.0  # change of the logarithm of a weight in one of them


@torch.no_grad()
def orthogonal_anchors(embeddings: Tensor) -> Tensor:
    """Anchors by QR, as the thesis has them: those of the classes are orthogonal to each other.

    Each is what its embedding has that those of the classes before it have not, brought to unit length: the first class
    keeps its direction, later ones lose what they share with earlier ones. So the *order of classes* matters. QR leaves
    the signs open, and the thesis is silent; here each anchor has a positive cosine with its own embedding.

    Args:
        embeddings: (k, d) of the classes' names, in the order of classes; k is at most d. Their lengths do not matter.

    Returns:
        Anchors (k, d) with orthonormal rows, in the same order: computed in float64, float64 of float64 embeddings,
        else float32, on their device.

    Raises:
        DataError: More classes than dimensions, embeddings that are not (k, d), not finite or all zeros, two that are
            equal, or one that lies in the span of those before it.
    """
    units = _units(embeddings)
    classes, dimensions = units.shape
    if classes > dimensions:
        raise DataError(
            f"{classes} classes, {dimensions} dimensions: no more than {dimensions} directions are orthogonal. "
            "Take polar_anchors, which makes a tight frame of more."
        )
    rows, own = _orthonormal(units)
    lost = own < _SAME
    if lost.any():
        raise DataError(
            f"embeddings[{int(lost.int().argmax())}] lies in the span of those before it: nothing is left of it that "
            "is orthogonal to them. Change its name, or take random_anchors."
        )
    return _given_back(rows, embeddings)


@torch.no_grad()
def polar_anchors(embeddings: Tensor) -> Tensor:
    """Anchors by symmetric orthogonalization: all give way alike, and the order of classes does not matter.

    Up to d classes these are the orthonormal directions closest to the embeddings (of unit length) in the sum of
    squares, their polar factor ``(E E^T)^(-1/2) E``. Of more, no such set exists, and they are the tight frame of unit
    vectors of the same form, ``A^T A = k / d I`` with ``A = c D E P``: P symmetric and positive, c a number, and D the
    one diagonal, positive too, with which the closest tight frame to ``D E`` has rows of unit length (without it,
    classes with longer anchors would be favoured). It is found by Newton's method, in time of k^3: seconds for 1,000
    classes. Either way an anchor has a positive cosine with its own embedding, and embeddings in another order, or
    turned, give the same anchors in that order, or turned.

    Args:
        embeddings: (k, d) of the classes' names. Their lengths do not matter.

    Returns:
        Anchors (k, d) of unit length, in the order of classes: computed in float64, float64 of float64 embeddings, else
        float32, on their device.

    Raises:
        DataError: Embeddings that are not (k, d), not finite or all zeros, two that are equal, that span fewer
            dimensions than they could (the anchors would not be determined), or, of more classes than dimensions,
            too many of which lie in a subspace: in one of m dimensions there is room for ``m k / d`` at most.
    """
    units = _units(embeddings)
    least = min(units.shape)
    rank = int((torch.linalg.svdvals(units) > _SAME).sum())
    if rank < least:
        raise DataError(
            f"the {len(units)} embeddings span {rank} dimensions of {least}: they are not independent, and anchors are "
            "not determined. Change the names of classes, or take random_anchors."
        )
    return _given_back(_polar(units), embeddings)


@torch.no_grad()
def random_anchors(classes: int, dimensions: int, generator: torch.Generator | None = None) -> Tensor:
    """Anchors that mean nothing, where no text tower is at hand: orthonormal, all such sets equally likely.

    Of more classes than dimensions they are the tight frame that `polar_anchors` makes of random directions.

    Args:
        classes: k, at least 1.
        dimensions: d, at least 1, and at least 2 for more than one class.
        generator: Where random numbers come from, and the device.

    Returns:
        Anchors (k, d) of unit length in float32.

    Raises:
        ConfigError: Too few classes or dimensions.
    """
    if classes < 1 or dimensions < min(classes, 2):
        raise ConfigError(
            f"{classes} classes, {dimensions} dimensions: expected at least one class, and two dimensions for several."
        )
    device = "cpu" if generator is None else generator.device
    draws = torch.randn(classes, dimensions, generator=generator, device=device).cpu().double()
    units = draws / draws.norm(dim=1, keepdim=True)
    rows = _polar(units) if classes > dimensions else _orthonormal(units)[0]
    return rows.to(device, torch.float32)


def _orthonormal(units: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (k, d) by QR, and how much of each unit vector is along its own row, not negative."""
    columns, upper = torch.linalg.qr(units.T)
    own = upper.diagonal()
    return columns.T * torch.where(own < 0, -1.0, 1.0)[:, None], own.abs()


def _polar(units: Tensor) -> Tensor:
    classes, dimensions = units.shape
    if classes > dimensions:
        units = _levelled(units)
    left, _, right = torch.linalg.svd(units, full_matrices=False)
    rows: Tensor = left @ right
    return rows * math.sqrt(max(1, classes / dimensions))


def _levelled(units: Tensor) -> Tensor:
    """More rows than columns, weighted so that the polar factor has rows of one length.

    With s the logarithms of the squared weights, that is where ``log det(sum exp(s_i) u_i u_i^T) - d / k sum(s_i)`` is
    least; it is convex, with the squared lengths of the polar factor's rows, less d / k, for its gradient.
    """
    classes, dimensions = units.shape
    share = dimensions / classes
    logs = units.new_zeros(classes)
    rows, excess, height = _leverages(units, logs)
    for _ in range(_STEPS):
        if excess.abs().max() < _LEVEL * share:
            return (logs / 2).exp()[:, None] * units
        curvature = torch.diag(excess + share) - (rows @ rows.T).square()
        # A factor common to all is free, and so is one of each group that has nothing to do with the others.
        curvature.diagonal().add_(_LEVEL)
        step = torch.linalg.solve(curvature, -excess)
        step = step * (_LONGEST / step.abs().max()).clamp(max=1)
        for _ in range(_HALVINGS):
            found = _leverages(units, logs + step)
            # Near the end the height is flat, and rounding would decide.
            if found[2] < height or found[1].abs().max() < excess.abs().max() / 2:
                break
            step = step / 2
        logs = logs + step
        rows, excess, height = found
    raise DataError(
        f"the {classes} embeddings make no tight frame of {dimensions} dimensions: too many of them lie in a subspace, "
        f"or nearly. In one of m dimensions there is room for {classes / dimensions:.3g} m at most. "
        "Change the names of classes, or take random_anchors."
    )


def _leverages(units: Tensor, logs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An orthonormal basis (k, d) of the weighted columns, what its rows' squared lengths exceed d / k by, the height.

    Lengths are those of the polar factor too, for that is another basis of the same space.
    """
    share = units.shape[1] / len(units)
    rows, upper = torch.linalg.qr((logs / 2).exp()[:, None] * units)
    height = 2 * upper.diagonal().abs().log().sum() - share * logs.sum()
    return rows, rows.square().sum(1) - share, height


def _units(embeddings: Tensor) -> Tensor:
    """Embeddings of unit length in float64, on a device that knows it; refuses what is no set of classes."""
    if embeddings.ndim != 2 or not embeddings.numel() or not embeddings.is_floating_point():
        raise DataError(
            f"embeddings of shape {tuple(embeddings.shape)} and type {embeddings.dtype}: expected floats (k, d)."
        )
    finite = embeddings.isfinite().all(1)
    if not finite.all():
        raise DataError(f"embeddings[{int(finite.int().argmin())}]: a value is nan or infinite.")
    # Apple's devices know no float64.
    values = embeddings.detach().to("cpu" if embeddings.device.type == "mps" else embeddings.device, torch.float64)
    largest = values.abs().amax(1, keepdim=True)
    if (largest == 0).any():
        raise DataError(f"embeddings[{int((largest == 0).int().argmax())}]: all zeros; it has no direction.")
    units = values / largest  # first of all, so that no square overflows or vanishes
    units /= units.norm(dim=1, keepdim=True)
    distances = (2 - 2 * units @ units.T).clamp(min=0).sqrt().fill_diagonal_(2)
    if distances.min() < _SAME:
        first, second = divmod(int(distances.argmin()), len(units))
        raise DataError(
            f"embeddings[{first}] and embeddings[{second}] are equal: classes with one name cannot be told apart. "
            "Give one of them another name."
        )
    return units


def _given_back(anchors: Tensor, embeddings: Tensor) -> Tensor:
    return anchors.to(embeddings.device, torch.float64 if embeddings.dtype == torch.float64 else torch.float32)
