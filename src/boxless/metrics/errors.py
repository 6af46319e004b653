"""In which way a box is wrong: the exclusive kinds of errors of Gao et al., "TS-CAM", ICCV 2021.

Of a predicted box P and a true box G, IoG is the share of G that lies in P (how much of the object the box shows), and
IoP is the share of P that lies in G (how much of the box is object). G* is the true box of the highest IoU, of equal
ones the first. The first of these that holds is the kind:

- ``class``: the class is wrong. A better classifier thus moves images to all other kinds.
- ``right``: the IoU with G* is ``iou`` or more.
- ``multi_instance``: the box shows two objects or more, each with an IoG above 0.3 (MIns).
- ``part``: IoP with G* above 0.5: the box lies on a part of the object (LPE).
- ``more``: IoG with G* above 0.7: the box shows the object and much else (LME).
- ``other``: none of these; also an empty box.

What differs from the code of TS-CAM: there a box is right above the IoU, here from it on, as in every other figure;
there the box is LME from 0.7 on, here above, as the text has it; and areas are half-open, with no pixel added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxless.errors import DataError
from boxless.metrics._checks import check_iou, check_predicted, check_truth

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ERROR_KINDS = ("right", "class", "multi_instance", "part", "more", "other")
"""The kinds; a code is the place in this row."""

NO_TRUTH = -1
"""The code of an image without a true box."""

MULTI_IOG, PART_IOP, MORE_IOG = 0.3, 0.5, 0.7


def dissect(boxes: ArrayLike, truth: Sequence[ArrayLike], class_right: ArrayLike, iou: float = 0.5) -> NDArray[np.int8]:
    """The kind of each box, as its place in `ERROR_KINDS`; -1 where an image has no true box.

    Args:
        boxes: (b, c, 4), c boxes of each of b images, one at each threshold for instance; all zeros where there is
            none.
        truth: For each image its true boxes, (n_i, 4).
        class_right: (b,) bool, whether the image's class was named right.
        iou: From this IoU on a box is right.

    Returns:
        Codes (b, c).

    Raises:
        DataError: Shapes that do not match, boxes that are not finite, true boxes without an area, or an IoU that is
            not in (0, 1].
    """
    trues, level = check_truth(truth), check_iou(iou)
    shape = np.shape(boxes)
    if len(shape) != 3 or shape[2] != 4 or shape[0] != len(trues):
        raise DataError(f"boxes: got shape {shape}; for {len(trues)} images they are ({len(trues)}, boxes, 4).")
    predicted = check_predicted(boxes, shape, "boxes")
    named = np.asarray(class_right)
    if (named.size and named.dtype != np.bool_) or named.shape != shape[:1]:
        raise DataError(f"class_right: got shape {named.shape} of type {named.dtype}; give (b,) = {shape[:1]} of bool.")
    codes = np.full(shape[:2], ERROR_KINDS.index("class"), dtype=np.int8)
    for image, (candidates, true) in enumerate(zip(predicted, trues, strict=True)):
        if not len(true):
            codes[image] = NO_TRUTH
        elif named[image]:
            codes[image] = _kinds(candidates, true, level)
    return codes


def error_shares(codes: ArrayLike) -> dict[str, float]:
    """Per cent of each of `ERROR_KINDS` among the images with a true box, adding to 100; nan if there is none.

    Args:
        codes: (n,), a code of each image as `dissect` gives them: a column of its answer is one threshold.

    Raises:
        DataError: Not one row of codes.
    """
    given = np.asarray(codes)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise DataError(
            f"codes: got shape {given.shape} of type {given.dtype}; give one code, an integer, of each image."
        )
    wrong = given[(given < NO_TRUTH) | (given >= len(ERROR_KINDS))]
    if wrong.size:
        raise DataError(f"codes: got {wrong[0]}; they are {NO_TRUTH} to {len(ERROR_KINDS) - 1}: see ERROR_KINDS.")
    counts = np.bincount(given[given != NO_TRUTH].astype(np.int64), minlength=len(ERROR_KINDS))
    total = int(counts.sum())
    return {
        kind: 100 * number / total if total else float("nan")
        for kind, number in zip(ERROR_KINDS, counts.tolist(), strict=True)
    }


def _kinds(boxes: Floats, true: Floats, iou: float) -> NDArray[np.int8]:
    """Codes (c,) of boxes (c, 4) of one image whose class is right, against its true boxes (n, 4)."""
    x0, y0, x1, y1 = np.ascontiguousarray(boxes.T)
    u0, v0, u1, v1 = (true[:, i, None] for i in range(4))
    # (n, c): a box without an area has nothing in common with any other, even with its ends swapped.
    common = np.maximum(np.minimum(x1, u1) - np.maximum(x0, u0), 0)
    common *= np.maximum(np.minimum(y1, v1) - np.maximum(y0, v0), 0)
    own = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    whole = (u1 - u0) * (v1 - v0)
    ious = common / (own + whole - common)
    shown = common / whole
    if len(true) == 1:  # most images: nothing to choose from, and never several objects
        best_iou, best_common, best_shown = ious[0], common[0], shown[0]
        several = np.zeros(len(boxes), dtype=np.bool_)
    else:
        best = ious.argmax(axis=0), np.arange(len(boxes))
        best_iou, best_common, best_shown = ious[best], common[best], shown[best]
        several = (shown > MULTI_IOG).sum(axis=0) >= 2
    part = best_common / np.where(own > 0, own, 1) > PART_IOP
    # From the last kind to the first, so that the first which holds is written last.
    codes = np.full(len(boxes), ERROR_KINDS.index("other"), dtype=np.int8)
    codes[best_shown > MORE_IOG] = ERROR_KINDS.index("more")
    codes[part] = ERROR_KINDS.index("part")
    codes[several] = ERROR_KINDS.index("multi_instance")
    codes[best_iou >= iou] = ERROR_KINDS.index("right")
    return codes
