"""What selected the weights behind a result, and where its threshold is from: said wherever a result is shown.

Whatever true boxes chose says ORACLE: no user has them (thesis, section 4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boxless.runs import Run

Card = Mapping[str, Any]

CLASSIFICATION, LAST, TRUE_BOXES, PSEUDO = "classification", "last", "oracle", "pseudo:"
UNKNOWN = "unknown"
OF_MAPS = "unknown: maps of another program"
AS_IT_IS = "nothing: the classifier is taken as it is"
EACH_MAP = "each map's own histogram (Otsu), no box"
GIVEN = "you: it was given with the command"
ORACLE = "ORACLE"
_MEASURES = {"iou": "mean IoU", "box_accuracy": "MaxBoxAcc"}


def boxes_of(criterion: str) -> str:
    """The boxes of val that a criterion looks at, in words; empty if it looks at none."""
    if criterion == TRUE_BOXES:
        return f"val's true boxes ({ORACLE})"
    return f"val's pseudo-boxes, {criterion.removeprefix(PSEUDO)}" if criterion.startswith(PSEUDO) else ""


def selected_by(card: Card, criterion: str | None = None) -> str:
    """What the weights were selected by, in words.

    Args:
        card: Of a run.
        criterion: One of the card's ``criteria``; None for what the run predicts with.
    """
    if criterion is None:
        chosen = card.get("selection", {})
        return _marked(str(chosen.get("criterion", UNKNOWN)), oracle=chosen.get("by") == TRUE_BOXES)
    entry = card.get("criteria", {}).get(criterion, {})
    oracle = bool(entry.get("oracle", criterion == TRUE_BOXES))
    return _marked(str(entry.get("title") or boxes_of(criterion) or criterion), oracle=oracle)


def threshold_from(card: Card, criterion: str | None = None) -> str:
    """Where the threshold comes from, in words; arguments as for `selected_by`."""
    if criterion is None:
        rule = card.get("threshold", {})
        source = str(rule.get("source", UNKNOWN))
        return EACH_MAP if rule.get("rule") == "otsu" and source == "each map's own histogram" else source
    if card.get("criteria", {}).get(criterion, {}).get("threshold") is None:
        return EACH_MAP
    measure = _MEASURES.get(card.get("selection", {}).get("measure", ""), "its measure")
    return f"the best by {measure} on {boxes_of(criterion)}"


def of_run(run: Run) -> tuple[str, str]:
    """What selected the weights of an open run, and where its threshold is from."""
    card: Card = getattr(run, "card", {})
    criterion = getattr(run, "criterion", "") or None
    if criterion is not None and criterion == card.get("selection", {}).get("by", criterion):
        criterion = None  # what the run predicts with, of which the card says more
    source = threshold_from(card, criterion)
    if run.threshold == "otsu" and source == UNKNOWN:
        source = EACH_MAP
    return selected_by(card, criterion), source


def own_found_on(run: Run) -> str:
    """What the run's threshold was found with; empty if nothing was: it is Otsu's, or a user gave it."""
    asked = getattr(getattr(run.recipe, "protocol", None), "threshold", run.threshold)
    other = getattr(run, "criterion", "") not in ("", getattr(run, "card", {}).get("selection", {}).get("by", ""))
    if run.threshold == "otsu" or (asked == run.threshold and not other):
        return ""
    return of_run(run)[1]


def _marked(text: str, *, oracle: bool) -> str:
    return f"{ORACLE}: {text}" if oracle and ORACLE not in text else text
