"""Class-per-folder trees of videos: ``dog/clip.mp4``, or the frames of one in a folder, ``dog/clip-1/0001.jpg``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from boxless.data.boxed_frames import BoxedFrame, boxes_of_frames, read_boxed_frames
from boxless.data.frames import Frames, file_of, spread, take_frames
from boxless.data.images import is_image
from boxless.data.listing import Entry, Listing, Numbers, some
from boxless.data.sources.folder import files_by_class, folders_in, report_left_out, split_folders
from boxless.data.truth import BOXES_FILE
from boxless.errors import DataError
from boxless.listener import Listener
from boxless.predict.video_io import is_video
from boxless.types import Shot

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

MEASURED = 8  # frames of each shot in val and test, of videos for which no table of boxes says which


@dataclass(slots=True)
class _Clip:
    """A video: a file, or a folder with frames, perhaps in further folders, one for each shot."""

    name: str
    label: str
    split: str | None
    shots: dict[str, list[str]] = field(default_factory=dict)  # folder -> its frames; none of a file


@dataclass(frozen=True, slots=True)
class _Frame:
    path: Path
    name: str
    shot: int
    kept: bool  # or else it is there only since boxes.csv names it


@dataclass(slots=True)
class _Tree:
    """The files of a folder, by what they are."""

    clips: dict[str, _Clip] = field(default_factory=dict)
    flat: list[str] = field(default_factory=list)  # images that lie in no folder of frames
    loose: list[str] = field(default_factory=list)  # in no class folder
    skipped: list[str] = field(default_factory=list)


class VideoSource:
    """One folder per class, of videos or of folders with the frames of one. Boxes may lie in ``boxes.csv`` at the root.

    Of a video file some frames are taken, see `boxless.data.frames`; a scene cut begins a new shot. The first folder
    below the class is a video, each folder with images in it one shot. All frames serve to learn from. Val and test
    have the frames that ``boxes.csv`` names, and of videos that it does not name 8 of each shot.
    """

    takes_images = False

    def __init__(self) -> None:
        self.listener = Listener()

    def recognise(self, path: Path) -> str | None:
        """By video files in class folders, if no images lie beside them."""
        if not path.is_dir():
            return None
        splits = split_folders(path)
        tops = [path / name for name in splits] or [path]
        videos = [_has_videos(top / label) for top in tops for label in folders_in(top)]
        if None in videos or True not in videos:
            return None
        return "a folder with one folder of videos per class" + (f" in each of {', '.join(splits)}" if splits else "")

    def read(self, path: Path, images: Path | None = None) -> Listing:
        """Videos to their frames."""
        tree = _sorted(path)
        if not tree.clips:
            raise DataError(_nothing(path, tree))
        rows = read_boxed_frames(path)
        _check_named(path, rows, tree.clips)
        wanted: dict[str, list[int]] = {clip.name: [] for clip in tree.clips.values() if not clip.shots}
        for row in rows:
            if row.frame is not None:
                wanted[row.path].append(row.frame)
        taken = take_frames([(path / name, frames) for name, frames in wanted.items()], self.listener)
        listing = Listing(path, [])
        _fill(listing, tree, dict(zip(wanted, taken, strict=True)), rows)
        if not listing.entries:
            raise DataError(f"{path}: no video in it can be read: {some(map(str, taken))}")
        report_left_out(listing, tree.loose, tree.skipped)
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """``boxes.csv`` at the root: frames of video files by number, other frames by their files."""
        table = catalog.root / BOXES_FILE
        return (boxes_of_frames(catalog), str(table)) if table.is_file() else None


def _has_videos(folder: Path) -> bool | None:
    """Whether there are video files in a class folder; None if there are images, or if it cannot be read."""
    found = False
    try:
        with os.scandir(folder) as files:
            for each in files:
                if is_image(each.name) and not each.name.startswith("."):
                    return None
                found = found or is_video(each.name)
    except OSError:
        return None
    return found


def _sorted(path: Path) -> _Tree:
    tree = _Tree()
    for name, label, split in files_by_class(path):
        below = name.split("/")[(split is not None) + 1 :]  # the class
        if not (is_video(name) or is_image(name)):
            if label:
                tree.skipped.append(name)
        elif not label:
            tree.loose.append(name)
        elif is_video(name):
            tree.clips[name] = _Clip(name, label, split)
        elif len(below) > 1:
            video, folder = name.removesuffix("/".join(["", *below[1:]])), name.rpartition("/")[0]
            tree.clips.setdefault(video, _Clip(video, label, split)).shots.setdefault(folder, []).append(name)
        else:
            tree.flat.append(name)
    return tree


def _check_named(path: Path, rows: Sequence[BoxedFrame], clips: Mapping[str, _Clip]) -> None:
    """See that ``boxes.csv`` names videos and files of frames that are there."""
    files = {name for clip in clips.values() for frames in clip.shots.values() for name in frames}
    for row in rows:
        clip = clips.get(row.path)
        if row.path in files if row.frame is None else clip is not None and not clip.shots:
            continue
        if clip is None:
            known = "no video" if row.frame is not None else "no frame"
            mend = f"give the path relative to {path}, or remove the line"
        elif clip.shots:
            known, mend = "a folder of frames", "give the file of the frame as the path, and no number"
        else:
            known, mend = "a video", "say which frame of it in a column 'frame', from 0"
        raise DataError(f"{row.where}: a box for {row.path!r}, which is {known} of these data; {mend}.")


def _fill(listing: Listing, tree: _Tree, taken: Mapping[str, Frames | str], rows: Sequence[BoxedFrame]) -> None:
    """List the frames of each video, and say what is wrong with some."""
    for row in rows:
        _check_there(row, taken)
    named = {row.name for row in rows}
    for clip in tree.clips.values():
        found = taken.get(clip.name)
        if not isinstance(found, str):
            frames = list(_of_folders(listing.root, clip) if found is None else _of_file(clip, found))
            _add(listing, clip, frames, named.intersection(frame.name for frame in frames))
    broken = [f"{name} ({found.broken})" for name, found in taken.items() if isinstance(found, Frames) and found.broken]
    if broken:
        listing.problems.append(f"videos of which only a part can be decoded, which is used: {some(broken)}")
    if left_out := [found for found in taken.values() if isinstance(found, str)]:
        listing.problems.append(f"videos are left out: {some(left_out)}")
    if tree.flat:
        listing.problems.append(f"left out, lying in no folder of frames: {some(tree.flat)}")


def _check_there(row: BoxedFrame, taken: Mapping[str, Frames | str]) -> None:
    found = None if row.frame is None else taken[row.path]
    if isinstance(found, Frames) and row.frame not in found.named:
        broken = f" ({found.broken})" if found.broken else ""
        raise DataError(
            f"{row.where}: a box for frame {row.frame} of {row.path!r}, which has {found.count} frames that can be "
            f"decoded, 0 to {found.count - 1}{broken}; mend the number or the video, or remove the line."
        )


def _of_file(clip: _Clip, found: Frames) -> Iterator[_Frame]:
    kept = set(found.kept)
    for number in sorted(kept.union(found.named)):
        file = file_of(number)
        yield _Frame(found.folder / file, f"{clip.name}/{file}", found.shot_of(number), number in kept)


def _of_folders(root: Path, clip: _Clip) -> Iterator[_Frame]:
    for shot, folder in enumerate(sorted(clip.shots, key=_by_number)):
        for name in sorted(clip.shots[folder], key=_by_number):
            yield _Frame(root / name, name, shot, True)


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key by which 9.jpg comes before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _add(listing: Listing, clip: _Clip, frames: Sequence[_Frame], named: set[str]) -> None:
    """List the frames of one video, and which of them serve for what."""
    kept = [frame for frame in frames if frame.kept]
    spared = {frame.name for _, shot in groupby(kept, lambda frame: frame.shot) for frame in spread([*shot], MEASURED)}
    measured = named or spared
    for frame in frames:
        shot = Shot(clip.name, frame.shot)
        listing.entries.append(Entry(frame.path, frame.name, (clip.label,), clip.split, shot))
        if not frame.kept:
            listing.only_measured.add(frame.name)
        elif frame.name not in measured:
            listing.only_learned.add(frame.name)


def _nothing(path: Path, tree: _Tree) -> str:
    if tree.flat:
        return (
            f"{path}: no video was found, but {len(tree.flat)} images that lie directly in class folders "
            f"({some(tree.flat)}); put the frames of each video into a folder of its own, or leave out --format video."
        )
    if tree.loose:
        return f"{path}: no class folders, but files that lie in none ({some(tree.loose)}); make one folder per class."
    found = f"only other files ({some(tree.skipped)})" if tree.skipped else "no files"
    return f"{path}: no video was found, {found}; expected one folder per class, of videos or of folders of frames."
