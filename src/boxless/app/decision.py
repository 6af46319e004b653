"""What a person said of an image: checked where it comes from a page, and as a line of a review's file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxless.errors import DataError
from boxless.types import Box, Prediction

ACCEPTED, REJECTED = "accepted", "rejected"
VERDICTS = (ACCEPTED, REJECTED)
MOST_BOXES = 1000  # of one image
_LEAST_SIDE = 1.0  # of a box, in pixels


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of an image."""

    verdict: str
    prediction: Prediction  # with the boxes as the person left them
    corrected: bool  # whether those differ from the boxes that were shown


def decided(shown: Prediction, verdict: str, boxes: Any, classes: Sequence[str]) -> Decision:
    """A decision about what was shown.

    Args:
        shown: What the person saw.
        verdict: One of `VERDICTS`.
        boxes: The boxes as the person left them, a list of ``{"xyxy": [x0, y0, x1, y1], "label": index}``; None if
            they are as they were shown. One that was shown keeps its score and mask; any other has the score 1.
        classes: Of the run.

    Raises:
        DataError: A verdict or box that cannot be.
    """
    if verdict not in VERDICTS:
        raise DataError(f"verdict {verdict!r}: expected one of {', '.join(VERDICTS)}.")
    left = shown.boxes if boxes is None else _drawn(shown, boxes, classes)
    corrected = verdict == ACCEPTED and left != shown.boxes
    return Decision(verdict, _with_boxes(shown, left), corrected)


def _drawn(shown: Prediction, boxes: Any, classes: Sequence[str]) -> tuple[Box, ...]:
    """Boxes as a page sends them: checked, and inside the image."""
    if not isinstance(boxes, list) or len(boxes) > MOST_BOXES:
        raise DataError(f"{shown.name}: expected a list of at most {MOST_BOXES} boxes.")
    known = {(box.xyxy, box.label_index): box for box in shown.boxes}
    left = []
    for each in boxes:
        corners, index = _corners(shown, each, classes)
        left.append(known.get((corners, index)) or Box(corners, classes[index], index, 1.0))
    return tuple(left)


def _corners(shown: Prediction, box: Any, classes: Sequence[str]) -> tuple[tuple[float, float, float, float], int]:
    width, height = shown.size
    try:
        x0, y0, x1, y1 = (float(value) for value in box["xyxy"])
        index = int(box["label"])
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise DataError(f"{shown.name}: {str(box)[:100]} is no box with four numbers and a class.") from error
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or not 0 <= index < len(classes):
        raise DataError(f"{shown.name}: {str(box)[:100]} is no box of one of the {len(classes)} classes.")
    inside = (min(max(x0, 0.0), width), min(max(y0, 0.0), height), min(max(x1, 0.0), width), min(max(y1, 0.0), height))
    if inside[2] - inside[0] < min(_LEAST_SIDE, width) or inside[3] - inside[1] < min(_LEAST_SIDE, height):
        raise DataError(f"{shown.name}: a box is smaller than a pixel, or outside of the image; draw it anew.")
    return inside, index


def _with_boxes(shown: Prediction, boxes: tuple[Box, ...]) -> Prediction:
    """The prediction with other boxes; its class follows where no box is of it any more."""
    plain = replace(shown, map=None, label_maps={}, boxes=boxes, absent=shown.absent and not boxes)
    if not boxes or any(box.label_index == shown.label_index for box in boxes):
        return plain
    return replace(plain, label=boxes[0].label, label_index=boxes[0].label_index, score=boxes[0].score)


def entry_of(decision: Decision) -> dict[str, Any]:
    """The line of a review's file."""
    said = decision.prediction
    return {
        "name": said.name,
        "verdict": decision.verdict,
        "corrected": decision.corrected,
        "size": said.size,
        "label": said.label_index,
        "score": said.score,
        "threshold": said.threshold,
        "boxes": [(*box.xyxy, box.label_index, box.score, box.mask) for box in said.boxes],
    }


def from_entry(entry: dict[str, Any], classes: Sequence[str]) -> Decision:
    """The decision of a line; raises whatever a line that is none leads to."""
    width, height = entry["size"]
    said = Prediction(
        path=Path(entry["name"]),  # where it lies now is known when the folder is listed
        name=entry["name"],
        size=(width, height),
        label=classes[entry["label"]],
        label_index=entry["label"],
        score=entry["score"],
        boxes=tuple(
            Box((x0, y0, x1, y1), classes[index], index, score, mask)
            for x0, y0, x1, y1, index, score, mask in entry["boxes"]
        ),
        threshold=entry["threshold"],
    )
    if entry["verdict"] not in VERDICTS:
        raise ValueError(entry["verdict"])
    return Decision(entry["verdict"], said, bool(entry["corrected"]))
