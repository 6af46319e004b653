"""Boxes and masks made wrong on purpose, by a known degree: what selection by imperfect ones is tried with.

Noisy boxes are those of the thesis, section 4.6.2: a scaling, then a shift, then with some probability another aspect,
at ten levels. Eroded masks are those of section 4.6.6 and table 4.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

BOX_LEVELS = tuple(step / 100 for step in range(5, 55, 5))  # the thesis' ten
EROSION_LEVELS = (0.05, *(step / 10 for step in range(1, 10)))  # of table 4.9
HIGHEST = 0.5  # at which a noisy box still overlaps the true one's image


def noisy_boxes(boxes: ArrayLike, sizes: ArrayLike, level: float, generator: np.random.Generator) -> Floats:
    """Boxes, each deformed at random by up to ``level``, one after the other as the thesis has it (section 4.6.2).

    1. Both sides times ``1 + u``, ``u`` uniform in [-level, level], about the centre.
    2. The centre moves by a length that is uniform in [0, level], as a part of the scaled box's own width and height.
    3. With the probability ``level`` the width is multiplied by ``1 + v`` and the height divided by it, ``v`` uniform
       in [-level, level], about the centre: the area stays.

    Then the box is cut off at the border of its image. It always has an area: at a level of 0.5 or less an eighth of
    each side of the true box or more stays inside.

    The thesis leaves open whether the sides are scaled alike, where a box moves to, and how much the aspect changes.
    Here one factor is drawn for both sides (the aspect is a step of its own), the direction is uniform over the circle
    (one random length is what the thesis draws), and the aspect changes by as much as the level allows elsewhere.

    Args:
        boxes: (n, 4), xyxy, with an area inside their images.
        sizes: (n, 2), the (width, height) of each box's image.
        level: In [0, 0.5]; 0 changes nothing.
        generator: Of the draws. At two levels with generators of one seed the same draws are scaled, so that curves
            over levels compare like with like.

    Returns:
        (n, 4).

    Raises:
        ConfigError: A level out of range.
        DataError: Boxes or sizes of other shapes, or a box without an area.
    """
    if not 0 <= level <= HIGHEST:
        raise ConfigError(f"noise level: got {level:g}; it is a fraction in [0, {HIGHEST:g}].")
    true, borders = np.asarray(boxes, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if true.ndim != 2 or true.shape[1] != 4 or borders.shape != (len(true), 2):
        raise DataError(f"boxes, sizes: got shapes {true.shape} and {borders.shape}; give (n, 4) and (n, 2).")
    sides = true[:, 2:] - true[:, :2]
    if (sides <= 0).any():
        raise DataError(f"boxes: got {true[(sides <= 0).any(axis=1)][0].tolist()}, which has no area.")
    u = generator.random((len(true), 5))
    sides = sides * (1 + level * (2 * u[:, :1] - 1))
    angle = 2 * np.pi * u[:, 2]
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centres = (true[:, :2] + true[:, 2:]) / 2 + level * u[:, 1:2] * heading * sides
    stretch = np.where(u[:, 3] < level, 1 + level * (2 * u[:, 4] - 1), 1.0)
    sides = sides * np.stack([stretch, 1 / stretch], axis=1)
    deformed = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    if level == 0:
        deformed = true  # centre and side do not give every corner back to the last digit
    clipped: Floats = np.clip(deformed, 0, np.tile(borders, 2))
    return clipped


def paired_iou(one: ArrayLike, other: ArrayLike) -> Floats:
    """The IoU of boxes (..., 4) with others of a shape that is broadcast with theirs: (...); 0 for one with no area."""
    x0, y0, x1, y1 = np.moveaxis(np.asarray(one), -1, 0)
    u0, v0, u1, v1 = np.moveaxis(np.asarray(other), -1, 0)
    common = np.maximum(np.minimum(x1, u1) - np.maximum(x0, u0), 0)
    common = common * np.maximum(np.minimum(y1, v1) - np.maximum(y0, v0), 0)
    areas = (
        np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0),
        np.maximum(u1 - u0, 0) * np.maximum(v1 - v0, 0),
    )
    union = areas[0] + areas[1] - common
    overlap: Floats = common / np.where(union > 0, union, 1)
    return overlap


def eroded(mask: ArrayLike, share: float) -> Bools:
    """The mask worn off from its outline inwards until ``share`` of it is gone, as nearly as whole steps come to it.

    Elements of 3 x 3 pixels, the square and the cross in turn, wear a disc off to smaller discs; the last step is the
    square, the cross or none, whichever comes nearest. Beyond the border of the picture there is no object, so that
    a mask that fills it can be worn off too. Something is always left of a mask that had something.

    Args:
        mask: (h, w), bool.
        share: The part of its pixels to take away, in [0, 1).

    Raises:
        ConfigError: A share out of range.
        DataError: No mask of two axes and of truth values.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"erosion: got the share {share:g}; it is a fraction in [0, 1).")
    now = np.asarray(mask)
    if now.ndim != 2 or now.dtype != np.bool_:
        raise DataError(f"mask: got shape {now.shape} of {now.dtype}; give bool (height, width).")
    wanted = (1 - share) * now.sum()
    square = True
    while True:
        steps = [each for each in (_worn(now, square=True), _worn(now, square=False)) if each.any()]
        if not steps or steps[0].sum() <= wanted:  # the next step goes too far
            return min([now, *steps], key=lambda each: abs(each.sum() - wanted))
        now, square = steps[0 if square else -1], not square


def mask_error(mask: ArrayLike, truth: ArrayLike) -> float:
    """How wrong masks are, as table 4.9 has it: 1 - AUC in per cent, the mask taken as a score of the true pixels.

    The ROC curve of a score of two values has one corner, so the area under it is (1 + hit rate - false alarm rate) / 2
    and a mask that misses a share and adds nothing has an error of half that share: the table's column is half its
    levels. Arrays of any one shape; pixels of several masks are pooled. It is nan without both kinds of pixels.
    """
    found, true = np.asarray(mask, dtype=np.bool_), np.asarray(truth, dtype=np.bool_)
    if found.shape != true.shape:
        raise DataError(f"mask, truth: got shapes {found.shape} and {true.shape}; give two of one shape.")
    on, beside = int(true.sum()), int((~true).sum())
    if not on or not beside:
        return float("nan")
    return 50.0 * (float((true & ~found).sum()) / on + float((found & ~true).sum()) / beside)


def _worn(mask: Bools, *, square: bool) -> Bools:
    """One erosion by the 3 x 3 square, or by its cross."""
    framed = np.pad(mask, 1)
    rows = framed[:-2] & framed[1:-1] & framed[2:]
    beside = rows if square else framed[1:-1]
    worn: Bools = rows[:, 1:-1] & beside[:, :-2] & beside[:, 2:]
    return worn
