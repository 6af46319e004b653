"""A prediction as a line of JSON, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxless.types import Box, Prediction


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """What a file keeps of a prediction: all but its maps."""
    fields = {
        "name": prediction.name,
        "path": str(prediction.path.absolute()),
        "size": prediction.size,
        "label": prediction.label_index,
        "score": prediction.score,
        "threshold": prediction.threshold,
        "boxes": [(*box.xyxy, box.label_index, box.score) for box in prediction.boxes],
    }
    further = {
        "masks": [box.mask for box in prediction.boxes] if any(box.mask for box in prediction.boxes) else None,
        "warning": prediction.warning,
        "presence": prediction.presence,
        "absent": prediction.absent or None,
    }
    return fields | {name: value for name, value in further.items() if value is not None}


def refusal_fields(path: Path, name: str, reason: str) -> dict[str, Any]:
    """What a file keeps of an image that could not be used."""
    return {"name": name, "path": str(path.absolute()), "refused": reason}


def prediction_of(fields: dict[str, Any], classes: Sequence[str]) -> Prediction:
    """The prediction that `prediction_fields` were made of.

    Raises:
        ValueError: They are not such fields, as of a file that was changed by hand.
    """
    try:
        return _prediction_of(fields, classes)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(repr(error)) from error


def _prediction_of(fields: dict[str, Any], classes: Sequence[str]) -> Prediction:
    width, height = fields["size"]
    masks = fields.get("masks") or [None] * len(fields["boxes"])
    boxes = tuple(
        Box((x0, y0, x1, y1), classes[index], index, score, mask)
        for (x0, y0, x1, y1, index, score), mask in zip(fields["boxes"], masks, strict=True)
    )
    return Prediction(
        path=Path(fields["path"]),
        name=fields["name"],
        size=(width, height),
        label=classes[fields["label"]],
        label_index=fields["label"],
        score=fields["score"],
        boxes=boxes,
        threshold=fields["threshold"],
        warning=fields.get("warning"),
        presence=fields.get("presence"),
        absent=fields.get("absent", False),
    )
