"""Figures as text for tables, and as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.protocol.figures import FRACTION, PER_CENT

if TYPE_CHECKING:
    from boxless.metrics.bootstrap import Estimate

DASH = "–"


def cell(estimate: Estimate | None, unit: str, *, signed: bool = False) -> str:
    """A figure and its interval; empty for one that was not measured."""
    if estimate is None:
        return ""
    value = number(estimate.value, unit, signed=signed)
    if math.isnan(estimate.low):
        return value
    return f"{value} [{number(estimate.low, unit, signed=signed)}, {number(estimate.high, unit, signed=signed)}]"


def number(value: float, unit: str, *, signed: bool = False) -> str:
    """Per cent with one digit, fractions with three."""
    if math.isnan(value):
        return DASH
    return f"{value:{'+' if signed else ''}.{1 if unit == PER_CENT else 3}f}"


def threshold_cell(value: float | None) -> str:
    """A threshold; None is one of each map's own."""
    return "each map's own" if value is None else number(value, FRACTION)


def p_value(value: float) -> str:
    """How often chance alone gives as much."""
    return DASH if math.isnan(value) else f"{value:.3f}"


def plain_figures(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    """Figures by key as plain values."""
    return {key: {name: plain(value) for name, value in asdict(each).items()} for key, each in figures.items()}


def plain(value: Any) -> Any:
    """An array as lists; nan as null."""
    if isinstance(value, np.ndarray):
        return [plain(each) for each in value.tolist()]
    return None if isinstance(value, float) and math.isnan(value) else value
