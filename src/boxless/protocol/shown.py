"""The protocol table as text and as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from boxless.metrics.drawn import estimate
from boxless.protocol.figures import AT_THRESHOLD, PER_CENT
from boxless.protocol.provenance import CLASSIFICATION, LAST, PSEUDO, TRUE_BOXES
from boxless.protocol.transfer import (
    BT_TT,
    BT_VT,
    BV_OTSU,
    BV_TT,
    BV_VT,
    MEASURES,
    Figure,
)
from boxless.report.tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from boxless.metrics.bootstrap import Estimate

Which = Literal["realistic", "oracle", "both"]
WHICH: tuple[Which, ...] = ("realistic", "oracle", "both")
DASH = "–"
NO_VT = "Otsu's, no VT"

# A column's title, whether it is an oracle, and what of a row stands in it: rows of true boxes, of others, or of all.
_COLUMNS: tuple[tuple[str, bool, str, bool | None], ...] = (
    ("realistic: BV-VT", False, BV_VT, False),
    ("realistic: BV, Otsu", False, BV_OTSU, False),
    ("ORACLE: BV-VT", True, BV_VT, True),
    ("ORACLE: BV-TT", True, BV_TT, None),
    ("ORACLE: BT-VT", True, BT_VT, None),
    ("ORACLE: BT-TT", True, BT_TT, None),
)
_NOTES = (
    "BV: of a method's runs the one whose figure by the criterion is best on val; BT: the one that is best on test.",
    "VT: the threshold that is best on val by the criterion's boxes; TT: the best one on test.",
    "Class accuracy and the last epoch look at no box and give no VT: each map's own threshold by Otsu stands there.",
    "No BV: nothing on val chooses between several runs, as of the last epoch.",
    "ORACLE: true boxes, which no user has, chose the weights, the run or the threshold.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A method, or another group of runs, and what selected the weights of each."""

    group: str
    criterion: str
    selected_by: str
    threshold_from: str  # VT, of BV
    threshold: float | None  # VT of BV; None where there is none
    runs: tuple[str, ...]
    figures: Mapping[str, Mapping[str, Figure]]  # by measure and combination

    @property
    def oracle(self) -> bool:
        """Whether true boxes of val selected the weights."""
        return self.criterion == TRUE_BOXES

    def named(self) -> tuple[str, str]:
        """What selected the weights, and where VT is from, in a few words."""
        if not self.criterion.startswith(PSEUDO) and not self.oracle:
            words = {CLASSIFICATION: "class accuracy", LAST: "last epoch"}
            return words.get(self.criterion, self.criterion), NO_VT
        source = "ORACLE: true boxes" if self.oracle else f"pseudo-boxes: {self.criterion.removeprefix(PSEUDO)}"
        return source, NO_VT if self.threshold is None else f"VT {self.threshold:.3f}, by them on val"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The table of some runs on one split: `table` and `differences` are its text, `to_dict` everything."""

    rows: tuple[Row, ...]
    split: str
    images: int
    without_box: int
    truth: str
    contours: str
    replicates: int
    refused: tuple[tuple[str, str], ...]  # (name, reason) of what could not be read
    notes: tuple[str, ...] = ()
    videos: int = 0  # of how many the images are frames, by which intervals are then drawn; 0 of plain images

    @property
    def drawn(self) -> str:
        """What the bootstrap draws by."""
        return "videos" if self.videos else "images"

    def table(self, measure: str = MEASURES[0], which: Which = "both") -> Table:
        """One measure of every row; the columns of what is realistic, of the oracles, or both.

        Rows that true boxes of val selected are left out of what is realistic.
        """
        columns = [each for each in _COLUMNS if which == "both" or each[1] == (which == "oracle")]
        rows = [row for row in self.rows if which != "realistic" or not row.oracle]
        cells = [
            (row.group, *row.named(), *(_cell(row, measure, key, of) for _, _, key, of in columns)) for row in rows
        ]
        header = ("method", "selected by", "threshold from", *(title for title, *_ in columns))
        of = f"{self.images:,} frames of {self.videos:,} videos" if self.videos else f"{self.images:,} images"
        images = f"{of} of {self.split}, true boxes of {self.truth}."
        every = (*_NOTES, images + (_INTERVAL.format(self.drawn) if self.replicates else ""), *self.notes)
        return Table(f"{AT_THRESHOLD[measure][0]}, by what selected", header, cells, every)

    def differences(self, measure: str = MEASURES[0]) -> Table:
        """How far each criterion stays below selection by true boxes of val, as the mean over methods."""
        rows = []
        for found in self._differences(measure):
            rows.append(
                (found["selected_by"], str(len(found["groups"])), *(_signed(found[key], measure) for key in _PAIRS))
            )
        title = f"{AT_THRESHOLD[measure][0]}, less that of weights selected by true boxes of val: mean over methods"
        header = ("selected by", "methods", *(title for title, *_ in _PAIRS.values()))
        notes = (
            f"Paired: each replicate draws the same {self.drawn} for both. Negative: true boxes select better.",
            "Its own threshold: VT, or Otsu's where there is no VT; that of true boxes is their VT.",
        )
        return Table(title, header, rows, notes)

    def tables(self, which: Which = "both") -> dict[str, Table]:
        """Every table by a name for files; differences only where true boxes of val selected too."""
        found = {measure: self.table(measure, which) for measure in MEASURES}
        if which != "realistic" and any(row.oracle for row in self.rows):
            found |= {f"{measure}-differences": self.differences(measure) for measure in MEASURES[:2]}
        return found

    def to_dict(self, which: Which = "both") -> dict[str, Any]:
        """Everything as plain values, for JSON; realistic figures and those of oracles lie apart."""
        found: dict[str, Any] = {
            "split": self.split,
            "images": self.images,
            "without_box": self.without_box,
            "truth": self.truth,
            "contours": self.contours,
            "interval": f"95 %, {self.replicates:,} Poisson bootstrap replicates over {self.drawn}"
            if self.replicates
            else None,
            "rows": [_plain_row(row, which) for row in self.rows if which != "realistic" or not row.oracle],
            "notes": list(self.notes),
        }
        if which != "realistic":
            found["less_true_boxes"] = {measure: self._plain_differences(measure) for measure in MEASURES}
        return found

    def _differences(self, measure: str) -> list[dict[str, Any]]:
        """Of each criterion the methods that true boxes selected for too, and the replicates of each difference."""
        true = {row.group: row.figures[measure] for row in self.rows if row.oracle}
        found = []
        for criterion in dict.fromkeys(row.criterion for row in self.rows if not row.oracle):
            rows = [row for row in self.rows if row.criterion == criterion and row.group in true]
            if not rows:
                continue
            entry: dict[str, Any] = {
                "criterion": criterion,
                "selected_by": rows[0].named()[0],
                "groups": [row.group for row in rows],
            }
            for key, (_, mine, theirs) in _PAIRS.items():
                pairs = [(_first(row.figures[measure], mine), true[row.group].get(theirs)) for row in rows]
                every = [one.drawn - other.drawn for one, other in pairs if one is not None and other is not None]
                entry[key] = np.mean(every, axis=0) if len(every) == len(pairs) else None
            found.append(entry)
        return found

    def _plain_differences(self, measure: str) -> list[dict[str, Any]]:
        return [
            {**found, **{key: None if found[key] is None else _plain(estimate(found[key])) for key in _PAIRS}}
            for found in self._differences(measure)
        ]


_INTERVAL = " In brackets: 95 % bootstrap intervals over {}; what test chose is chosen anew in each replicate."
# What is compared: a column's title, the combinations of a criterion (the first that there is), that of true boxes.
_PAIRS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "own_threshold": ("its own threshold, less VT of true boxes", (BV_VT, BV_OTSU), BV_VT),
    "otsu": ("Otsu's threshold for both", (BV_OTSU,), BV_OTSU),
    "best_threshold": ("ORACLE: TT for both", (BV_TT,), BV_TT),
}


def _first(figures: Mapping[str, Figure], keys: Sequence[str]) -> Figure | None:
    return next((figures[key] for key in keys if key in figures), None)


def _cell(row: Row, measure: str, key: str, of_true_boxes: bool | None) -> str:
    """The figure and, on a line of its own, its interval."""
    if of_true_boxes not in (None, row.oracle):
        return ""
    figure = row.figures[measure].get(key)
    return DASH if figure is None else _number(figure.estimate(), measure)


def _signed(drawn: NDArray[np.float64] | None, measure: str) -> str:
    return DASH if drawn is None else _number(estimate(drawn), measure, sign="+").replace("\n", " ")


def _number(found: Estimate, measure: str, sign: str = "") -> str:
    form = f"{sign}.{1 if AT_THRESHOLD[measure][1] == PER_CENT else 3}f"
    if math.isnan(found.low):
        return DASH if math.isnan(found.value) else f"{found.value:{form}}"
    return f"{found.value:{form}}\n[{found.low:{form}}, {found.high:{form}}]"


def _plain_row(row: Row, which: Which) -> dict[str, Any]:
    oracle = {key: row.oracle or is_oracle for _, is_oracle, key, _ in _COLUMNS if key not in (BV_VT, BV_OTSU)}
    oracle |= {BV_VT: row.oracle, BV_OTSU: row.oracle}
    return {
        "group": row.group,
        "criterion": row.criterion,
        "selected_by": row.selected_by,
        "threshold_from": row.threshold_from,
        "oracle": row.oracle,
        "runs": list(row.runs),
        **{
            side: {
                measure: {key: _plain_figure(figure) for key, figure in found.items() if oracle[key] == is_oracle}
                for measure, found in row.figures.items()
            }
            for side, is_oracle in (("realistic", False), ("ORACLE", True))
            if which in ("both", side.lower())
        },
    }


def _plain_figure(figure: Figure) -> dict[str, Any]:
    return {**_plain(figure.estimate()), "run": figure.run, "threshold": figure.threshold}


def _plain(found: Estimate) -> dict[str, float | None]:
    values = {"value": found.value, "low": found.low, "high": found.high}
    return {key: None if math.isnan(value) else value for key, value in values.items()}
