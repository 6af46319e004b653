"""Where a threshold comes from: part of every figure that depends on one, and never implied.

A map becomes a box at a threshold, a fraction of the map's own maximum. Who chose it, and by looking at what, decides
what a figure means (thesis, section 4.3): the best one on the very test boxes is an upper bound that no user gets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ORACLE, VALIDATION, PSEUDO, FIXED, OTSU, RUN = (
    "oracle-test",
    "validation",
    "validation-pseudo",
    "fixed",
    "otsu",
    "run",
)
SOURCES = {
    OTSU: "each map's own threshold, by Otsu from its histogram; looks at no box",
    FIXED: "given by the user, as fixed=0.35; looks at no box",
    RUN: "the rule that the run itself predicts with: its own threshold, found on val's pseudo-boxes, or one of these",
    PSEUDO: "the best one on the validation split, with its pseudo-boxes: the run's, or a file's; no true box (VT)",
    VALIDATION: "the best one on the validation split, with its true boxes: an oracle, as no user has them",
    ORACLE: "the best one on the very boxes that are measured with: an upper bound (TT)",
}
"""Every threshold source, from the one that knows least to the oracle."""

_COMES_FROM = {
    OTSU: "Otsu: no box",
    FIXED: "given: no box",
    PSEUDO: "val's pseudo-boxes",
    VALIDATION: "ORACLE: val's true boxes",
    ORACLE: "ORACLE: these boxes",
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, or for each IoU level one, and where it comes from."""

    source: str  # one of SOURCES; "run" only where the run's threshold was found on val and is none of the others
    levels: tuple[float, ...] = ()  # the IoU levels it was found for; empty where it does not depend on them
    values: tuple[float, ...] = ()  # the threshold of each level, or one for all; none until found, and for Otsu's
    found_on: str = ""  # what it was found with
    is_own: bool = field(default=False, compare=False)  # whether it is the rule that the run predicts with

    @property
    def name(self) -> str:
        """As a column's title."""
        return f"{self.source} {self.values[0]:g}" if self.source in (FIXED, RUN) else self.source

    @property
    def is_best_here(self) -> bool:
        """Whether it was chosen on the very boxes that it is measured with."""
        return self.source == ORACLE

    @property
    def is_oracle(self) -> bool:
        """Whether true boxes chose it, of whichever split."""
        return "ORACLE" in self.comes_from

    def at(self, level: float) -> float | None:
        """The threshold for an IoU level; None for one of each map's own, or if none was found."""
        if not self.values:
            return None
        return self.values[self.levels.index(level)] if self.levels else self.values[0]

    @property
    def comes_from(self) -> str:
        """Who or what chose it, in a few words."""
        return _COMES_FROM.get(self.source, self.found_on)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "source": self.source,
            "threshold_from": self.comes_from,
            "oracle": self.is_oracle,
            "own": self.is_own,
            "iou_levels": list(self.levels),
            "values": [None if math.isnan(value) else value for value in self.values],
            "found_on": self.found_on,
        }


def parse_sources(
    text: str | Sequence[str], own: str | float, *, own_found_on: str = "", pseudo: bool = False
) -> tuple[Threshold, ...]:
    """The threshold sources that a comma list names, from the one that knows least to the oracle, each once.

    Args:
        text: Names of `SOURCES`, with ``fixed=0.35`` for a fixed one; or ``all``, for all that need no number.
        own: What ``run`` stands for: ``otsu`` or a threshold.
        own_found_on: What that threshold was found with; empty if it is Otsu's or was given.
        pseudo: Whether pseudo-boxes are at hand, so that ``all`` has theirs among it.

    Raises:
        UnknownNameError: There is no such source.
        ConfigError: No source, a fixed one without its number, or a number outside of [0, 1).
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    names = [name.strip() for name in parts if name.strip()]
    if not names:
        raise ConfigError(f"protocol: names no threshold source; give some of {', '.join(SOURCES)}.")
    if "all" in names:
        names = [
            *(name for name in names if name != "all"),
            RUN,
            OTSU,
            VALIDATION,
            ORACLE,
            *([PSEUDO] if pseudo else []),
        ]
    found: dict[tuple[str, tuple[float, ...]], Threshold] = {}
    for each in (_parse(name, own, own_found_on) for name in names):
        key = (each.source, each.values)
        found[key] = each if key not in found or each.is_own else found[key]  # the run's own may be named otherwise too
    order = list(SOURCES)
    return tuple(sorted(found.values(), key=lambda each: (order.index(each.source), each.values)))


def _parse(name: str, own: str | float, own_found_on: str) -> Threshold:
    if name == RUN:
        rule = Threshold(OTSU, found_on=_found(OTSU)) if isinstance(own, str) else _fixed(own, "the run's own rule")
        if own_found_on:
            rule = replace(rule, source=RUN, found_on=own_found_on)
        return replace(rule, is_own=True)
    key, equals, value = name.partition("=")
    if key == FIXED:
        try:
            number = float(value)
        except ValueError:
            raise ConfigError(f"protocol: got {name!r}; a fixed threshold is given as fixed=0.35.") from None
        return _fixed(number, _found(FIXED))
    if equals or name not in SOURCES:
        raise UnknownNameError("threshold source", name, [*SOURCES, "all"])
    return Threshold(name, found_on=_found(name))


def _fixed(value: float, found_on: str) -> Threshold:
    if not 0 <= value < 1:
        raise ConfigError(f"protocol: got fixed={value:g}; a threshold is a fraction of a map's maximum, in [0, 1).")
    return Threshold(FIXED, (), (float(value),), found_on)


def _found(source: str) -> str:
    return {OTSU: "each map's own histogram", FIXED: "given by the user"}.get(source, "")


def best_thresholds(right: Floats, thresholds: Floats) -> tuple[float, ...]:
    """For each level the lowest threshold of the highest accuracy; nan where there is none.

    Args:
        right: (levels, t) accuracy at each threshold.
        thresholds: (t,).
    """
    return tuple(float("nan") if np.isnan(each).all() else float(thresholds[int(each.argmax())]) for each in right)


def found(rule: Threshold, right: Floats, thresholds: Floats, levels: Sequence[float], found_on: str) -> Threshold:
    """A rule with the best threshold of each level on some split, (levels, t) its accuracy there."""
    return replace(rule, levels=tuple(levels), values=best_thresholds(right, thresholds), found_on=found_on)
