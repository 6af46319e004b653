"""`boxless report`: a run measured once, and the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.images import is_image, walk
from boxless.errors import ConfigError, DataError
from boxless.files import atomic_write
from boxless.listener import Listener
from boxless.protocol.evaluate import evaluate
from boxless.protocol.figures import AT_THRESHOLD, OF_ALL
from boxless.protocol.provenance import of_run
from boxless.protocol.report import Comparison, Report, compare
from boxless.protocol.scoring import FIELD_LEVEL, LEVELS
from boxless.report.card import facts, training
from boxless.report.gallery import Gallery, Shown
from boxless.report.page import as_json, render
from boxless.report.pictures import Pictures, embed

if TYPE_CHECKING:
    from boxless.metrics.bootstrap import Estimate
    from boxless.predict.localizer import Localizer

NAME = "report.html"
LIMIT = 48_000_000  # bytes of a page: what opens at once on a phone too, and passes most mail servers
IMAGES = 1000
_PAGE = 3_000_000  # bytes of scripts, style and tables; plotly has two thirds
_HEADLINES = ("box_accuracy", "mean_iou", "top1_localization", "class_accuracy")


@dataclass(frozen=True, slots=True)
class Written:
    """The page of a run, and what was measured for it."""

    path: Path
    report: Report | None  # None where no class of the images is known
    comparison: Comparison | None
    images: int  # that were looked at
    shown: int  # of them in the page
    size: int  # bytes
    refused: tuple[tuple[str, str], ...]  # (name, reason)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A run that has looked at all images."""

    localizer: Localizer
    folder: Path
    gallery: Gallery
    report: Report | None
    refused: tuple[tuple[str, str], ...]


def write_report(
    run: str | Path,
    source: str | Path | None = None,
    *,
    split: str = "test",
    compare_with: str | Path | None = None,
    out: str | Path | None = None,
    images: int = IMAGES,
    format: str = "auto",  # noqa: A002
    folder: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    trust: bool = False,
    listener: Listener | None = None,
) -> Written:
    """Measure a run and write one HTML file that shows it, and that needs no other file and no network.

    Args:
        run: A run folder.
        source: Labelled data as for `boxless.evaluate`, or a folder of images of no known class, of which nothing is
            measured. By default the data that the run was trained on.
        split: ``train``, ``val`` or ``test``.
        compare_with: Another run, measured on the same images and shown beside the first.
        out: The file; by default ``report.html`` in the run folder.
        images: How many images the page may show; of more it shows a draw.
        format: The format of ``source``.
        folder: Where the pictures are, for formats that list them.
        device: Where to compute.
        batch_size: Images in one forward pass.
        trust: Whether code that the run's recipe names may be loaded.
        listener: Hears of the progress.

    Raises:
        ConfigError: ``images`` is not positive, or what `boxless.evaluate` refuses.
        DataError: Data that cannot be used.
        RunError: The run cannot be opened, or the file cannot be written.
    """
    if images < 1:
        raise ConfigError(f"images: got {images}; show at least one.")
    listener = listener or Listener()
    how = {"split": split, "format": format, "images": folder, "batch_size": batch_size}
    runs = [Path(run).expanduser(), *([Path(compare_with).expanduser()] if compare_with else [])]
    looked = [_look(each, source, how, images, {"device": device, "trust": trust}, listener) for each in runs]
    first, *others = looked
    comparison = None
    if others and first.report is not None and others[0].report is not None:
        comparison = compare(first.report, others[0].report)
    target = Path(out).expanduser() if out is not None else first.folder / NAME
    shown, size = _write(target, looked, comparison, split if first.report else "", listener)
    refused = {name: reason for each in looked for name, reason in each.refused}
    return Written(target, first.report, comparison, first.gallery.seen, shown, size, tuple(refused.items()))


def _write(
    path: Path, looked: list[_Looked], comparison: Comparison | None, split: str, listener: Listener
) -> tuple[int, int]:
    """Write the page; how many images it shows, and its size in bytes."""
    shown, told = _joined(looked)
    told = told[: _fitting(told, (LIMIT - _PAGE) // 2)]
    data = _data(looked, told)
    room = LIMIT - _PAGE - len(as_json(data).encode("utf-8", "backslashreplace"))
    pictures = embed([each.path for each in shown[: len(told)]], room, listener)
    data["images"] = told[: len(pictures.texts)]
    page = render(_facts(looked, comparison, pictures, split), data, pictures.texts)
    with atomic_write(path, "wb") as file:
        file.write(page)
    return len(pictures.texts), len(page)


def _fitting(told: Sequence[Mapping[str, Any]], room: int) -> int:
    """How many images leave room for their pictures: boxes of all thresholds may be many, of large maps."""
    sizes = np.cumsum([len(as_json(each).encode("utf-8", "backslashreplace")) + 1 for each in told])
    return max(1, int(np.searchsorted(sizes, room, side="right")))


def _look(
    folder: Path,
    source: str | Path | None,
    how: Mapping[str, Any],
    count: int,
    opening: Mapping[str, Any],
    listener: Listener,
) -> _Looked:
    from boxless.predict.localizer import Localizer

    localizer = Localizer.load(folder, **opening)
    run = localizer.run
    gallery = Gallery(run.threshold, count, multi_label=run.multi_label)
    if source is None or not _is_unsorted(source):
        report = evaluate(localizer, source, **how, watch=gallery, listener=listener)
        return _Looked(localizer, folder, gallery, report, report.refused)
    total = sum(map(is_image, walk(Path(source).expanduser())))
    listener.begin("predicting", total)
    for prediction in localizer.predict(Path(source).expanduser(), maps=True, batch_size=how["batch_size"]):
        gallery.add(prediction)
        listener.advance()
    listener.end()
    refused = tuple((name, str(error)) for name, error in localizer.refused)
    return _Looked(localizer, folder, gallery, None, refused)


def _is_unsorted(source: str | Path) -> bool:
    """Whether it is a folder of images none of which lies in a folder that could be its class."""
    path = Path(source).expanduser()
    images = [name for name in walk(path) if is_image(name)] if path.is_dir() else []
    return bool(images) and not any("/" in name for name in images)


def _names(looked: Sequence[_Looked]) -> list[str]:
    """Of one run the end of its path; of two what tells their paths apart, from the end."""
    parts = [list(each.folder.absolute().parts) for each in looked]
    if len(parts) > 1 and parts[0] != parts[1]:
        while len({each[-1] for each in parts}) == 1:
            parts = [each[:-1] for each in parts]
        return ["/".join(each[-1:]) for each in parts]
    return ["/".join(each[-2:]) for each in parts]


def _joined(looked: list[_Looked]) -> tuple[list[Shown], list[dict[str, Any]]]:
    """The images that all runs kept, and what the page is told of them."""
    others = [{each.name: each for each in other.gallery.images()} for other in looked[1:]]
    shown = [each for each in looked[0].gallery.images() if all(each.name in other for other in others)]
    if not shown:
        raise DataError("report: no image could be read, so there is nothing to show.")
    told = []
    for each in shown:
        entry = each.to_dict()
        entry["answers"] += [other[each.name].answer() for other in others]
        told.append(entry)
    return shown, told


def _data(looked: list[_Looked], images: list[dict[str, Any]]) -> dict[str, Any]:
    """All that the scripts read."""
    first = looked[0]
    return {
        "runs": [
            {"name": name, "folder": quote(str(each.folder)), **_rule(each)}
            for name, each in zip(_names(looked), looked, strict=True)
        ],
        "classes": list(first.localizer.run.classes),
        "curves": [_curve(each) for each in looked],
        "training": [training(each.folder) for each in looked],
        "total": first.gallery.seen,
        "images": images,
    }


def _rule(looked: _Looked) -> dict[str, Any]:
    threshold = looked.localizer.run.threshold
    return {"threshold": None if isinstance(threshold, str) else threshold, "from": of_run(looked.localizer.run)[1]}


def _curve(looked: _Looked) -> dict[str, Any] | None:
    """Box accuracy and mean IoU of all images at each threshold; None without a true box."""
    report = looked.report
    if report is None or np.isnan(report.accuracy).any():
        return None
    accuracy = {f"{level:g}": np.round(row, 2).tolist() for level, row in zip(LEVELS, report.accuracy, strict=True)}
    return {"accuracy": accuracy, "iou": np.round(report.mean_iou, 4).tolist()}


def _facts(looked: list[_Looked], comparison: Comparison | None, pictures: Pictures, split: str) -> dict[str, Any]:
    """All that the template shows."""
    first, run, names = looked[0], looked[0].localizer.run, _names(looked)
    report = first.report
    tables = [] if report is None else [(report.header(), report.rows())]
    return {
        "title": " and ".join(names),
        "looked": [
            {"name": name, "card": dict(each.localizer.run.card), "facts": facts(each.localizer.run.card)}
            for name, each in zip(names, looked, strict=True)
        ],
        "method": run.card["method"],
        "backbone": run.card["backbone"]["name"],
        "split": split,
        "headlines": _headlines([each.report for each in looked]),
        "tables": tables,
        "comparison": comparison,
        "warnings": [warned.sentence("maps") for warned in first.gallery.warnings.all()],
        "refused": first.refused,
        "confusion": _confusion(first),
        "total": first.gallery.seen,
        "shown": len(pictures.texts),
        "side": pictures.side,
        "boxed": _curve(first) is not None,
        "level": FIELD_LEVEL,
        "names": names,
    }


def _headlines(reports: Sequence[Report | None]) -> list[dict[str, Any]]:
    """The figures that stand on top, of each run at its own threshold, with their intervals."""
    titles = AT_THRESHOLD | OF_ALL
    figures = [{**each.figures, **each.columns[0].figures} if each else {} for each in reports]
    found = []
    for key in _HEADLINES:
        estimates = [each[key] for each in figures if key in each and not np.isnan(each[key].value)]
        if len(estimates) == len(figures):
            title, unit = titles[key]
            found.append({"title": title, "values": [_shown(each, unit) for each in estimates]})
    return found


def _shown(estimate: Estimate, unit: str) -> tuple[str, str]:
    """A figure and its interval."""
    form = ".1f" if unit else ".3f"
    interval = "" if np.isnan(estimate.low) else f"{estimate.low:{form}} to {estimate.high:{form}}"
    return f"{estimate.value:{form}} {unit}".rstrip(), interval


def _confusion(looked: _Looked) -> dict[str, Any] | None:
    """How often each class was named for each; only the pairs that were confused where there are many classes."""
    counts, classes = looked.gallery.confusion, looked.localizer.run.classes
    if not counts:
        return None
    seen = sorted({place for pair in counts for place in pair})
    pairs = [(count, *pair) for pair, count in counts.items() if pair[0] != pair[1]]
    if len(seen) <= 20:
        rows = [{"place": a, "cells": [counts[a, b] for b in seen]} for a in seen]
        return {"names": classes, "seen": seen, "rows": rows, "pairs": []}
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    return {"names": classes, "seen": seen, "rows": [], "pairs": pairs[:30]}
