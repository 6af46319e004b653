"""The vocabulary of the house: frozen records that pass between its parts.

Boxes are ``xyxy`` floats in pixels of the original, EXIF-upright image, half-open: a box that covers the whole of a
640 x 480 image is ``(0, 0, 640, 480)``. Maps are float32 in [0, 1]. Thresholds are fractions of a map's own maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from boxless.pseudo.records import Proposals

    FloatMap = NDArray[np.float32]  # (h, w) in [0, 1]
    Boxes = NDArray[np.float64]  # (n, 4) xyxy, half-open, original pixels


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of a video that was taken without a cut."""

    video: str  # the video's name, relative to the data's root: all its shots belong to one split
    number: int = 0  # of the shot in its video


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled image: where it is, what it is called, and the classes it shows. It never holds a box."""

    path: Path  # the file
    name: str  # relative to the data's root, with forward slashes: the stable name in every output
    labels: tuple[int, ...]  # class indices; empty if unknown
    shot: Shot | None = None  # of a frame of a video; those of a shot follow one another in a split, in time


@dataclass(frozen=True, slots=True)
class Box:
    """One predicted box."""

    xyxy: tuple[float, float, float, float]  # half-open, original pixels
    label: str
    label_index: int
    score: float  # in [0, 1]
    mask: str | None = field(default=None, repr=False)  # of the object: COCO's compressed run lengths, original pixels


@dataclass(frozen=True, slots=True)
class Prediction:
    """What boxless says of one image."""

    path: Path
    name: str  # relative to the folder that was given, with forward slashes
    size: tuple[int, int]  # (width, height) of the EXIF-upright image
    label: str
    label_index: int
    score: float  # the class's probability, in [0, 1]
    boxes: tuple[Box, ...]  # empty if nothing was found
    threshold: float  # the fraction of the map's maximum that cut the boxes
    map: FloatMap | None = field(default=None, repr=False, compare=False)
    warning: str | None = None  # what is wrong with the map: a name in `boxless.maps.sanity.KINDS`
    label_maps: Mapping[str, FloatMap] = field(default_factory=dict, repr=False, compare=False)  # of several classes
    presence: float | None = None  # probability that there is something to find; None if the run cannot tell
    absent: bool = False  # nothing was found to be there, and so no box was made

    def to_supervision(self) -> Any:
        """The boxes as ``supervision.Detections`` (needs the extra ``supervision``)."""
        from boxless.formats.interop import to_supervision

        return to_supervision(self)


@dataclass(frozen=True, slots=True)
class Features:
    """What a backbone gives for a batch: grids, and tokens that are not patches, of the stages asked for."""

    grids: tuple[Tensor, ...]  # each (b, c, h, w), in the order of the stages asked for
    prefix: Tensor | None = None  # (b, s, n, c) class and register tokens of the stages of `Backbone.token_taps`
    attention: tuple[Tensor, ...] = ()  # of the blocks of `Backbone.tap_attention`, as it says

    @property
    def grid(self) -> Tensor:
        """The last grid asked for, (b, c, h, w)."""
        return self.grids[-1]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in a row; `Backbone.regrouped` is the way back."""
        return (*self.grids, *(() if self.prefix is None else (self.prefix,)), *self.attention)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a method learns from: images and image labels, never a box."""

    images: Tensor  # (b, 3, h, w), normalised as the backbone wants
    labels: Tensor  # (b,) int64, the first label of each image
    targets: Tensor  # (b, k) float: 1 for each class the image shows
    index: Tensor  # (b,) int64, the item's place in the training set
    multi_label: bool = False  # whether images of this data set may show several classes
    pseudo: Proposals | None = None  # of these images as they are shown here, in a stage that asks for them


@dataclass(frozen=True, slots=True)
class Localization:
    """What a method says of a batch."""

    logits: Tensor  # (b, k) class scores
    maps: Tensor  # (b, n, h', w') in [0, 1], one for each class in `classes`
    classes: Tensor  # (b, n) int64
