"""How good maps, boxes and classes are, from arrays alone: no model, no file. Loaded when first asked for.

`BoxAccuracy` and `PixelAveragePrecision` are torchmetrics metrics; everything else is numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxless.lazy import lazy

if TYPE_CHECKING:
    from boxless.metrics.baselines import SIDES as SIDES
    from boxless.metrics.baselines import centred_boxes as centred_boxes
    from boxless.metrics.baselines import centred_sides as centred_sides
    from boxless.metrics.baselines import random_maps as random_maps
    from boxless.metrics.baselines import whole_image_boxes as whole_image_boxes
    from boxless.metrics.bootstrap import Difference as Difference
    from boxless.metrics.bootstrap import Estimate as Estimate
    from boxless.metrics.bootstrap import Tally as Tally
    from boxless.metrics.bootstrap import paired as paired
    from boxless.metrics.box_metric import BoxAccuracy as BoxAccuracy
    from boxless.metrics.box_metric import BoxScores as BoxScores
    from boxless.metrics.boxes import iou_curves as iou_curves
    from boxless.metrics.by_class import corloc as corloc
    from boxless.metrics.detection import Detections as Detections
    from boxless.metrics.detection import average_precision as average_precision
    from boxless.metrics.errors import ERROR_KINDS as ERROR_KINDS
    from boxless.metrics.errors import dissect as dissect
    from boxless.metrics.errors import error_shares as error_shares
    from boxless.metrics.localization import box_accuracy as box_accuracy
    from boxless.metrics.localization import image_ious as image_ious
    from boxless.metrics.localization import mean_iou as mean_iou
    from boxless.metrics.localization import top_k_class as top_k_class
    from boxless.metrics.localization import top_k_localization as top_k_localization
    from boxless.metrics.masks import piou_of as piou_of
    from boxless.metrics.masks import pixel_counts as pixel_counts
    from boxless.metrics.masks import pxap_of as pxap_of
    from boxless.metrics.pixel_metric import PixelAveragePrecision as PixelAveragePrecision
    from boxless.metrics.pixel_metric import PixelScores as PixelScores
    from boxless.metrics.ranking import auroc as auroc

_HOMES = {
    "BoxAccuracy": "box_metric",
    "BoxScores": "box_metric",
    "Detections": "detection",
    "Difference": "bootstrap",
    "ERROR_KINDS": "errors",
    "Estimate": "bootstrap",
    "PixelAveragePrecision": "pixel_metric",
    "PixelScores": "pixel_metric",
    "SIDES": "baselines",
    "Tally": "bootstrap",
    "auroc": "ranking",
    "average_precision": "detection",
    "box_accuracy": "localization",
    "centred_boxes": "baselines",
    "centred_sides": "baselines",
    "corloc": "by_class",
    "dissect": "errors",
    "error_shares": "errors",
    "image_ious": "localization",
    "iou_curves": "boxes",
    "mean_iou": "localization",
    "paired": "bootstrap",
    "piou_of": "masks",
    "pixel_counts": "masks",
    "pxap_of": "masks",
    "random_maps": "baselines",
    "top_k_class": "localization",
    "top_k_localization": "localization",
    "whole_image_boxes": "baselines",
}
__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
