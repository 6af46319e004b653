"""A loss that keeps the object and the background from vanishing: both are pushed to be large, softly.

Belharbi, Sarraf, Pedersoli, Ben Ayed, McCaffrey and Granger, "F-CAM: Full Resolution Class Activation Maps via Guided
Parametric Upscaling", WACV 2022, with the extended log-barrier of Kervadec, Dolz, Yuan, Desrosiers, Granger and Ben
Ayed, "Constrained Deep Networks: Lagrangian Optimization via Log-Barrier Extensions", arXiv:1904.04205, 2019.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from boxless.errors import ConfigError, DataError


def log_barrier(values: Tensor, t: float) -> Tensor:
    """The extended log-barrier of the constraint ``values <= 0``, value by value.

    It is ``-log(-z) / t`` up to ``z = -1 / t**2`` and from there on its tangent, ``t * z - log(1 / t**2) / t + 1 / t``:
    finite everywhere, and closer to a wall at 0 the larger t is.

    Args:
        values: Any shape. Half precision becomes float32 first.
        t: How steep the barrier is: its slope on the tangent, positive.

    Raises:
        ConfigError: A ``t`` that is not positive and finite.
    """
    if not (t > 0 and math.isfinite(t)):
        raise ConfigError(f"t: got {t}; the steepness of a barrier is positive and finite.")
    values = values if values.dtype == torch.float64 else values.float()
    joint = -1 / t**2
    # The logarithm sees no value beyond the joint: there it might be nan, and so would be the gradient of `where`. At
    # the joint itself the tangent is taken, for a clamped value has no gradient there.
    curve = -torch.log(-values.clamp(max=joint)) / t
    tangent = t * values + 2 * math.log(t) / t + 1 / t
    return torch.where(values < joint, curve, tangent)


def barrier_steepness(epoch: float, *, start: float = 1.0, growth: float = 1.01, highest: float = 10.0) -> float:
    """The barrier's t at an epoch: ``start * growth ** epoch``, and no more than ``highest``. Defaults are F-CAM's.

    With these t is 1.64 after 50 epochs and 2.70 after 100, and reaches 10 with the 232nd.

    Args:
        epoch: Epochs done; a method that knows its progress only multiplies that by its number of epochs. Between
            whole epochs t grows on, where the authors' code raises it at the end of each: round down for that.
        start: t at the beginning.
        growth: What each epoch multiplies it by, 1 or more.
        highest: Where it stops.

    Raises:
        ConfigError: A negative epoch, a growth below 1, or a start that is not positive or above the highest.
    """
    if not (epoch >= 0 and growth >= 1 and 0 < start <= highest < math.inf):
        raise ConfigError(
            f"got epoch {epoch}, start {start}, growth {growth}, highest {highest}; "
            "needed are 0 <= epoch, 1 <= growth and 0 < start <= highest."
        )
    steps = math.log(growth) * epoch  # compared as logarithms: the power itself may be too large for a float
    return highest if steps >= math.log(highest / start) else start * math.exp(steps)


def size_loss(probabilities: Tensor, t: float, *, unit: Literal["pixels", "fraction"] = "pixels") -> Tensor:
    """F-CAM's size loss: ``(barrier(-S0) + barrier(-S1)) / 2``, the mean over images; S is the sum of a channel.

    In ``pixels``, as the authors have it, any S of a pixel or more is on the logarithm (for t >= 1), so that the loss
    is ``-log(S) / t`` and negative: it pushes both areas up by ``1 / (t * S)``, the smaller the more. Another
    resolution adds a constant and changes no gradient with respect to the areas as fractions.

    With ``fraction`` S is a part of the image, at most 1, and another loss: for t = 1 both channels lie on the tangent,
    where the pushes are equal, and as the channels sum to one they cancel: *nothing is learnt* until t is so high that
    the larger area passes ``1 / t**2``. From there on the smaller area is pushed by t, and no more however small it is.

    Args:
        probabilities: (b, 2, h, w) softmax of background and foreground. Half precision, whose sums overflow, becomes
            float32 first.
        t: Steepness of the barrier, see `barrier_steepness`.
        unit: What S is counted in.

    Returns:
        The loss, a single number, to be weighted: F-CAM's weight on CUB is 0.1, TCAM's on YouTube-Objects 0.01.

    Raises:
        ConfigError: A ``t`` that is not positive, or an unknown unit.
        DataError: Not (b, 2, h, w), or no pixel.
    """
    if unit not in ("pixels", "fraction"):
        raise ConfigError(f"unit: got {unit!r}; known: pixels, fraction.")
    if probabilities.ndim != 4 or probabilities.shape[1] != 2 or not probabilities.numel():
        raise DataError(f"probabilities: got shape {tuple(probabilities.shape)}; give (b, 2, h, w), not empty.")
    values = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
    areas = values.sum((2, 3)) if unit == "pixels" else values.mean((2, 3))
    return log_barrier(-areas, t).mean()
