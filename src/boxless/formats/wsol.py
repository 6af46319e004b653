"""wsolevaluation's metadata: ``wsol/image_ids.txt``, ``class_labels.txt``, ``image_sizes.txt``, ``localization.txt``.

The lists of one split, as Choe et al. (CVPR 2020) and the pseudo-boxes of the thesis (chapter 4) have them: put the
folder in the place of ``metadata/<data set>/val``. Classes are numbers, whose names are the lines of ``labels.txt``.

Corners are whole pixels, the nearest, since wsolevaluation reads nothing else; they stay half-open, as those of CUB
are there, so that a box at the right border ends at the image's width. An image without a box is no line of
``image_ids.txt``, because wsolevaluation ends at an image that is listed and has none, and never one of zeros, which it
would score as a box: it is a line of ``without_box.txt``, which ``boxless`` reads.
Format: https://github.com/clovaai/wsolevaluation/blob/master/data_loaders.py
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.formats.records import checked
from boxless.formats.staging import staged_folder

if TYPE_CHECKING:
    from boxless.types import Prediction

# The first four as wsolevaluation names them, the fifth as `boxless.data.sources.wsol` does.
FILES = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt", "without_box.txt")


def write(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> Path:
    """Write the lists and return the folder of them.

    A name with a comma is written as it is: wsolevaluation does not take such a line, ``boxless`` does.
    """
    given = checked(predictions, classes)
    with staged_folder(folder / "wsol") as staging, ExitStack() as opened:
        (staging / "labels.txt").write_text("".join(f"{label}\n" for label in classes), encoding="utf-8")
        ids, labels, sizes, boxes, without = (
            opened.enter_context((staging / name).open("w", encoding="utf-8")) for name in FILES
        )
        for prediction in given:
            name = prediction.name
            (ids if prediction.boxes else without).write(f"{name}\n")
            labels.write(f"{name},{prediction.label_index}\n")
            sizes.write(f"{name},{prediction.size[0]},{prediction.size[1]}\n")
            for box in prediction.boxes:
                boxes.write(",".join([name, *map(str, whole(box.xyxy, prediction.size))]) + "\n")
    return folder / "wsol"


def whole(xyxy: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The half-open box of whole pixels nearest to a box inside an image of ``size``: one pixel at least."""
    x0, y0, x1, y1 = (math.floor(value + 0.5) for value in xyxy)
    x0, y0 = min(x0, size[0] - 1), min(y0, size[1] - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
