"""How boxes are found in a prediction: every setting that changes what comes out, in one record."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from boxless.errors import ConfigError

Refine = Literal["none", "guided", "crf"]
REFINES = ("none", "guided", "crf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a `Localizer` finds boxes; the default is one box of the predicted class.

    Raises:
        ConfigError: A value that cannot be.
    """

    threshold: float | str | None = None  # a fraction of a map's maximum, or "otsu"; None: the run's own
    min_score: float = 0.0  # boxes with a lower score are left out
    multi: bool = False  # several boxes, of one class or of several
    label_score: float = 0.5  # multi: besides the first, classes of at least this probability are looked for too
    nms: float = 0.5  # multi: of two boxes of a class with a higher IoU the lower scored is left out
    max_boxes: int = 20  # multi: in one image
    min_area: float = 0.001  # multi: boxes of a smaller part of the image are left out
    rescore: bool = True  # multi: class, score and edges of each box come from the network's look at it alone
    abstain: bool = False  # no box where the run, as calibrated on val, sees no object
    masks: bool = False  # each box has the mask of its object
    refine: Refine = "none"  # maps follow the edges of the image
    flip: bool = False  # average with the mirrored image
    scales: tuple[float, ...] = (1.0,)  # average over these sizes of the network's input
    tile: int | None = None  # larger images are looked at in tiles of this side, in original pixels
    overlap: float = 0.25  # of neighbouring tiles, as a part of their side
    label_map: tuple[tuple[str, str], ...] = ()  # fine class -> what it is called in the output

    def __post_init__(self) -> None:
        for name, low, high in (
            ("min_score", 0, 1), ("label_score", 0, 1), ("nms", 0, 1), ("min_area", 0, 1), ("overlap", 0, 0.9),
        ):  # fmt: skip
            _check_range(name, getattr(self, name), low, high)
        if self.threshold is not None and self.threshold != "otsu":
            if isinstance(self.threshold, str):
                raise ConfigError(f"threshold {self.threshold!r}: expected 'otsu' or a number from 0 to below 1.")
            _check_range("threshold", self.threshold, 0, math.nextafter(1, 0))
        if self.max_boxes < 1:
            raise ConfigError(f"max_boxes is {self.max_boxes}; expected 1 or more.")
        if self.refine not in REFINES:
            raise ConfigError(f"refine {self.refine!r}: expected one of {', '.join(REFINES)}.")
        if not self.scales or any(not 0.25 <= scale <= 4 for scale in self.scales):
            raise ConfigError(f"scales {self.scales}: expected numbers from 0.25 to 4, such as 1,1.5.")
        if self.tile is not None and self.tile < 32:
            raise ConfigError(f"tile is {self.tile}; expected 32 pixels or more, such as 1024.")

    def fields(self) -> dict[str, Any]:
        """What differs from the default, as plain values for a file."""
        plain = Options()
        return {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (isinstance(value, (int, float)) and low <= value <= high):  # also refuses nan
        raise ConfigError(f"{name} is {value!r}; expected a number from {low:g} to {high:.6g}.")
