"""The annotator of val for a user who names none."""

from __future__ import annotations

from boxless.backbones.open_clip_models import in_hub_cache
from boxless.errors import MissingExtraError
from boxless.pseudo.selective_search import is_at_hand
from boxless.pseudo.table import FREE_ANNOTATOR, ZERO_SHOT_ANNOTATOR
from boxless.pseudo.teacher import ZERO_SHOT


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
