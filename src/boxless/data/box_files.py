"""Lists of boxes that stand alone: what the maps of any program are scored against, and pseudo-boxes.

Three formats, known by their content:

- CSV with the header ``path,x0,y0,x1,y1``, one line for each box, as ``boxes.csv`` has it; ``name`` for ``path`` will
  do, as in the CSV files that predictions are written to. The columns ``width,height`` give sizes, and a column
  ``split`` parts the lines. An image without a box has four empty fields. Other columns are not read.
- COCO JSON. Crowd regions do not count as boxes, since they are not one object.
- wsolevaluation metadata: the folder of a split with ``localization.txt``, the folder above, or such a file itself.
  ``without_box.txt``, which boxless writes, names images without a box that ``image_ids.txt`` cannot hold.

Corners stay as the file gives them: half-open in the first two, while in wsolevaluation's files the last pixel counts
in some data sets (ILSVRC) and not in others (CUB), so that there a box one pixel wide may have equal corners.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boxless.data._box_readers import Content, Line, read_content
from boxless.data.images import read_size
from boxless.data.listing import Numbers, is_file, missing_images, some
from boxless.data.splits import SPLITS, split_of
from boxless.data.truth import checked_box
from boxless.errors import DataError, MissingTruthError, UnknownNameError

if TYPE_CHECKING:
    from boxless.types import Boxes


@dataclass(frozen=True, slots=True)
class BoxFile:
    """The boxes and sizes of the images that a file lists; both have the same names in the file's order."""

    boxes: dict[str, Boxes]  # image name -> (n, 4) float64 xyxy in original upright pixels; (0, 4) if it has no box
    sizes: dict[str, tuple[int, int]]  # image name -> (width, height) of the upright image
    source: str  # where they come from
    left_out: tuple[str, ...] = ()  # images for which pseudo-boxes say that nothing was found; in neither table above
    problems: tuple[str, ...] = ()  # what the user should know, one sentence each


def read_box_file(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str = "test",
    pseudo: bool = False,
    pictures: Mapping[str, Path] | None = None,
) -> BoxFile:
    """Read a file or folder of boxes.

    Args:
        path: A CSV file, a COCO JSON file, or wsolevaluation metadata.
        images: The folder that the listed paths are relative to; needed only where the file does not say the images'
            sizes, which are then taken from the pictures.
        split: Which split is wanted, where the source holds several: a folder above those of splits, or a CSV file
            with a column ``split``.
        pseudo: Whether these are pseudo-boxes. An image with the box 0,0,0,0, or with none, is one where nothing was
            found: it is left out and named in ``left_out``. Among true boxes 0,0,0,0 is refused.
        pictures: Pictures by name, for those that do not lie under ``images`` by that name, such as frames of videos.

    Raises:
        DataError: The source is missing or of no known format, a size is not to be had, or a line is wrong; the message
            names file and line.
        MissingTruthError: There is no box in it at all.
        UnknownNameError: There is no such split.
    """
    place = Path(path).expanduser()
    folder = None if images is None else Path(images).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images; check the path.")
    if split_of(split) is None:
        raise UnknownNameError("split", split, SPLITS)
    content = read_content(place, folder, str(split_of(split)))
    lines, left_out = _lines_to_use(content, pseudo)
    content.paths.update({name: each for name, each in (pictures or {}).items() if name in content.paths})
    kept = [name for name in content.paths if name not in left_out]
    if not lines:
        raise MissingTruthError(
            f"{content.source}: no box is there for any of the {len(content.paths)} images listed "
            "(lines that name masks do not count); give a file with boxes."
        )
    _complete_sizes(content, kept, folder)
    boxes: dict[str, list[Numbers]] = defaultdict(list)
    for line in lines:
        size = content.sizes[line.name]
        boxes[line.name].append(
            checked_box(line.corners, line.where, size=size, last_pixel_counts=content.last_pixel_counts)
        )
    return BoxFile(
        {name: np.array(boxes.get(name, []), dtype=np.float64).reshape(-1, 4) for name in kept},
        {name: content.sizes[name] for name in kept},
        content.source,
        tuple(left_out),
        tuple(content.problems),
    )


def _lines_to_use(content: Content, pseudo: bool) -> tuple[list[Line], dict[str, None]]:
    """The boxes, and the images to leave out."""
    nothing = {line.name: line.where for line in content.lines if line.is_nothing}
    if not pseudo:
        if nothing:
            raise DataError(
                f"{next(iter(nothing.values()))}: the box 0,0,0,0 is no true box (in pseudo-box files it says that "
                "nothing was found); remove it, or give the file as pseudo-boxes."
            )
        return content.lines, {}
    lines = [line for line in content.lines if not line.is_nothing]
    found = {line.name for line in lines}
    if both := [name for name in nothing if name in found]:
        raise DataError(
            f"{nothing[both[0]]}: {both[0]} has the box 0,0,0,0, which says that nothing was found, and another; "
            "remove one."
        )
    return lines, {name: None for name in content.paths if name not in found}


def _complete_sizes(content: Content, names: Sequence[str], images: Path | None) -> None:
    """Take from the pictures what sizes the file does not say."""
    unknown = [name for name in names if name not in content.sizes]
    if unknown and images is None:
        raise DataError(
            f"{content.source}: the size is not known of {len(unknown)} of {len(names)} images ({some(unknown)}); "
            f"give the folder of the pictures with --images DIR, or {content.size_hint}."
        )
    absent = {f"{content.source}, {name}": str(content.paths[name]) for name in unknown}
    if missing := {where: path for where, path in absent.items() if not is_file(path)}:
        raise DataError(missing_images(missing, "check the folder of the pictures, or mend the path"))
    content.sizes.update({name: read_size(content.paths[name]) for name in unknown})
