"""Where pseudo-labels, and the boxes of val, come from for a user who names nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from boxless.backbones.base import Backbone
from boxless.backbones.open_clip_models import FAMILY, FOLDER, in_hub_cache
from boxless.errors import MissingExtraError
from boxless.methods.base import Method
from boxless.pseudo.labels import RUN, first_fitting
from boxless.pseudo.selective_search import is_at_hand
from boxless.pseudo.table import FREE_ANNOTATOR, MAP_SOURCES, ZERO_SHOT_ANNOTATOR
from boxless.pseudo.teacher import OWN, ZERO_SHOT, is_zero_shot
from boxless.text.names import codes_among


def usual_source(sources: Sequence[str], method: Method, classifier: str, classes: Sequence[str]) -> tuple[str, str]:
    """The first of a stage's sources that can be had, and the classifier that it is of.

    ``run``, the maps of the classifier's own method, can be had of a CLIP model or the folder of a run. If neither is
    named, it is of the backbone's own CLIP model, or else of `boxless.pseudo.teacher.ZERO_SHOT`, if its weights are on
    this machine (nothing is fetched for it) and the names of classes are words. A map of the method's own classifier
    can be had where that is a linear layer on an averaged grid.

    Args:
        sources: The best first; if none can be had, the last is taken, whose error says why.
        method: What learns.
        classifier: As the recipe names it.
        classes: Of the data.

    Raises:
        ConfigError: The backbone gives none of the sources that are left.
    """
    for place, name in enumerate(sources):
        if name in MAP_SOURCES:
            return first_fitting(sources[place:], method.backbone), classifier
        if name == RUN:
            found = classifier if classifier != OWN else _zero_shot(method.backbone, classes)
            if is_zero_shot(found) or Path(found).is_dir():
                return name, found
        elif classifier != OWN or isinstance(getattr(method.as_teacher(), "fc", None), nn.Linear):
            return name, classifier
    return sources[-1], classifier


def _zero_shot(backbone: Backbone, classes: Sequence[str]) -> str:
    """The CLIP transformer that is at hand; the name of none if there is none, or could not read the classes' names."""
    if codes_among(classes):
        return OWN
    name = backbone.title
    if is_zero_shot(name) and backbone.blocks and (name.startswith(f"{FAMILY}{FOLDER}") or in_hub_cache(name)):
        return name
    return ZERO_SHOT if _clip_is_here() else OWN


def usual_annotator() -> str | None:
    """CLIP if its weights are on this machine, else Selective Search if OpenCV has it; None if neither is at hand.

    Nothing is fetched for it. In the thesis CLIP's boxes are good (table 4.1), and those of Selective Search are worse
    than a centred box, chosen by the posterior alone. Chosen as `boxless.pseudo.selective_search` does, they serve as
    well as true boxes on the bundled sample. Regions of features and the classifier's own maps do not: they are too
    large, and the thresholds that they choose cost 23 points and more, where Otsu's costs 5 (docs/evaluation.md).
    """
    if _clip_is_here():
        return ZERO_SHOT_ANNOTATOR
    return FREE_ANNOTATOR if is_at_hand() else None


def _clip_is_here() -> bool:
    try:
        return in_hub_cache(ZERO_SHOT)
    except MissingExtraError:
        return False
