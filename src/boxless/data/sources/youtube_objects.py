"""YouTube-Objects, videos of ten moving things, in the layouts of its releases v1 and v2.2.

v1 (Prest et al., CVPR 2012) has ``<class>/data/<video>/shots/<shot>/frame0001.jpg``, the boxes of a frame beside it in
``frame0001.jpg_sticks.mat`` (``coor``, a cell for each box: x0, y0, x1, y1), and the numbers of the training and test
videos in ``<class>/sets/train.txt`` and ``test.txt``. v2.2 (Kalogeiton, Ferrari and Schmid, TPAMI 2016) has all frames
of a class as ``<class>/00000001.jpg``; first frame, last frame and video of every shot in the rows of
``Ranges/ranges_<class>.mat``; and boxes in ``bb_gtTraining_<class>.mat`` and ``bb_gtTest_<class>.mat``, both below
``GroundTruth/<class>``: structs of a name such as ``car00005116`` and rows of x0, y0, x1, y1. There a video belongs to
the split of its boxes.

Val and test have the frames with boxes alone, train whole shots. The releases have no validation split; as in tables
II-1 to II-3 of the thesis it is that of TCAM (Belharbi et al., WACV 2023): five training videos of a class in v1, in
v2.2 the first three with boxes, although the papers say random ones.

The data sets themselves could not be had to check this. The layouts are what the code reads that published TCAM
(github.com/sbelharbi/tcam-wsol-video) and, of both, code for other methods. The lists of frames and boxes published
with it and with CoLo-CAM (github.com/sbelharbi/colo-cam) settle the splits and what the numbers mean: of v1 27 test
videos with 396 boxes on 346 frames, 50 for val with 347 on 325 and 78 to learn from; of v2.2 49 with 2,667 on 1,781, 30
with 1,177 on as many, and 76. The corners of v2.2 run from 1 to the frame's side, so that the last pixel counts. Those
of v1 are fractions of pixels; some lie outside the frame, and one box has its sides exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boxless.data.images import read_size
from boxless.data.listing import Entry, Listing, Numbers, some
from boxless.data.matlab import Value, numbers_in, read_matlab, structs
from boxless.data.truth import checked_box
from boxless.errors import DataError
from boxless.types import Shot

if TYPE_CHECKING:
    from boxless.data.catalog import Catalog

RANGES, TRUTH, STICKS = "Ranges", "GroundTruth", "_sticks.mat"
_TRUTH_OF = {"train": "bb_gtTraining", "test": "bb_gtTest"}  # v2.2: the files' and variables' names, by split
HELD_OUT = {"v1": 5, "v2.2": 3}  # videos of a class for val
# The videos of v1 for val, from folds/wsol-done-right-splits/YouTube-Objects-v1.0/val of the repositories named above.
VALIDATION = {
    "aeroplane": (1, 4, 5, 8, 11),
    "bird": (2, 8, 14, 15, 16),
    "boat": (3, 6, 7, 8, 10),
    "car": (1, 5, 6, 7, 9),
    "cat": (3, 9, 13, 16, 19),
    "cow": (5, 14, 16, 19, 22),
    "dog": (10, 12, 17, 22, 24),
    "horse": (7, 11, 13, 18, 24),
    "motorbike": (3, 4, 5, 8, 13),
    "train": (20, 24, 26, 27, 29),
}


@dataclass(slots=True)
class _Video:
    label: str
    number: int
    split: str = "train"  # or "test", as published
    shots: list[list[str]] = field(default_factory=list)  # names of frames, in time
    boxed: set[str] = field(default_factory=set)  # those of them that have boxes


class YouTubeObjectsSource:
    """YouTube-Objects v1 and v2.2, as they were released."""

    takes_images = False

    def recognise(self, path: Path) -> str | None:
        """By the lists of videos of v1, or the ranges of shots of v2.2."""
        version = _version(path)
        by = {"v1": "its sets/train.txt", "v2.2": f"its {RANGES} and {TRUTH}"}
        return f"YouTube-Objects {version}, by {by[version]}" if version else None

    def read(self, path: Path, images: Path | None = None) -> Listing:
        """Videos to the frames of their shots."""
        version = _version(path)
        if version is None:
            raise DataError(
                f"{path}: this is not YouTube-Objects: there are neither folders of classes with sets/train.txt (v1) "
                f"nor the folders {RANGES} and {TRUTH} (v2.2); give the folder that its archives were unpacked in."
            )
        listing = Listing(path, [])
        videos = list(_first(path, listing) if version == "v1" else _second(path, listing))
        held_out = _held_out(videos, version, listing)
        for video in videos:
            name = f"{video.label}/{video.number:04d}"
            split = "val" if name in held_out else video.split
            for number, frames in enumerate(video.shots):
                for frame in frames:
                    if split == "train" or frame in video.boxed:
                        entry = Entry(path / frame, frame, (video.label,), split, Shot(name, number))
                        listing.entries.append(entry)
        return listing

    def boxes(self, catalog: Catalog) -> tuple[dict[str, list[Numbers]], str] | None:
        """Those of val and test; of v1 the part inside the frame, of v2.2 half-open, from 0."""
        frames = {item.name: item.path for split in ("val", "test") for item in catalog.splits[split]}
        if _version(catalog.root) == "v1":
            found = {name: _sticks(path) for name, path in frames.items() if _sticks_of(path).is_file()}
            return found, f"{catalog.root}: the files *{STICKS}"
        found = {}
        for label in catalog.classes:
            for split in _TRUTH_OF:
                file = _truth_file(catalog.root, label, split)
                for name, rows in _truth(catalog.root, label, split):
                    if name in frames:
                        each = numbers_in(rows, 4, f"{file}: {name}")
                        found[name] = [_box(row, frames[name], file) for row in each]
        return found, str(catalog.root / TRUTH)


def _version(path: Path) -> str | None:
    if (path / RANGES).is_dir() and (path / TRUTH).is_dir():
        return "v2.2"
    known = path.is_dir() and any(_is_first(each.parent.parent) for each in path.glob("*/sets/train.txt"))
    return "v1" if known else None


def _is_first(folder: Path) -> bool:
    """Whether a folder is that of a class of v1, of which something may be missing."""
    return (folder / "data").is_dir() and ((folder / "sets").is_dir() or folder.name in VALIDATION)


def _held_out(videos: list[_Video], version: str, listing: Listing) -> set[str]:
    """The names of the training videos that make val; every class keeps one to learn from."""
    held_out: set[str] = set()
    few = []
    for label in dict.fromkeys(video.label for video in videos):
        training = [video for video in videos if video.label == label and video.split == "train"]
        known = VALIDATION.get(label, ()) if version == "v1" else [video.number for video in training]
        fitting = [video for video in training if video.boxed and video.number in known]
        chosen = fitting[: max(min(HELD_OUT[version], len(training) - 1), 0)]
        held_out.update(f"{label}/{video.number:04d}" for video in chosen)
        if len(chosen) < HELD_OUT[version]:
            few.append(f"{label} ({len(chosen)} of {HELD_OUT[version]})")
    if few:
        listing.problems.append(f"val has fewer videos than the published split, too few being here: {some(few)}")
    return held_out


def _first(path: Path, listing: Listing) -> Iterator[_Video]:
    """The videos of v1."""
    unlisted: list[str] = []
    for label in sorted(each.name for each in path.iterdir() if _is_first(each)):
        seen: dict[int, str] = {}
        for split in ("train", "test"):
            for number, where in _listed(path / label / "sets" / f"{split}.txt"):
                if number in seen:
                    raise DataError(
                        f"{where}: video {number:04d} stands in {seen[number]} too; remove one of the lines."
                    )
                seen[number] = where
                yield _shots_of(path, _Video(label, number, split), where)
        there = sorted(each.name for each in (path / label / "data").iterdir() if each.is_dir())
        unlisted += [f"{label}/data/{name}" for name in there if not (name.isdigit() and int(name) in seen)]
    if unlisted:
        listing.problems.append(f"left out, standing in neither train.txt nor test.txt: the videos {some(unlisted)}")


def _listed(file: Path) -> Iterator[tuple[int, str]]:
    """The numbers of a list of videos, and where each stands."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); unpack the archive of this class again.") from error
    for line, text in enumerate(lines, start=1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if not (words[0].isascii() and words[0].isdigit()):
            raise DataError(f"{file}:{line}: expected the number of a video, such as 0001, got {words[0]!r}.")
        yield int(words[0]), f"{file}:{line}"


def _shots_of(path: Path, video: _Video, where: str) -> _Video:
    """A video of v1 with its frames."""
    folder = path / video.label / "data" / f"{video.number:04d}" / "shots"
    if not folder.is_dir():
        raise DataError(f"{where}: there is no folder {folder}; unpack {video.label}.tar.gz again.")
    for shot in sorted(each.name for each in folder.iterdir() if each.is_dir()):
        files = {each.name for each in (folder / shot).iterdir()}
        prefix = f"{video.label}/data/{video.number:04d}/shots/{shot}/"
        frames = sorted(name for name in files if name.endswith(".jpg"))
        for name in sorted(files):
            if name.endswith(STICKS):
                if (frame := name.removesuffix(STICKS)) not in files:
                    raise DataError(
                        f"{folder / shot / name}: boxes of a frame that is not there, {frame}; copy it again."
                    )
                video.boxed.add(prefix + frame)
        if frames:  # some shots of the release have none
            video.shots.append([prefix + name for name in frames])
    return video


def _second(path: Path, listing: Listing) -> Iterator[_Video]:
    """The videos of v2.2, in the order of their shots."""
    labels = sorted(each.stem.removeprefix("ranges_") for each in (path / RANGES).glob("ranges_*.mat"))
    listing.empty_classes = [label for label in labels if not (path / label).is_dir()]
    for label in labels:
        if label not in listing.empty_classes:
            yield from _of_class(path, label)


def _of_class(path: Path, label: str) -> Iterator[_Video]:
    videos: dict[int, _Video] = {}
    home: dict[str, _Video] = {}  # of each frame
    for number, frames in _ranges(path, label):
        video = videos.setdefault(number, _Video(label, number))
        new = [frame for frame in frames if frame not in home]  # two shots of horse share their frames in the release
        home.update(dict.fromkeys(new, video))
        if new:
            video.shots.append(new)
    split_of: dict[int, str] = {}
    for split in _TRUTH_OF:
        file = _truth_file(path, label, split)
        for name, _ in _truth(path, label, split):
            if name not in home:
                raise DataError(
                    f"{file}: boxes of a frame that is in no shot, {name}; unpack {RANGES} and this file again."
                )
            video = home[name]
            if split_of.setdefault(video.number, split) != split:
                raise DataError(f"{file}: a box of {name}, whose video {video.number} is one of the other split.")
            video.split = split
            video.boxed.add(name)
    yield from videos.values()


def _ranges(path: Path, label: str) -> Iterator[tuple[int, list[str]]]:
    """The video and the names of the frames of each shot of a class of v2.2."""
    file = path / RANGES / f"ranges_{label}.mat"
    there = {each.name for each in (path / label).iterdir()}
    table = read_matlab(file, "ranges")
    rows = numbers_in(table[:3].T if isinstance(table, np.ndarray) else table, 3, f"{file}: shots")
    for place, row in enumerate(rows, start=1):
        if not all(number.is_integer() and number >= 0 for number in row) or row[0] > row[1]:
            raise DataError(
                f"{file}: shot {place}: expected first frame, last frame and video, got {row}; copy it again."
            )
        first, last, video = map(int, row)
        frames = []
        for number in range(first, last + 1):
            if (name := f"{number:08d}.jpg") not in there:
                raise DataError(
                    f"{file}: shot {place}, frames {first} to {last}: there is no {path / label / name}; "
                    f"unpack {label}.tar.gz again."
                )
            frames.append(f"{label}/{name}")
        yield video, frames


def _truth_file(path: Path, label: str, split: str) -> Path:
    return path / TRUTH / label / f"{_TRUTH_OF[split]}_{label}.mat"


def _truth(path: Path, label: str, split: str) -> Iterator[tuple[str, Value]]:
    """The names of the frames of v2.2 that have boxes in a split, and what the file holds of these."""
    file = _truth_file(path, label, split)
    for frame, boxes in structs(file, _TRUTH_OF[split]):
        if not frame.startswith(label):
            raise DataError(f"{file}: expected names that begin with {label!r}, got {frame!r}; copy the file again.")
        yield f"{label}/{frame.removeprefix(label)}.jpg", boxes


def _box(row: list[float], frame: Path, file: Path) -> Numbers:
    """A row of v2.2, which counts from 1 and the last pixel in."""
    x0, y0, x1, y1 = row
    return checked_box((x0 - 1, y0 - 1, x1, y1), f"{file}: {frame.name}", size=read_size(frame))


def _sticks_of(frame: Path) -> Path:
    return frame.with_name(frame.name + STICKS)


def _sticks(frame: Path) -> list[Numbers]:
    """The boxes of a frame of v1."""
    file = _sticks_of(frame)
    width, height = read_size(frame)
    boxes = []
    cells = read_matlab(file, "coor")
    for number, cell in enumerate(cells if isinstance(cells, list) else [cells], start=1):
        where = f"{file}: box {number}"
        rows = numbers_in("" if isinstance(cell, dict) else cell, 4, where)
        if len(rows) != 1:
            raise DataError(f"{where}: expected x0, y0, x1, y1, got {4 * len(rows)} numbers; copy the file again.")
        x0, y0, x1, y1 = rows[0]
        x0, x1 = (min(max(x, 0), width) for x in sorted((x0, x1)))
        y0, y1 = (min(max(y, 0), height) for y in sorted((y0, y1)))
        boxes.append(checked_box((x0, y0, x1, y1), where))
    return boxes
