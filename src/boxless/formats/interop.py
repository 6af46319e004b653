"""Predictions as other programs' objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boxless.errors import MissingExtraError

if TYPE_CHECKING:
    from boxless.types import Prediction


def to_supervision(prediction: Prediction) -> Any:
    """The boxes as ``supervision.Detections``: ``xyxy``, ``class_id``, ``confidence`` and ``data["class_name"]``.

    Without a box all of them are there and empty, so that detections of many images can be merged.

    Raises:
        MissingExtraError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError("Prediction.to_supervision()", "supervision", "supervision") from error
    import numpy as np

    boxes = prediction.boxes
    return supervision.Detections(
        xyxy=np.array([box.xyxy for box in boxes], dtype=np.float32).reshape(-1, 4),
        class_id=np.array([box.label_index for box in boxes], dtype=int),
        confidence=np.array([box.score for box in boxes], dtype=np.float32),
        data={"class_name": np.array([box.label for box in boxes], dtype=str)},
    )
