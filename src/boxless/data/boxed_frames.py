"""``boxes.csv`` of videos: which frames it names, for the list of what is measured, and, apart from that, their boxes.

Frames of video files are named by ``path,frame,x0,y0,x1,y1``, as in the ``frames.csv`` of a prediction: the video's
path and the frame's number, from 0. A frame that is a file of its own, in a folder of frames, is named by its path
alone, with an empty ``frame`` or without that column. Four empty corners say: looked at, and no object is there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.frames import file_of
from boxless.data.listing import Numbers, is_file, located
from boxless.data.tables import Row, read_table
from boxless.data.truth import BOX_COLUMNS, BOXES_FILE, checked_box
from boxless.errors import DataError
from boxless.predict.video_io import is_video

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

_FRAME = "frame"


@dataclass(frozen=True, slots=True)
class BoxedFrame:
    """One line of the table."""

    where: str  # file and line
    path: str  # of the video if there is a number, else of the frame's own file; relative to the data's root
    frame: int | None
    corners: tuple[str, ...]  # not looked at; empty texts if there is no object

    @property
    def name(self) -> str:
        """Of the item."""
        return self.path if self.frame is None else f"{self.path}/{file_of(self.frame)}"


def read_boxed_frames(root: Path) -> list[BoxedFrame]:
    """The lines of ``boxes.csv`` in a folder of videos; none if there is no such file.

    Raises:
        DataError: The table is wrong; the message names file and line.
    """
    table = root / BOXES_FILE
    return [_boxed(row, root) for row in read_table(table, ("path", *BOX_COLUMNS)).rows] if is_file(table) else []


def boxes_of_frames(catalog: Catalog) -> dict[str, list[Numbers]]:
    """Boxes by item name, without those of frames that the catalog does not list; no box where no object is there."""
    known = {item.name for item in catalog.items}
    boxes: dict[str, list[Numbers]] = defaultdict(list)
    for row in read_boxed_frames(catalog.root):
        found = [checked_box(row.corners, row.where)] if any(row.corners) else []
        if row.name in known:
            boxes[row.name] += found
    return dict(boxes)


def _boxed(row: Row, root: Path) -> BoxedFrame:
    written, number = row.values["path"], row.values.get(_FRAME, "")
    path, name = located(root, written)
    corners = tuple(row.values[column] for column in BOX_COLUMNS)
    if not number:
        video, _, file = name.rpartition("/")
        stem = file.removesuffix(".jpg")
        if is_video(video) and _is_number(stem) and file == file_of(int(stem)) and not is_file(path):
            return BoxedFrame(row.where, video, int(stem), corners)  # as items are called, and so predictions of them
        return BoxedFrame(row.where, name, None, corners)
    if not _is_number(number):
        raise DataError(
            f"{row.where}: the frame is {number!r}; expected its number, a whole one from 0, as in the frames.csv that "
            "'boxless predict' writes for a video."
        )
    return BoxedFrame(row.where, name, int(number), corners)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # digits: no video has more frames
