"""How good boxes are, from arrays alone: no model, no file."""

from boxless.metrics.baselines import centred_boxes, whole_image_boxes
from boxless.metrics.localization import (
    LocalizationAccumulator,
    LocalizationScores,
    MaxBoxAccuracy,
    box_accuracy,
    evaluate_localization,
    image_ious,
    max_box_acc,
    mean_iou,
    top_k_class,
    top_k_localization,
)

__all__ = [
    "LocalizationAccumulator",
    "LocalizationScores",
    "MaxBoxAccuracy",
    "box_accuracy",
    "centred_boxes",
    "evaluate_localization",
    "image_ious",
    "max_box_acc",
    "mean_iou",
    "top_k_class",
    "top_k_localization",
    "whole_image_boxes",
]
