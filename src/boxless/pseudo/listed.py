"""Boxes of any other program as proposals, such as those of a zero-shot detector: of several one is chosen."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import Tensor

from boxless.data._box_readers import Line, read_content
from boxless.data.documents import read_json
from boxless.data.images import read_size
from boxless.data.listing import Numbers, some
from boxless.data.sources.coco import CocoDocument, box_from_corner
from boxless.data.truth import checked_box
from boxless.errors import ConfigError, DataError
from boxless.ops.boxes import clip, scale
from boxless.pseudo.annotators import Material
from boxless.pseudo.choosing import Choosing, Share
from boxless.pseudo.records import Floats
from boxless.pseudo.selection import Pool, Score
from boxless.types import Item


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file says of one image."""

    boxes: Floats  # (n, 4), in original pixels
    scores: Floats | None  # (n,); None where a box has none


@final
class ListedBoxes(Choosing):
    """Of the boxes that a file has of an image one, chosen by their scores, the peak of a map and a classifier.

    Files: CSV with the columns ``path,x0,y0,x1,y1`` and perhaps ``score``; COCO JSON, whose annotations may have a
    ``score``; a list of COCO results, each with ``image_id``, ``bbox`` and perhaps ``score``; wsolevaluation metadata.
    Classes that a file names are not read. An image without a box there has none.

    Args:
        path: The file; or a folder of wsolevaluation metadata.
        ids: For a list of results whose ``image_id`` is a number: the COCO file that says which image that is.
        split: Of which split the boxes are, where a file says so.
        share: See `Choosing`; scores of the file are the objectness.
        score: See there.
    """

    supervision = "boxes of a file, from wherever these are"

    def __init__(
        self, *, path: str, ids: str | None = None, split: str = "val", share: Share = 0.2, score: Score = "product"
    ) -> None:
        super().__init__(share=share, score=score)
        self.path, self.ids, self.split = Path(path).expanduser(), ids, split
        self._table: dict[str, Listed] | None = None

    def proposed_from(self) -> Mapping[str, Any]:
        """See :class:`Choosing`; the boxes count by what they are."""
        said = repr(sorted((name, _plain(listed)) for name, listed in self._all().items()))
        return {"by": "file", "boxes": hashlib.blake2b(said.encode(), digest_size=16).hexdigest()}

    def admit(self, items: Sequence[Item]) -> None:
        """See :class:`boxless.pseudo.annotators.Annotator`."""
        known = {name for item in items for name in (item.name, str(item.path))}
        if other := [name for name in self._all() if name not in known]:
            raise DataError(
                f"{self.path}: it has boxes of {len(other):,} images that are not in the data ({some(other)}); paths "
                f"are relative to the data's folder, such as {items[0].name if items else 'class/1.jpg'}. Leave those "
                "lines out, or name the split that they are of."
            )

    def pools(self, images: Tensor, material: Material, items: Sequence[Item]) -> list[Pool]:
        """See :class:`Choosing`."""
        if len(items) != len(images):
            raise ConfigError(f"annotator file: got {len(items)} names for {len(images)} images; it needs each one's.")
        return [self._pool(item, (images.shape[3], images.shape[2])) for item in items]

    def _pool(self, item: Item, size: tuple[int, int]) -> Pool:
        """In pixels of the image at ``size``, (width, height)."""
        table = self._all()
        listed = table.get(item.name) or table.get(str(item.path))
        if listed is None:
            return Pool(np.zeros((0, 4)))
        boxes = clip(scale(listed.boxes, read_size(item.path), size), size)
        solid = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return Pool(boxes[solid], None if listed.scores is None else listed.scores[solid])

    def _all(self) -> dict[str, Listed]:
        """The boxes by the image's name, read once."""
        if self._table is None:
            found: dict[str, list[tuple[Numbers, float | None]]] = defaultdict(list)
            for line, corners in self._lines():
                found[line.name].append((corners, _score(line)))
            self._table = {name: _listed(boxes) for name, boxes in found.items()}
            if not self._table:
                raise DataError(f"{self.path}: it has no box of any image; give a file with boxes.")
        return self._table

    def _lines(self) -> Iterator[tuple[Line, Numbers]]:
        document = read_json(self.path) if self.path.suffix.lower() == ".json" else None
        if document is not None:
            lines = _results(self.path, document, self.ids) if isinstance(document, list) else _annotations(self.path)
            for line in lines:
                if list(line.corners) != [0, 0, 0, 0]:
                    yield line, box_from_corner(line.corners, line.where)
            return
        content = read_content(self.path, None, self.split)
        for line in content.lines:
            if not line.is_nothing:
                yield line, checked_box(line.corners, line.where, last_pixel_counts=content.last_pixel_counts)


def _annotations(path: Path) -> Iterator[Line]:
    """Of a COCO file; corners are as it has them: x, y, width, height."""
    document = CocoDocument(path)
    for number, each in enumerate(document.annotations):
        if each.get("bbox") and not each.get("iscrowd"):
            name = str(document.images[each["image_id"]]["file_name"])
            yield Line(
                f"{path}: annotation {each.get('id', f'number {number}')}", name, each["bbox"], each.get("score")
            )


def _results(path: Path, results: Iterable[Any], ids: str | None) -> Iterator[Line]:
    """Of a list of COCO results; corners as above."""
    names = {} if ids is None else {key: str(each["file_name"]) for key, each in CocoDocument(Path(ids)).images.items()}
    for number, each in enumerate(results):
        where = f"{path}: result number {number}"
        if not isinstance(each, dict) or not isinstance(each.get("image_id"), str | int) or not each.get("bbox"):
            raise DataError(f"{where}: expected an object with image_id and bbox, got {str(each)[:80]}.")
        image = each["image_id"]
        if image not in names and not isinstance(image, str):
            known = f"is none of {ids}" if ids else "is a number, which names no image"
            raise DataError(f"{where}: image_id {image} {known}; name the COCO file that has it as pseudo.ids=FILE.")
        yield Line(where, names.get(image, str(image)), each["bbox"], each.get("score"))


def _score(line: Line) -> float | None:
    if line.score in (None, ""):
        return None
    try:
        score = float(line.score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{line.where}: the score {line.score!r} is no number; mend it, or leave it out.")
    return score


def _listed(found: Sequence[tuple[Numbers, float | None]]) -> Listed:
    scores = [score for _, score in found if score is not None]
    boxes = np.array([corners for corners, _ in found], dtype=np.float64).reshape(-1, 4)
    return Listed(boxes, np.array(scores) if len(scores) == len(found) else None)


def _plain(listed: Listed) -> tuple[Any, Any]:
    return listed.boxes.tolist(), None if listed.scores is None else listed.scores.tolist()
