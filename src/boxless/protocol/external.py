"""The maps of any other program, scored by the same rules: no run, no network, only arrays and boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxless.data.box_files import BoxFile, read_box_file
from boxless.data.map_files import find_maps, read_map
from boxless.errors import ConfigError, DataError
from boxless.listener import Listener
from boxless.metrics.boxes import Compat, Contours, check_images
from boxless.protocol.evaluate import BOX_RULES, with_oracle
from boxless.protocol.provenance import OF_MAPS
from boxless.protocol.report import Report, make_report
from boxless.protocol.scoring import Scoring
from boxless.protocol.threshold import FIXED, ORACLE, OTSU, parse_sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 32
COMPAT_RULES = {
    "largest": "wsolevaluation: the contour of largest area",
    "all": "wsolevaluation: the best of all contours, those of holes too",
}


def evaluate_maps(
    maps: str | Path,
    boxes: str | Path,
    *,
    images: str | Path | None = None,
    split: str = "test",
    protocol: str | Sequence[str] | None = None,
    contours: Contours = "largest",
    compat: Compat | None = None,
    replicates: int = 1000,
    listener: Listener | None = None,
) -> Report:
    """Measure the maps of any program against true boxes.

    Args:
        maps: A folder of ``.npy`` files, (height, width) floats in [0, 1], named after the images; see
            `boxless.data.map_files.find_maps`.
        boxes: CSV, COCO JSON or wsolevaluation metadata; see `boxless.data.box_files.read_box_file`.
        images: Where the pictures are, for boxes without the images' sizes.
        split: Which split's boxes, where they are of several.
        protocol: ``otsu``, ``fixed=0.35``, ``oracle-test`` or several of them; by default the first
            (without ``compat``) and the last. A threshold that was found on the maps
            of a validation split is carried over as a fixed one.
        contours: The candidates: the box of the ``largest`` component, or those of ``all``.
        compat: ``wsolevaluation`` for figures that equal its figures, of 224 x 224 maps.
        replicates: Of the bootstrap that intervals come from; 0 leaves them out.
        listener: Hears of the progress.

    Raises:
        ConfigError: A threshold source that needs a run, or that the rule does not know.
        DataError: An image without a map, or boxes that cannot be read. A map that cannot be is refused in the report.
    """
    listener = listener or Listener()
    rules = parse_sources(_sources(protocol, compat), OTSU)
    if needing := [rule.source for rule in rules if rule.source not in (OTSU, FIXED, ORACLE)]:
        raise ConfigError(
            f"protocol: {', '.join(needing)} needs a run; for maps alone evaluate those of the validation split with "
            f"{ORACLE}, and carry its threshold over with fixed=..."
        )
    truth = read_box_file(boxes, images=images, split=split)
    for problem in truth.problems:
        listener.note(problem)
    paths = find_maps(maps, truth.boxes)
    scoring = Scoring(rules, contours=contours, compat=compat, replicates=replicates)
    refused: list[tuple[str, str]] = []
    listener.begin("scoring maps", len(paths))
    without = 0
    for batch in _batches(paths, refused, listener):
        without += _score(batch, truth, scoring, refused)
    listener.end()
    return make_report(
        str(maps),
        scoring,
        [with_oracle(rule, scoring, str(boxes)) for rule in rules],
        split=str(boxes),
        truth_source=truth.source,
        box_rule=(COMPAT_RULES if compat else BOX_RULES)[contours].removesuffix(" of the map of the true class"),
        without_box=without,
        refused=refused,
        selected_by=OF_MAPS,
    )


def _sources(protocol: str | Sequence[str] | None, compat: Compat | None) -> list[str]:
    """The sources that are asked for; by default, and with ``all``, what maps alone can have."""
    every = [ORACLE] if compat else [OTSU, ORACLE]
    names = protocol.split(",") if isinstance(protocol, str) else list(every if protocol is None else protocol)
    return [each for name in names for each in (every if name.strip() == "all" else [name])]


def _batches(
    paths: dict[str, Path], refused: list[tuple[str, str]], listener: Listener
) -> Iterator[list[tuple[str, NDArray[Any]]]]:
    """Maps of one shape, some at a time, in the order of their names in the list of boxes."""
    batch: list[tuple[str, NDArray[Any]]] = []
    for name, path in paths.items():
        listener.advance(1)
        try:
            values = read_map(path)
        except DataError as error:
            refused.append((name, str(error)))
            continue
        if batch and (len(batch) == BATCH or batch[0][1].shape != values.shape):
            yield batch
            batch = []
        batch.append((name, values))
    if batch:
        yield batch


def _score(
    batch: list[tuple[str, NDArray[Any]]], truth: BoxFile, scoring: Scoring, refused: list[tuple[str, str]]
) -> int:
    """Add a batch; how many of its images have no true box."""
    good: list[tuple[str, NDArray[Any]]] = []
    for name, values in batch:
        try:
            check_images([truth.boxes[name]], [truth.sizes[name]], 1, scoring.compat)
        except DataError as error:
            refused.append((name, str(error)))
            continue
        good.append((name, values))
    names = [name for name, _ in good]
    if names:
        boxes, sizes = [truth.boxes[name] for name in names], [truth.sizes[name] for name in names]
        scoring.update(names, np.stack([values for _, values in good]), boxes, sizes)
    return sum(not len(truth.boxes[name]) for name in names)
