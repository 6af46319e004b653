"""What a run's card has to say, checked as it is read: it may come from anybody, and a damaged one is told as that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt, MinLen
from pydantic import AfterValidator, BaseModel, Field, ValidationError

Number = Annotated[float, Field(allow_inf_nan=False)]
Rule = Literal["otsu"] | Annotated[float, Ge(0), Lt(1)]


def _inside(name: str) -> str:
    """A file of the run folder: not another one that a card of somebody else's would have opened."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or not path.parts:
        raise ValueError("names no file inside of the run's folder")
    return name


class _Data(BaseModel):
    source: str
    format: str
    images: dict[str, int]


class _Backbone(BaseModel):
    name: str
    licence: str | None
    frozen: bool


class _Selection(BaseModel):
    by: str
    measure: str | None = None
    criterion: str | None = None
    value: Number | None
    epoch: int | None


class _Threshold(BaseModel):
    rule: Rule
    source: str | None = None


class _Criterion(BaseModel):
    weights: Annotated[str, AfterValidator(_inside)]
    threshold: Rule | None
    title: str | None = None
    oracle: bool | None = None
    value: Number | None = None
    epoch: int | None = None
    thresholds: dict[str, Rule] | None = None


class _Card(BaseModel):
    boxless: str
    classes: Annotated[list[str], MinLen(1)]
    multi_label: bool
    data: _Data
    method: str
    backbone: _Backbone
    box_rule: str
    resolution: int
    seed: int
    date: str
    supervision: str
    selection: _Selection
    threshold: _Threshold
    criteria: dict[str, _Criterion]
    training_seconds: Number
    refused: dict[str, str]
    versions: dict[str, str] | None = None


def wrong(card: Mapping[str, Any]) -> str:
    """What is wrong with a card of this version; empty if it can be used."""
    try:
        _Card.model_validate(card, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    twice = len(set(card["classes"])) < len(card["classes"])
    return "classes: one is there twice" if twice else ""
