"""The page of a run on the Hugging Face Hub: what the run's protocol card says, for people who never saw the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from boxless.errors import DataError
from boxless.parsing import parse_json
from boxless.protocol.figures import AT_THRESHOLD, OF_ALL, PER_CENT
from boxless.protocol.provenance import ORACLE
from boxless.report.card import facts

Card = Mapping[str, Any]

SHOWN = 100  # classes that are named
_LICENCES = {"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0"}
_FIGURES = ("box_accuracy", "box_accuracy_v2", "mean_iou", "top1_localization", "named_box_accuracy")
_OF_ALL = ("class_accuracy", "class_accuracy_top5")
_LIMITS = """\
- It was taught by image labels alone: no box was drawn for it. A box is where the network found what tells the class,
  cut at a threshold; parts that look like no other class may be missing, and what always comes with the class may be
  inside.
- One box is given for the predicted class. Objects of other classes, and several of one class, need `--multi`.
- It always names a class that it knows, also for images that show none of them; `--abstain` leaves out boxes where
  nothing is to be found, if the run was calibrated for it.
- Figures hold for images like those they were measured on."""


def model_card(card: Card, repo_id: str, evaluation: Path | None = None) -> str:
    """The text of ``README.md``, with its YAML header.

    Args:
        card: Of the run.
        repo_id: Where it goes, as ``owner/name``.
        evaluation: An ``evaluation.json`` of ``boxless evaluate --out``, for figures of a test split.

    Raises:
        DataError: The evaluation cannot be read.
    """
    name = repo_id.partition("/")[2] or repo_id
    what = "one or more classes" if card.get("multi_label") else "the class"
    parts = [
        f"---\n{yaml.safe_dump(_header(card), sort_keys=False, allow_unicode=True)}---",
        f"# {_plain(name)}",
        f"Says {what} of an image and where it is: a box and a map. Trained by boxless from labels of whole images, "
        "without a box.",
        "## Use",
        _use(repo_id),
        "## Classes",
        _classes(card.get("classes", ())),
        "## How it was made",
        _table((each.title, each.text) for each in facts(card)),
        f"{ORACLE} marks what true boxes chose, which nobody has who trains from image labels.",
        "## Figures",
        _figures(card, evaluation),
        "## Limits",
        _LIMITS,
        "## Licence",
        _licence(card),
    ]
    return "\n\n".join(parts) + "\n"


def _header(card: Card) -> dict[str, Any]:
    licence = str(card.get("backbone", {}).get("licence", "")).lower()
    known = licence in _LICENCES
    return {
        "library_name": "boxless",
        "pipeline_tag": "object-detection",
        "license": licence if known else "other",
        **({} if known else {"license_name": "see-below"}),
        "tags": ["boxless", "weakly-supervised-object-localization", "image-classification", "object-detection"],
    }


def _use(repo_id: str) -> str:
    return f"""\
```python
from boxless import Localizer

localizer = Localizer.from_pretrained("{repo_id}")  # revision="..." pins a commit
prediction = localizer.predict_image("photo.jpg")
print(prediction.label, prediction.score, prediction.boxes)
```"""


def _classes(names: Sequence[Any]) -> str:
    shown = ", ".join(_code(str(each)) for each in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _figures(card: Card, evaluation: Path | None) -> str:
    chosen = card.get("selection", {})
    lines = []
    if isinstance(chosen.get("value"), int | float):
        lines.append(f"What weights were selected by: {_plain(str(chosen.get('criterion')))}: {chosen['value']:.3g}.")
    if evaluation is None:
        lines.append("No test split was measured here; `boxless evaluate RUN DATA` does so on images that have boxes.")
    else:
        lines.append(_measured(_read(evaluation)))
    return "\n\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        return {"protocols": found["protocols"], "figures": found["figures"], **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: this is no evaluation.json of one run ({error}); make it with: boxless evaluate RUN DATA "
            "--out DIR"
        ) from error


def _measured(report: Mapping[str, Any]) -> str:
    columns = report["protocols"]
    rows = [["", *(_plain(str(each["threshold"].get("source"))) for each in columns)]]
    rows.append(["threshold from", *(_plain(str(each["threshold"].get("threshold_from", ""))) for each in columns)])
    for key in _FIGURES:
        if any(key in each["figures"] for each in columns):
            title, unit = AT_THRESHOLD[key]
            rows.append([title, *(_cell(each["figures"].get(key), unit) for each in columns)])
    for key in _OF_ALL:
        if key in report["figures"]:
            title, unit = OF_ALL[key]
            rows.append([title, _cell(report["figures"][key], unit), *[""] * (len(columns) - 1)])
    split = f"On {report.get('images', '?')} images, split {report.get('split', '?')}"
    interval = report.get("interval")
    head = f"{split}; in brackets {interval}." if interval else f"{split}."
    return f"{head}\n\n{_rows(rows)}"


def _cell(figure: Mapping[str, Any] | None, unit: str) -> str:
    if not figure or figure.get("value") is None:
        return "–"
    digits = 1 if unit == PER_CENT else 3
    shown = f"{figure['value']:.{digits}f}{' %' if unit == PER_CENT else ''}"
    low, high = figure.get("low"), figure.get("high")
    return shown if low is None or high is None else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def _licence(card: Card) -> str:
    backbone = card.get("backbone", {})
    return (
        f"The backbone {_code(str(backbone.get('name', '?')))} came with weights under: "
        f"{_plain(str(backbone.get('licence', 'not stated')))}. What was trained on top may also depend on "
        "the licence of the images."
    )


def _table(pairs: Any) -> str:
    return _rows([["", ""], *([title, _plain(text)] for title, text in pairs)])


def _rows(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text as Markdown shows it, whatever names of files and classes hold."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A name between back quotes, of which a name with some has more around it than in it."""
    flat = " ".join(text.split()).replace("|", "&#124;") or " "
    longest = max((len(each) for each in re.findall("`+", flat)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{flat}{space}{fence}"
